// Editor of a box for each speaker: select a face, drag a box or a corner, draw a new box, or use the arrow keys.
// value: {person1: [x0, y0, x1, y1], ...} in pixels of the image; boxes of people who do not speak now are kept.
const PEOPLE = ['person1', 'person2', 'person3', 'person4'];
const { titleOf, isSame, filled, place, build: buildMarks, draw: drawMark } = window.multitalkFaces;
const CORNERS = ['nw', 'ne', 'sw', 'se'];
const LEAST_ROOM = 96; // pixels for a name
const MOST_STEPS = 100; // that can be undone
let active = 'person1'; // becomes the next selected face
let drawing = null; // person whose box is drawn: only then does a drag on the image draw
let drag = null;
let history = []; // earlier values
let aside = {}; // boxes of several speakers, while there is one
let told = ''; // what the last selection of a face did
let lastKey; // of the last proposal
let lastCount; // of speakers
let shownFaces; // for which there are marks

const $ = (selector) => element.querySelector(selector);
const root = () => $('.people');
const stage = () => $('.people-stage');
const boxes = () => props.value || {};
const proposal = () => props.proposal || {};
const faces = () => proposal().faces || [];
const speakers = () => PEOPLE.slice(0, props.speakers || 1);
const size = () => props.picture_size || [1, 1];
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const nodeOf = (person) => $(`.person-box[data-person="${person}"]`);

function point(event) {
  const area = stage().getBoundingClientRect();
  const [width, height] = size();
  return [
    clamp(((event.clientX - area.left) / area.width) * width, 0, width),
    clamp(((event.clientY - area.top) / area.height) * height, 0, height),
  ];
}

function remember(value = boxes()) {
  told = '';
  history = [...history, value].slice(-MOST_STEPS);
}

function undo() {
  if (!history.length) return;
  told = '';
  props.value = history.pop();
  draw();
}

function change(person, box) {
  const [width, height] = size();
  const least = Math.max(4, Math.round(Math.min(width, height) * 0.03));
  let [x0, y0, x1, y1] = box.map(Math.round);
  x0 = clamp(x0, 0, width - least);
  y0 = clamp(y0, 0, height - least);
  x1 = clamp(x1, x0 + least, width);
  y1 = clamp(y1, y0 + least, height);
  props.value = { ...boxes(), [person]: [x0, y0, x1, y1] };
  draw();
}

function moved(box, dx, dy) {
  const [width, height] = size();
  const x = clamp(box[0] + dx, 0, width - (box[2] - box[0]));
  const y = clamp(box[1] + dy, 0, height - (box[3] - box[1]));
  return [x, y, x + box[2] - box[0], y + box[3] - box[1]];
}

const proposed = (count) => (proposal().boxes || [])[count - 1] || {};
const differ = (one, two) => PEOPLE.some((person) => String(one[person]) !== String(two[person]));

// Whether the user has changed none of several proposed boxes.
function areProposed() {
  const count = Object.keys(boxes()).length;
  return count > 1 && !differ(boxes(), proposed(count));
}

// Propose a box for each speaker who has none. One of several faces is the user's choice.
function fill() {
  const all = filled(boxes(), proposed(speakers().length), speakers());
  if (differ(all, boxes())) props.value = all;
}

// The server proposes the same boxes again when the mode changes: boxes that the user has moved are kept.
function propose() {
  const { key, kept, is_shown: isShown } = proposal();
  if (key !== lastKey) {
    props.value = kept || {};
    history = [];
    aside = {};
    told = '';
    setDrawing(null);
  }
  lastKey = key;
  const count = speakers().length;
  if (count !== lastCount) told = '';
  lastCount = count;
  if (count === 1 && boxes().person1 && (areProposed() || !isShown)) {
    aside = boxes();
    props.value = {};
  } else if (count > 1) {
    if (areProposed() && differ(boxes(), proposed(count))) props.value = {};
    else if (!Object.keys(boxes()).length && Object.keys(aside).length) props.value = aside;
    aside = {};
    fill();
  }
  if (!speakers().includes(active)) active = 'person1';
}

function findAgain() {
  remember();
  props.value = {};
  fill();
  active = 'person1';
  draw();
}

