// A question before a long video is generated.
// value: {text, choices: [{title, changes}], id} or {}
const box = element.querySelector('.question');
let kept = false; // whether it is kept in view: until the user scrolls

function keep() {
  if (kept && !box.hidden) box.scrollIntoView({ block: 'nearest' });
}

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
  kept = true;
  keep();
}

document.addEventListener('multitalk:asked', () => { box.hidden = true; });
// the panel gets its former size again, and may still be scrolled into view
new ResizeObserver(keep).observe(document.body);
document.addEventListener('scrollend', keep);
for (const name of ['wheel', 'touchmove', 'keydown']) {
  window.addEventListener(name, () => { kept = false; }, { passive: true });
}
watch('value', update);
update();
