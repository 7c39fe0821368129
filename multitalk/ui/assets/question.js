// A question before a long video is generated.
// value: {text, choices: [{title, changes}], id} or {}
const box = element.querySelector('.question');

function choice(title, primary, act) {
  const item = document.createElement('button');
  item.type = 'button';
  item.textContent = title;
  item.className = primary ? 'primary-choice' : '';
  item.addEventListener('click', () => { box.hidden = true; act(); });
  return item;
}

function submit(changes) {
  document.dispatchEvent(new CustomEvent('multitalk:submit', { detail: { accepted: true, ...changes } }));
}

function update() {
  const question = props.value || {};
  box.hidden = !question.text;
  if (box.hidden) return;
  element.querySelector('.question-text').textContent = question.text;
  const choices = question.choices.map((each, number) => choice(each.title, number === 0, () => submit(each.changes)));
  element.querySelector('.question-choices').replaceChildren(...choices, choice('Cancel', false, () => {}));
  choices[0].focus({ preventScroll: true });
  setTimeout(() => box.scrollIntoView({ block: 'nearest' }), 50); // after the panel has its former size again
}

document.addEventListener('multitalk:asked', () => { box.hidden = true; });
watch('value', update);
update();
