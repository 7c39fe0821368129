// This browser's job: its progress, its finished clips, and the result.
// value: {job: id} or {result: {...}} or {}
// While a result of the gallery is shown, the job is polled in the background, and a line links to it.
const base = location.pathname.replace(/\/*$/, '/') + 'multitalk/';
const $ = (selector) => element.querySelector(selector);
let following = null; // id of the job that is polled
let last = null; // its last state
let background = false; // whether another result or job is shown
let seen = null; // id of the job whose end was shown
let onScreen = null; // id of the job that is shown, which Cancel cancels

const initial = [$('.job-empty-title').textContent, $('.job-empty-text').textContent];

const text = (selector, words) => {
  const node = $(selector);
  if (node && node.textContent !== words) node.textContent = words;
};

function phase(name) {
  $('.job').dataset.phase = name;
}

const bar = window.multitalkBar($('.job-bar'));
const player = window.multitalkPlayer(element, base, (note) => text('.job-note', note));

function showProgress(job) {
  bar.show(job);
  text('.job-stage', job.stage);
  text('.job-detail', job.detail);
  text('.job-left', job.left);
}

// After a press, until the server has answered.
let pressed = false;
let cancelPressed = false; // Cancel was selected meanwhile

function showPressed() {
  pressed = true;
  cancelPressed = false;
  player.pause();
  $('.job').classList.remove('playing');
  text('.job-note', '');
  $('.job').dataset.before = $('.job').dataset.phase;
  phase('waiting');
  showProgress({ id: '', status: 'waiting', fraction: 0, stage: 'Starting', detail: '', left: '' });
}

function endPressed(isRefused) {
  if (pressed && isRefused) phase($('.job').dataset.before);
  pressed = false;
  if (isRefused && last && !background) show(last);
}

const tell = (state) => document.dispatchEvent(new CustomEvent('multitalk:job', { detail: state }));

// A rough picture of the clip that is generated: large before the first clip, then in a corner of the player.
function showPreview(job) {
  const preview = $('.job-preview');
  const name = isUnfinished(job) && job.preview ? job.preview : '';
  $('.job').classList.toggle('previewing', Boolean(name));
  if (preview.dataset.name === name) return;
  preview.dataset.name = name;
  if (name) {
    preview.src = `${base}jobs/${job.id}/previews/${name}.mp4`;
    if (!matchMedia('(prefers-reduced-motion: reduce)').matches) preview.play().catch(() => {});
  } else {
    preview.removeAttribute('src');
    preview.load();
  }
}

function showResult(result, note, warnings = []) {
  player.playResult(result);
  const link = $('.job-download');
  link.href = `${base}${result.url}?download=1`;
  link.download = result.name;
  $('.job-frame').href = base + result.last_frame;
  text('.job-title', result.title);
  text('.job-note', note || '');
  $('.job-warnings').replaceChildren(...warnings.map((warning) => {
    const item = document.createElement('li');
    item.textContent = warning;
    return item;
  }));
  $('.job-facts').replaceChildren(...result.facts.map(([name, value]) => {
    const [fact, term, detail] = ['div', 'dt', 'dd'].map((tag) => document.createElement(tag));
    term.textContent = name;
    detail.textContent = value;
    fact.append(term, detail);
    return fact;
  }));
  text('.job-weights', result.notice || '');
  $('.job').dataset.result = result.name;
}

const isUnfinished = (job) => job.status === 'waiting' || job.status === 'running';

function show(job) {
  if (pressed) return;
  onScreen = job.id;
  if (!isUnfinished(job)) seen = job.id;
  $('.job').classList.toggle('playing', isUnfinished(job) && job.ready > 0);
  showPreview(job);
  window.multitalkForm.keepJob(isUnfinished(job) ? job.id : null);
  $('.job-lost').hidden = job.status !== 'lost';
  if (isUnfinished(job)) {
    phase(job.status);
    delete $('.job').dataset.result;
    showProgress(job);
    if (job.ready) player.playClips(job);
    else {
      player.stop();
      text('.job-note', job.preview ? `Preview of clip ${1 + parseInt(job.preview, 10)}: a rough picture.` : '');
    }
  } else if (job.status === 'lost') {
    showLost(job);
  } else if (job.result) {
    phase('done');
    const note = job.status === 'stopped' ? 'Stopped early: this is the finished part.' : '';
    showResult(job.result, note, job.warnings);
  } else if (job.status === 'cancelled') {
    empty('Canceled', 'No clip was finished. Select Generate video to start again.');
  } else {
    empty('Generation failed', '');
    phase('failed');
    text('.job-error', job.error || 'The video could not be generated.');
  }
}

// The server stopped while the video was generated. Its finished part, if there is one, is a result.
function showLost(job) {
  $('.job').scrollIntoView({ block: 'nearest' }); // the page was loaded again
  if (job.result) {
    phase('done');
    showResult(job.result, `${job.error} This is the finished part.`);
  } else {
    empty('Video lost', '');
    phase('failed');
    text('.job-error', job.error);
  }
}

function empty(title, words) {
  player.stop();
  phase('empty');
  text('.job-empty-title', title);
  text('.job-empty-text', words);
}

// Link to a job that is not shown: the one in the background, or this browser's next one.
function offer() {
  const words = {
    waiting: 'is waiting', running: 'is being generated', done: 'is ready',
    stopped: 'is ready', cancelled: 'was canceled', failed: 'failed', lost: 'was lost',
  };
  const hidden = last && last.id !== seen && last;
  const offered = background ? hidden : last && isUnfinished(last) && last.other;
  $('.job-other').hidden = !offered;
  if (offered) text('.job-other > span', `${background ? 'Your' : 'Your other'} video ${words[offered.status]}.`);
}

function showOffered() {
  const other = background ? null : last.other;
  background = false;
  if (other) follow(other.id);
  else {
    show(last);
    offer();
    if (!isUnfinished(last)) followNext(last);
  }
}

// Poll this browser's next job in the background once the end of a job was shown.
function followNext(job) {
  if (!job.other) return;
  background = true;
  follow(job.other.id);
}

async function fetchState(id) {
  try {
    const answer = await fetch(`${base}jobs/${id}`, { cache: 'no-store' });
    if (answer.status === 404) return { status: 'gone' };
    if (answer.ok) return await answer.json();
  } catch (error) { /* try again: the job continues meanwhile */ }
  return null;
}