// Give a face's box to the active person; the person who had it gets the box of the active one.
function select(number) {
  const { box } = faces()[number];
  const before = boxes();
  const owner = speakers().find((person) => before[person] && isSame(before[person], box));
  if (speakers().length === 1) {
    const { person1, ...others } = before;
    props.value = owner ? others : { ...others, person1: box };
  } else {
    props.value = { ...before, ...(owner && { [owner]: before[active] }), [active]: box };
  }
  if (differ(before, boxes())) remember(before);
  if (speakers().length > 1) {
    const next = speakers()[(speakers().indexOf(active) + 1) % speakers().length];
    told = `Face ${number + 1} is ${titleOf(active)}. The next face that you select is ${titleOf(next)}.`;
    active = next;
  }
  draw();
}

// Return where a box is, in words for two people.
function side(person) {
  if (speakers().length !== 2) return '';
  const other = person === 'person1' ? 'person2' : 'person1';
  const middle = (box) => (box ? box[0] + box[2] : 0);
  return middle(boxes()[person]) <= middle(boxes()[other]) ? ' · left' : ' · right';
}

// Return how far a name may extend, in box widths: to the image's right edge, or to a box beside it.
function room(person) {
  const [width, height] = size();
  const box = boxes()[person];
  const isBeside = (other) => other && other[0] > box[0] && Math.abs(other[1] - box[1]) < height / 5;
  const edges = speakers().map((other) => boxes()[other]).filter(isBeside).map((other) => other[0]);
  return (Math.min(width, ...edges) - box[0]) / (box[2] - box[0]);
}

function drawBox(person) {
  const node = nodeOf(person);
  const box = speakers().includes(person) && boxes()[person];
  node.hidden = !box;
  if (!box) return;
  place(node, box, size());
  node.classList.toggle('active', person === active);
  const voice = (props.voices || {})[person] || '';
  const name = `Person ${person.slice(-1)}${side(person)}`;
  const label = node.querySelector('.person-name');
  const free = room(person);
  const isNarrow = free * node.offsetWidth < LEAST_ROOM;
  label.classList.toggle('short', isNarrow);
  label.textContent = isNarrow ? `P${person.slice(-1)}` : voice ? `${name} · ${voice}` : name;
  label.style.maxWidth = isNarrow ? '' : `calc(${free * 100}% - 26px)`;
  node.setAttribute('aria-label',
    `${name}, ${voice || 'no voice'}. Arrow keys move the box; with Shift, they resize it.`);
}

function hint() {
  if (drawing) return `Drag from one corner of ${titleOf(drawing)} to the opposite corner.`;
  const { notes = [], kept, kept_note: keptNote } = proposal();
  if (speakers().length === 1 && boxes().person1) return 'Person 1 speaks. Everybody outside the box is silent.';
  if (kept && !history.length) return keptNote;
  return told || notes[speakers().length - 1] || '';
}

function draw() {
  if (!root()) return;
  const image = $('.people-picture');
  if (image.getAttribute('src') !== props.picture) {
    if (props.picture) image.src = props.picture;
    else image.removeAttribute('src');
  }
  if (shownFaces !== faces()) buildMarks($('.people-faces'), faces(), size(), select);
  shownFaces = faces();
  for (const person of PEOPLE) {
    drawBox(person);
    const pick = $(`.person-pick[data-person="${person}"]`);
    pick.hidden = !speakers().includes(person);
    pick.setAttribute('aria-pressed', String(person === drawing));
  }
  const marks = [...element.querySelectorAll('.face-mark')];
  marks.forEach((mark, number) => drawMark(mark, number, faces()[number], boxes(), speakers(), active));
  stage().classList.toggle('drawing', drawing !== null);
  $('.people-undo').disabled = !history.length;
  $('.people-swap').hidden = speakers().length !== 2;
  const note = hint();
  if ($('.people-note').textContent !== note) $('.people-note').textContent = note;
}

function setDrawing(person) {
  drawing = person;
  if (person) active = person;
}

function begin(event) {
  if (event.button > 0 || !event.isPrimary || !props.picture) return;
  const start = point(event);
  const node = event.target.closest('.person-box');
  if (drawing) {
    drag = { start, before: boxes(), isNew: true };
  } else if (node) {
    active = node.dataset.person;
    const handle = event.target.closest('.corner');
    drag = { start, before: boxes(), box: boxes()[active], corner: handle && handle.dataset.corner };
    node.focus({ preventScroll: true });
  } else {
    return; // a swipe scrolls the page
  }
  stage().setPointerCapture(event.pointerId);
  event.preventDefault();
  draw();
}

