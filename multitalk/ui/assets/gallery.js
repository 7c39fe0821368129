// The server's results: one card each, with search, deletion, and the video on hover.
// value: changes when the results have changed.
const base = location.pathname.replace(/\/*$/, '/') + 'multitalk/';
const PAGE = 24;
const EMPTY = 'No videos yet. Finished videos appear here.';
const $ = (selector) => element.querySelector(selector);
let whose = 'all';
let most = PAGE;
let asked = 0; // number of the last request: an earlier answer must not replace a later one

function node(kind, className, text) {
  const made = document.createElement(kind);
  made.className = className;
  if (text) made.textContent = text;
  return made;
}

function button(className, text, action) {
  const made = node('button', className, text);
  made.type = 'button';
  made.addEventListener('click', action);
  return made;
}

// Play the video over its thumbnail while the mouse or the keyboard focus is on it.
function playOnHover(show, result) {
  let video = null;
  const start = () => {
    if (video || matchMedia('(prefers-reduced-motion: reduce)').matches) return;
    video = node('video', 'card-preview');
    Object.assign(video, { muted: true, loop: true, playsInline: true, src: base + result.url });
    video.setAttribute('aria-hidden', 'true');
    video.tabIndex = -1;
    show.querySelector('.card-picture').append(video);
    video.play().catch(() => {});
  };
  const stop = () => {
    if (!video) return;
    video.removeAttribute('src');
    video.load(); // ends the download
    video.remove();
    video = null;
  };
  show.addEventListener('pointerenter', (event) => { if (event.pointerType === 'mouse') start(); });
  show.addEventListener('pointerleave', stop);
  show.addEventListener('focus', () => { if (show.matches(':focus-visible')) start(); });
  show.addEventListener('blur', stop);
}

async function remove(item, result) {
  item.querySelector('.card-show').dispatchEvent(new Event('pointerleave')); // a preview would load a missing file
  let answer = null;
  try {
    answer = await fetch(`${base}results/${result.name}`, { method: 'DELETE' });
  } catch (error) { /* said below */ }
  if (answer && (answer.ok || answer.status === 404)) {
    document.dispatchEvent(new CustomEvent('multitalk-deleted', { detail: result.name }));
    const next = item.nextElementSibling || item.previousElementSibling;
    if (next) next.querySelector('.card-show').focus();
    await list();
    return;
  }
  const reason = answer ? (await answer.json()).detail : 'The server is not answering. Try again.';
  item.querySelector('.card-question').textContent = reason;
}

// Ask before a video is deleted, in place of its card's text.
function confirmDeletion(item, result) {
  const question = node('div', 'card-confirm');
  question.setAttribute('role', 'group');
  const text = node('p', 'card-question', 'Delete this video?');
  text.setAttribute('role', 'status');
  const close = () => { question.remove(); item.querySelector('.card-delete').focus(); };
  const keep = button('card-keep', 'Keep', close);
  question.append(text, button('card-yes', 'Delete', () => remove(item, result)), keep);
  question.addEventListener('keydown', (event) => { if (event.key === 'Escape') close(); });
  item.append(question);
  keep.focus();
}

function card(result) {
  const item = node('div', 'card');
  item.dataset.name = result.name;
  const show = button('card-show', '', () => trigger('select', { name: result.name }));
  show.title = result.title;
  const picture = node('span', 'card-picture');
  const image = document.createElement('img');
  Object.assign(image, { src: base + result.poster, alt: '', loading: 'lazy' });
  picture.append(image);
  const title = node('span', 'card-title', result.title);
  title.dir = 'auto';
  show.append(picture, title, node('span', 'card-details', `${result.length} · ${result.date}`));
  playOnHover(show, result);
  item.append(show);
  if (result.deletable) {
    const trash = button('card-delete', '', () => confirmDeletion(item, result));
    trash.setAttribute('aria-label', `Delete ${result.title}`);
    trash.title = 'Delete';
    item.append(trash);
  }
  return item;
}

function note(results) {
  if (results.length) return '';
  const words = $('.gallery-search').value.trim();
  if (words) return `No video has “${words}” in its title.`;
  return whose === 'mine' ? 'No videos from this browser yet.' : EMPTY;
}

async function list() {
  asked += 1;
  const number = asked;
  const search = $('.gallery-search').value.trim();
  const query = new URLSearchParams({ whose, most, search });
  let found = null;
  try {
    const answer = await fetch(`${base}results?${query}`, { cache: 'no-store' });
    if (answer.ok) found = await answer.json();
  } catch (error) { /* the line about the connection says so */ }
  if (!found || number !== asked) return;
  $('.cards').replaceChildren(...found.results.map(card));
  $('.gallery-whose').hidden = !found.choice;
  $('.gallery-more').hidden = !found.more;
  if (found.results.length) $('.gallery-search').hidden = false;
  $('.no-cards').textContent = note(found.results);
}

function build() {
  for (const choice of element.querySelectorAll('.gallery-whose button')) {
    choice.addEventListener('click', () => {
      whose = choice.dataset.whose;
      most = PAGE;
      for (const each of element.querySelectorAll('.gallery-whose button')) {
        each.setAttribute('aria-pressed', String(each === choice));
      }
      list();
    });
  }
  let typing = null;
  $('.gallery-search').addEventListener('input', () => {
    clearTimeout(typing);
    typing = setTimeout(() => { most = PAGE; list(); }, 200);
  });
  $('.gallery-more').addEventListener('click', () => { most += PAGE; list(); });
}

build();
list();
watch('value', list);
