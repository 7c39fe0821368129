// Marks of the faces in the image, and which of them speak; for the editor of the boxes.
window.multitalkFaces = (() => {
  const titleOf = (person) => `person ${person.slice(-1)}`;

  // Whether two boxes are of the same person: they have more than half of their area in common.
  function isSame(one, two) {
    const area = ([x0, y0, x1, y1]) => Math.max(x1 - x0, 0) * Math.max(y1 - y0, 0);
    const starts = [0, 1].map((axis) => Math.max(one[axis], two[axis]));
    const ends = [2, 3].map((axis) => Math.min(one[axis], two[axis]));
    const common = area([...starts, ...ends]);
    return common > 0.5 * (area(one) + area(two) - common);
  }

  // Return the boxes with those of speakers who have none: the proposed ones that nobody has.
  function filled(boxes, proposed, speakers) {
    const taken = speakers.map((person) => boxes[person]).filter(Boolean);
    const free = Object.values(proposed).filter((box) => !taken.some((other) => isSame(box, other)));
    const missing = speakers.filter((person) => !boxes[person]).slice(0, free.length);
    return { ...boxes, ...Object.fromEntries(missing.map((person, index) => [person, free[index]])) };
  }

  // Place an element over a box in an image of this size; `prefix` of the names of its style.
  function place(node, [x0, y0, x1, y1], [width, height], prefix = '') {
    const parts = { left: x0 / width, top: y0 / height, width: (x1 - x0) / width, height: (y1 - y0) / height };
    for (const [name, part] of Object.entries(parts)) node.style.setProperty(`${prefix}${name}`, `${part * 100}%`);
  }

  // Create a button for each face. It stays in place while the boxes change, so that it keeps the focus.
  function build(area, faces, size, select) {
    area.replaceChildren(...faces.map(({ face }, number) => {
      const mark = document.createElement('button');
      mark.type = 'button';
      mark.className = 'face-mark';
      mark.innerHTML = `<span>${number + 1}</span>`;
      place(mark, face, size, '--');
      mark.addEventListener('click', () => select(number));
      return mark;
    }));
  }

  // Show who has a face; `active`: who gets it when it is selected.
  function draw(mark, number, { face, box }, boxes, speakers, active) {
    const middle = [(face[0] + face[2]) / 2, (face[1] + face[3]) / 2];
    const contains = (around) => [0, 1].every((axis) => around[axis] < middle[axis] && middle[axis] < around[axis + 2]);
    const owner = speakers.find((person) => boxes[person] && isSame(boxes[person], box));
    // inside a box only the number is pressed: the rest moves the box
    mark.classList.toggle('in-box', speakers.some((person) => boxes[person] && contains(boxes[person])));
    mark.dataset.person = owner || '';
    mark.setAttribute('aria-pressed', String(Boolean(owner)));
    const again = speakers.length === 1 ? 'remove the choice' : 'keep it';
    const action = owner === active ? again : `make it ${titleOf(active)}`;
    mark.title = `Face ${number + 1}${owner ? `, ${titleOf(owner)}` : ''}: ${action}`;
    mark.setAttribute('aria-label', mark.title);
  }

  return { titleOf, isSame, filled, place, build, draw };
})();