function move(event) {
  if (!drag || !event.isPrimary) return;
  const [x, y] = point(event);
  const [dx, dy] = [x - drag.start[0], y - drag.start[1]];
  if (drag.isNew) {
    const shown = stage().getBoundingClientRect().width / size()[0];
    if ((Math.abs(dx) + Math.abs(dy)) * shown < 8) return; // a click
    drag.isDrawn = true;
    change(active, [Math.min(x, drag.start[0]), Math.min(y, drag.start[1]),
      Math.max(x, drag.start[0]), Math.max(y, drag.start[1])]);
  } else if (drag.corner) {
    const box = [...drag.box];
    if (drag.corner.includes('w')) box[0] = Math.min(box[0] + dx, box[2] - 4); else box[2] = Math.max(box[2] + dx, box[0] + 4);
    if (drag.corner.includes('n')) box[1] = Math.min(box[1] + dy, box[3] - 4); else box[3] = Math.max(box[3] + dy, box[1] + 4);
    change(active, box);
  } else {
    change(active, moved(drag.box, dx, dy));
  }
}

function finish(event) {
  if (!drag || !event.isPrimary) return;
  const { before, isDrawn } = drag;
  drag = null;
  if (event.type === 'pointercancel') props.value = before;
  else if (JSON.stringify(boxes()) !== JSON.stringify(before)) remember(before);
  if (isDrawn && event.type !== 'pointercancel') {
    setDrawing(null);
    nodeOf(active).focus({ preventScroll: true });
  }
  draw();
}

function key(event) {
  if (event.key === 'Escape' && drawing) {
    setDrawing(null);
    draw();
    return;
  }
  if (event.key.toLowerCase() === 'z' && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    undo();
    return;
  }
  const node = event.target.closest('.person-box');
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (!node || !steps) return;
  event.preventDefault();
  active = node.dataset.person;
  const unit = Math.max(1, Math.round(Math.max(...size()) / 100));
  const [dx, dy] = steps.map((step) => step * unit);
  const box = boxes()[active];
  if (!event.repeat) remember(); // a held key is one step
  change(active, event.shiftKey ? [box[0], box[1], box[2] + dx, box[3] + dy] : moved(box, dx, dy));
}

function swap() {
  remember();
  props.value = { ...boxes(), person1: boxes().person2, person2: boxes().person1 };
  draw();
}

function build() {
  shownFaces = null;
  const box = (person) => `<div class="person-box" data-person="${person}" role="group" tabindex="0" hidden>
    <span class="person-name"></span>${CORNERS.map((c) => `<i class="corner ${c}" data-corner="${c}"></i>`).join('')}</div>`;
  const pick = (person) => `<button type="button" class="person-pick" data-person="${person}" aria-pressed="false">
    Draw ${titleOf(person)}</button>`;
  root().innerHTML = `<div class="people-stage"><img class="people-picture" alt="Your image, with a box for each person">
    ${PEOPLE.map(box).join('')}<div class="people-faces" role="group" aria-label="Faces found"></div></div><p class="people-note" role="status"></p>
    <div class="people-tools">${PEOPLE.map(pick).join('')}
    <button type="button" class="people-swap">Swap people</button>
    <button type="button" class="people-undo" disabled>Undo</button>
    <button type="button" class="people-find">Find faces again</button>
    <button type="button" class="people-other">Change image</button></div>`;
  const area = stage();
  new ResizeObserver(draw).observe(area); // names depend on the space for them
  area.addEventListener('pointerdown', begin);
  area.addEventListener('pointermove', move);
  area.addEventListener('pointerup', finish);
  area.addEventListener('pointercancel', finish);
  root().addEventListener('keydown', key);
  for (const button of element.querySelectorAll('.person-pick')) {
    button.addEventListener('click', () => {
      setDrawing(drawing === button.dataset.person ? null : button.dataset.person);
      draw();
    });
  }
  $('.people-swap').addEventListener('click', swap);
  $('.people-undo').addEventListener('click', undo);
  $('.people-find').addEventListener('click', findAgain);
  $('.people-other').addEventListener('click', () => trigger('clear'));
}

build();
propose();
draw();
watch(['value', 'proposal', 'speakers', 'picture', 'picture_size', 'voices'], () => {
  if (!stage()) build();
  propose(); // also when an example empties the boxes
  draw();
});
