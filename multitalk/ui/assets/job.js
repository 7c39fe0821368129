// The video of this browser's job: where it stands, the clips so far, and the finished result.
// value: {job: id} or {result: {...}} or {}
// While a result is looked at, the job is followed behind it, and a line leads back.
const base = location.pathname.replace(/\/*$/, '/') + 'multitalk/';
const $ = (selector) => element.querySelector(selector);
let following = null; // the id of the job that is asked about
let last = null; // what the server said of it
let looking = false; // whether something else is shown
let seen = null; // the job whose end was shown
let onScreen = null; // the job that is shown, which Cancel is for
let shown = null; // what the player plays: a job's id, for its clips, or a result's name
let clip = 0;
let ready = 0;

const beginning = [$('.job-empty-title').textContent, $('.job-empty-text').textContent];

const text = (selector, words) => {
  const node = $(selector);
  if (node && node.textContent !== words) node.textContent = words;
};

function phase(name) {
  $('.job').dataset.phase = name;
}

function showProgress(job) {
  const bar = $('.job-bar');
  const percent = Math.round(job.fraction * 1000) / 10;
  bar.setAttribute('aria-valuenow', String(Math.round(percent)));
  $('.job-bar > i').style.width = `${percent}%`;
  bar.classList.toggle('unknown', job.fraction === 0);
  text('.job-stage', job.stage);
  text('.job-detail', job.detail);
  text('.job-left', job.left);
}

function quiet() {
  if (shown === null) return;
  shown = null;
  const player = $('.job-player');
  player.pause();
  player.onended = null;
  player.removeAttribute('src');
  player.removeAttribute('poster');
  player.load();
}

function playClip(job) {
  const player = $('.job-player');
  if (shown !== job.id) {
    shown = job.id;
    clip = 0;
    player.loop = false;
    player.onended = () => { clip = clip + 1 < ready ? clip + 1 : 0; loadClip(job); };
    loadClip(job);
  }
}

function loadClip(job) {
  const player = $('.job-player');
  player.src = `${base}jobs/${job.id}/clips/${clip}.mp4`;
  text('.job-note', `Part ${clip + 1} of ${job.clips}. The rest is being made.`);
  player.play().catch(() => {}); // browsers may want a click first
}

function showResult(result, over) {
  const player = $('.job-player');
  player.onended = null;
  if (shown !== result.name) {
    shown = result.name;
    player.src = base + result.url;
    player.poster = base + result.poster;
  }
  const link = $('.job-download');
  link.href = `${base}${result.url}?download=1`;
  link.download = result.name;
  text('.job-title', result.title);
  text('.job-note', over || '');
  $('.job-facts').replaceChildren(...result.facts.flatMap(([name, value]) => {
    const [term, detail] = [document.createElement('dt'), document.createElement('dd')];
    term.textContent = name;
    detail.textContent = value;
    return [term, detail];
  }));
  $('.job').dataset.result = result.name;
}

const underWay = (job) => job.status === 'waiting' || job.status === 'running';

function show(job) {
  ready = job.ready;
  onScreen = job.id;
  if (!underWay(job)) seen = job.id;
  $('.job').classList.toggle('playing', underWay(job) && job.ready > 0);
  if (underWay(job)) {
    phase(job.status);
    delete $('.job').dataset.result;
    showProgress(job);
    if (job.ready) playClip(job);
    else quiet();
  } else if (job.result) {
    phase('done');
    showResult(job.result, job.status === 'stopped' ? 'Stopped early: this is what was done.' : '');
  } else if (job.status === 'cancelled') {
    empty('Cancelled', 'Nothing was finished yet. Press the button to start again.');
  } else {
    empty('It was not made', '');
    phase('failed');
    text('.job-error', job.error || 'The video could not be made.');
  }
}

function empty(title, words) {
  quiet();
  phase('empty');
  text('.job-empty-title', title);
  text('.job-empty-text', words);
}

// The way to a job that isn't shown: the one behind what is looked at, or another of this browser's.
function offer() {
  const words = {
    waiting: 'video of yours is waiting', running: 'video of yours is being made', done: 'video of yours is ready',
    stopped: 'video of yours is ready', cancelled: 'video of yours was cancelled', failed: 'video of yours was not made',
  };
  const behind = last && last.id !== seen && last;
  const offered = looking ? behind : last && underWay(last) && last.other;
  $('.job-other').hidden = !offered;
  if (offered) text('.job-other > span', `${looking ? 'A' : 'Another'} ${words[offered.status]}.`);
}

function showOffered() {
  const other = looking ? null : last.other;
  looking = false;
  if (other) follow(other.id);
  else {
    show(last);
    offer();
    if (!underWay(last)) followNext(last);
  }
}

// Once a job's end was seen, the next one of this browser is followed behind it.
function followNext(job) {
  if (!job.other) return;
  looking = true;
  follow(job.other.id);
}

async function ask(id) {
  try {
    const answer = await fetch(`${base}jobs/${id}`, { cache: 'no-store' });
    if (answer.status === 404) return { status: 'gone' };
    if (answer.ok) return await answer.json();
  } catch (error) { /* the connection comes back, and the job goes on meanwhile */ }
  return null;
}

async function follow(id) {
  following = id;
  while (following === id && element.isConnected) {
    const job = await ask(id);
    if (following !== id) return;
    if (job) {
      last = job.status === 'gone' ? null : job;
      if (!looking && last) show(last);
      else if (!looking) empty(...beginning);
      offer();
    }
    if (job && !underWay(job)) {
      following = null;
      trigger('change', { job: id });
      if (seen === id) followNext(job);
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, document.hidden ? 2000 : 400));
  }
}

function update() {
  const value = props.value || {};
  if (value.job) {
    if (following === value.job) return;
    looking = false;
    quiet();
    $('.job').classList.remove('playing');
    follow(value.job);
  } else if (value.result) {
    looking = true;
    if (last && last.result && last.result.name === value.result.name) seen = last.id;
    $('.job').classList.remove('playing');
    phase('done');
    showResult(value.result);
    offer();
    element.scrollIntoView({ behavior: 'smooth', block: 'nearest' });
  }
}

$('.job-cancel').addEventListener('click', async () => {
  text('.job-stage', 'Stopping');
  if (onScreen) await fetch(`${base}jobs/${onScreen}/cancel`, { method: 'POST' }).catch(() => {});
});
$('.job-other > button').addEventListener('click', showOffered);
$('.job-again').addEventListener('click', () => trigger('select', { name: $('.job').dataset.result }));
watch('value', update);
update();
