// One card per result of this server.
const base = location.pathname.replace(/\/*$/, '/') + 'multitalk/';

function card(result) {
  const item = document.createElement('button');
  item.type = 'button';
  item.className = 'card';
  item.dataset.name = result.name;
  item.setAttribute('aria-label', `Show ${result.title}, ${result.length}`);
  const picture = document.createElement('img');
  picture.src = base + result.poster;
  picture.alt = '';
  picture.loading = 'lazy';
  const title = document.createElement('span');
  title.className = 'card-title';
  title.textContent = result.title;
  const details = document.createElement('span');
  details.className = 'card-details';
  details.textContent = `${result.length} · ${result.date}`;
  item.append(picture, title, details);
  item.addEventListener('click', () => trigger('select', { name: result.name }));
  return item;
}

function update() {
  const results = props.value || [];
  element.querySelector('.cards').replaceChildren(...results.map(card));
  element.querySelector('.no-cards').hidden = results.length > 0;
}

watch('value', update);
update();
