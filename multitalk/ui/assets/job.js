// The video of this browser's job: where it stands, the clips so far, and the finished result.
// value: {job: id} or {result: {...}} or {}
const base = location.pathname.replace(/\/*$/, '/') + 'multitalk/';
const $ = (selector) => element.querySelector(selector);
let following = null;
let shown = null; // what the player plays: "clips", or a result's name
let clip = 0;
let ready = 0;

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

function show(job) {
  ready = job.ready;
  const waits = job.status === 'waiting';
  if (waits || job.status === 'running') {
    phase(waits ? 'waiting' : 'running');
    delete $('.job').dataset.result;
    showProgress(job);
    if (job.ready) playClip(job);
    $('.job').classList.toggle('playing', job.ready > 0);
    return true;
  }
  if (job.result) {
    phase('done');
    showResult(job.result, job.status === 'stopped' ? 'Stopped early: this is what was done.' : '');
  } else if (job.status === 'cancelled') {
    phase('empty');
    text('.job-empty-title', 'Cancelled');
    text('.job-empty-text', 'Nothing was finished yet. Press the button to start again.');
  } else {
    phase('failed');
    text('.job-error', job.error || 'The video could not be made.');
  }
  return false;
}

async function follow(id) {
  following = id;
  let first = true;
  while (following === id && element.isConnected) {
    let job = null;
    try {
      const answer = await fetch(`${base}jobs/${id}`, { cache: 'no-store' });
      if (answer.status === 404) { phase('empty'); return; }
      if (answer.ok) job = await answer.json();
    } catch (error) { /* the connection comes back, and the job goes on meanwhile */ }
    if (following !== id) return;
    if (job && !show(job)) {
      following = null;
      if (!first) trigger('change', { job: id });
      return;
    }
    first = false;
    await new Promise((resolve) => setTimeout(resolve, document.hidden ? 2000 : 400));
  }
}

function update() {
  const value = props.value || {};
  if (value.job) {
    if (following !== value.job) {
      shown = null;
      $('.job').classList.remove('playing');
      follow(value.job);
    }
  } else if (value.result) {
    following = null;
    phase('done');
    showResult(value.result);
    element.scrollIntoView({ behavior: 'smooth', block: 'nearest' });
  }
}

$('.job-cancel').addEventListener('click', async () => {
  text('.job-stage', 'Stopping');
  if (following) await fetch(`${base}jobs/${following}/cancel`, { method: 'POST' }).catch(() => {});
});
$('.job-again').addEventListener('click', () => trigger('select', { name: $('.job').dataset.result }));
watch('value', update);
update();
