// One card per example, which fills in the form.
function update() {
  element.querySelector('.examples').replaceChildren(...(props.value || []).map((example) => {
    const item = document.createElement('button');
    item.type = 'button';
    item.className = 'example';
    item.dataset.name = example.name;
    const picture = document.createElement('img');
    picture.src = example.picture;
    picture.alt = '';
    const title = document.createElement('span');
    title.textContent = example.title;
    item.append(picture, title);
    item.addEventListener('click', () => trigger('select', { name: example.name }));
    return item;
  }));
}

watch('value', update);
update();