async function follow(id) {
  following = id;
  while (following === id && element.isConnected) {
    const job = await fetchState(id);
    if (following !== id) return;
    if (job) {
      last = job.status === 'gone' ? null : job;
      if (!pressed) tell(last);
      if (!background && last) show(last);
      else if (!background) showGone();
      offer();
    }
    if (job && !isUnfinished(job)) {
      following = null;
      trigger('change', { job: id });
      if (seen === id) followNext(job);
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, document.hidden ? 2000 : 400));
  }
}

// The server does not know the job: it was forgotten after its end, or the server was replaced.
function showGone() {
  const isLost = window.multitalkForm.job() === following; // said until the next job, also after a reload
  $('.job-lost').hidden = true;
  if (isLost) empty('Video lost', 'The server was restarted and no longer has it. Select Generate video to start again.');
  else empty(...initial);
}

async function askAgain() {
  const id = onScreen;
  const answer = await fetch(`${base}jobs/${id}/again`, { method: 'POST' }).catch(() => null);
  if (answer && answer.ok) {
    background = false;
    follow(id);
  } else text('.job-lost-note', answer ? (await answer.json()).detail : 'The server is not answering. Try again.');
}

async function cancel(id) {
  await fetch(`${base}jobs/${id}/cancel`, { method: 'POST' }).catch(() => {});
}

async function dismiss() {
  await cancel(onScreen);
  $('.job-lost').hidden = true;
  empty(...initial);
}

function update() {
  const value = props.value || {};
  if (value.job) {
    if (following === value.job) return;
    if (pressed && cancelPressed) cancel(value.job);
    endPressed(false);
    background = false;
    player.stop();
    $('.job').classList.remove('playing');
    follow(value.job);
  } else if (value.result) {
    background = true;
    if (last && last.result && last.result.name === value.result.name) seen = last.id;
    $('.job').classList.remove('playing');
    phase('done');
    showResult(value.result);
    offer();
    element.scrollIntoView({ behavior: 'smooth', block: 'nearest' });
  }
}

$('.job-cancel').addEventListener('click', () => {
  text('.job-stage', 'Canceling');
  if (pressed) cancelPressed = true; // the job has no id yet
  else cancel(onScreen);
});
document.addEventListener('multitalk-deleted', ({ detail }) => {
  if ($('.job').dataset.result !== detail || $('.job').dataset.phase !== 'done') return;
  delete $('.job').dataset.result;
  empty(...initial);
});
$('.job-lost-again').addEventListener('click', askAgain);
$('.job-lost-dismiss').addEventListener('click', dismiss);
$('.job-other > button').addEventListener('click', showOffered);
$('.job-again').addEventListener('click', () => trigger('select', { name: $('.job').dataset.result }));
$('.job-continue').addEventListener('click', () => trigger('apply', { name: $('.job').dataset.result }));
document.addEventListener('multitalk:asked', showPressed);
document.addEventListener('multitalk:refused', () => endPressed(true));
watch('value', update);
update();
