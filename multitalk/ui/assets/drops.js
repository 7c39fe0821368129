// Take the files that are dropped anywhere on the page: they are uploaded, and the server fills in their fields.
// value: {text, id}, a message that is shown for some seconds; an empty text hides the one before.
const SECONDS = 12;
const { kindOf, sizeRefusal, sendFile } = window.multitalkFiles;
const PART = 2 ** 20; // bytes at the start and the end of a file that are searched for settings
let timer = null;
let drops = 0; // number of drops and of other reasons for a message
let told = 0; // number of the one whose message is shown: an earlier one's does not replace it

// A message goes after some seconds, except an error, which stays until the next message.
function say(words, stays = false, drop = drops) {
  if (drop < told) return;
  told = drop;
  const notice = element.querySelector('.notice');
  notice.firstElementChild.textContent = words;
  notice.hidden = !words;
  clearTimeout(timer);
  if (words && !stays) timer = setTimeout(() => say(''), SECONDS * 1000);
}

// A video of MultiTalk contains its settings: it restores them instead of being an input.
async function hasSettings(file) {
  const parts = await Promise.all([file.slice(0, PART), file.slice(-PART)].map((part) => part.text()));
  return parts.some((text) => text.includes('MultiTalk') && text.includes('"preset"'));
}

function person() {
  const tabs = [...document.querySelectorAll('#people [role=tab]')];
  return tabs.findIndex((tab) => tab.getAttribute('aria-selected') === 'true') === 1 ? 'person2' : 'person1';
}

// `speaker`: the person for whom the files were chosen; null for files that were dropped anywhere.
// `place`: 'picture' for files that were chosen for the image or dropped there, where a video is to be dubbed.
async function take(files, speaker = null, place = null) {
  drops += 1;
  const drop = drops;
  const fail = (words) => say(words, true, drop);
  const send = (file) => sendFile(file, fail);
  const loras = files.filter((file) => kindOf(file) === 'lora');
  if (loras.length) document.dispatchEvent(new CustomEvent('multitalk:loras', { detail: loras }));
  const known = files.filter((file) => kindOf(file) && kindOf(file) !== 'lora');
  if (!known.length) {
    if (!loras.length) fail(`${files[0].name} cannot be used. Drop an image, audio, a video or a LoRA.`);
    return;
  }
  const refused = known.map((file) => sizeRefusal(file, 'Upload')).find(Boolean);
  if (refused) {
    fail(refused);
    return;
  }
  try {
    if (!speaker && !place && kindOf(known[0]) === 'video' && await hasSettings(known[0])) {
      trigger('apply', { path: await send(known[0]), drop });
      return;
    }
    const stored = [];
    for (const file of known) stored.push({ kind: kindOf(file), name: file.name, path: await send(file) });
    trigger('upload', { files: stored, person: speaker || person(), place, drop });
  } catch (error) {
    fail(error.message);
  }
}

const hasFiles = (event) => event.dataTransfer && [...event.dataTransfer.types].includes('Files');
const placeOf = (event) => (event.target.closest?.('#picture, #boxes, #dubbing') ? 'picture' : null);
const isElsewhere = (event) => event.target.closest && event.target.closest('#restore, #continue-from, .takes-files');

for (const kind of ['dragenter', 'dragover', 'dragleave', 'drop']) {
  document.addEventListener(kind, (event) => {
    if (!hasFiles(event) || isElsewhere(event)) return;
    event.preventDefault();
    event.stopPropagation(); // of all fields: some would refuse the file
    const isOver = kind === 'dragover' || kind === 'dragenter' || (kind === 'dragleave' && event.relatedTarget);
    document.body.classList.toggle('dropping', Boolean(isOver));
    if (kind === 'drop') take([...event.dataTransfer.files], null, placeOf(event));
  }, true);
}

document.addEventListener('multitalk:take', ({ detail }) => take(detail.files, detail.person, detail.place));
document.addEventListener('multitalk:notice', ({ detail }) => {
  drops += 1;
  say(detail.text, detail.stays);
});
element.querySelector('.notice button').addEventListener('click', () => say(''));
watch('value', () => {
  const { text, drop } = props.value || {};
  if (text !== undefined) say(text, false, drop || drops);
});
