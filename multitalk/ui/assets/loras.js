// The LoRAs of the video: those of the weights and uploaded ones, each with a strength.
// value: [{name, path, strength}]; path is null for a LoRA of the weights.
// The server sets `available`: [{name, note}].
const base = location.pathname.replace(/\/*$/, '/') + 'multitalk/';
const { refusal, sendFile } = window.multitalkFiles;
const STRONGEST = 2;
const STEP = 0.05;
const $ = (selector) => element.querySelector(selector);
const loras = () => (Array.isArray(props.value) ? props.value : []);
const shown = (name) => name.replace(/\.safetensors$/, '');
let drawn = ''; // names of the rows

function say(words) {
  $('.lora-status').textContent = words;
}

function fail(words) {
  $('.lora-error').textContent = words;
  $('.lora-error').hidden = !words;
  if (words) $('.loras').open = true;
}

function set(value) {
  props.value = value;
  draw();
}

function add(lora) {
  fail('');
  const known = loras().find((each) => each.name === lora.name);
  // the same file again replaces the earlier one
  set([...loras().filter((each) => each !== known), { strength: known ? known.strength : 1, ...lora }]);
  say(`${shown(lora.name)} added.`);
}

function remove(name) {
  const index = loras().findIndex((each) => each.name === name);
  set(loras().filter((each) => each.name !== name));
  say(`${shown(name)} removed.`);
  const buttons = element.querySelectorAll('.lora-remove');
  (buttons[Math.min(index, buttons.length - 1)] || $('.lora-choose')).focus(); // the removed button had the focus
}

function setStrength(name, text) {
  const number = Number(text);
  const strength = text === '' || Number.isNaN(number) ? 1 : Math.min(Math.max(number, 0), STRONGEST);
  set(loras().map((each) => (each.name === name ? { ...each, strength } : each)));
}

function row(lora) {
  const item = document.createElement('li');
  item.innerHTML = `<span class="lora-name"></span><label>Strength
    <input type="number" class="lora-strength" min="0" max="${STRONGEST}" step="${STEP}"></label>
    <button type="button" class="lora-remove">Remove</button>`;
  item.querySelector('.lora-name').textContent = shown(lora.name);
  const strength = item.querySelector('input');
  strength.setAttribute('aria-label', `Strength of ${shown(lora.name)}`);
  strength.addEventListener('change', () => setStrength(lora.name, strength.value));
  const button = item.querySelector('.lora-remove');
  button.setAttribute('aria-label', `Remove ${shown(lora.name)}`);
  button.addEventListener('click', () => remove(lora.name));
  return item;
}

function draw() {
  const names = JSON.stringify(loras().map((each) => each.name));
  // rows that are there already keep the keyboard's focus
  if (names !== drawn) $('.lora-list').replaceChildren(...loras().map(row));
  drawn = names;
  element.querySelectorAll('.lora-strength').forEach((input, index) => {
    input.value = String(loras()[index].strength);
  });
  $('.lora-count').textContent = loras().length ? `(${loras().length})` : '';
}

function drawChoices() {
  const available = props.available || [];
  $('.lora-choices').hidden = !available.length;
  $('.lora-select').replaceChildren(...available.map(({ name, note }) => {
    const choice = document.createElement('option');
    choice.value = name;
    choice.textContent = note ? `${shown(name)} (${note})` : shown(name);
    return choice;
  }));
}

// Ask the server whether a file can be used; throws an Error with its answer.
async function check(path) {
  let answer = null;
  try {
    answer = await fetch(`${base}loras`, {
      method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ path }),
    });
  } catch (error) {
    throw new Error('LoRA: the server is not answering. Try again when it answers.');
  }
  const content = await answer.json().catch(() => ({}));
  if (content.refusal) throw new Error(content.refusal);
  if (!answer.ok) throw new Error('LoRA: the file could not be checked. Try again.');
  return content.warnings;
}

async function take(files) {
  fail('');
  for (const file of files) {
    $('.loras').open = true;
    try {
      const refused = refusal(file, 'LoRA', 'lora');
      if (refused) throw new Error(refused);
      const path = await sendFile(file, say);
      const warnings = await check(path);
      window.multitalkForm.remember(path, file);
      add({ name: path.split('/').pop(), path });
      if (warnings.length) say(warnings.join(' '));
    } catch (error) {
      say('');
      fail(error.message);
      return;
    }
  }
}

$('.lora-add').addEventListener('click', () => add({ name: $('.lora-select').value, path: null }));
$('.lora-choose').addEventListener('click', () => $('.lora-file').click());
$('.lora-file').addEventListener('change', ({ target }) => {
  const files = [...target.files];
  target.value = ''; // the same file can be chosen again
  take(files);
});
element.addEventListener('dragover', (event) => event.preventDefault());
element.addEventListener('drop', (event) => {
  event.preventDefault();
  take([...event.dataTransfer.files]);
});
document.addEventListener('multitalk:loras', ({ detail }) => {
  $('.loras').open = true;
  $('.loras').scrollIntoView({ block: 'nearest' });
  take(detail);
});
watch('value', draw);
watch('available', drawChoices);
draw();
drawChoices();
