// The button that generates a video: it shows the progress of this browser's job, and brings the panel into view.
// value: {job: id or null, id: ...}, the server's answer to a press
const bar = element.querySelector('.make-bar');
const button = element.querySelector('#make');
const another = element.querySelector('.make-another');
const label = element.querySelector('.make-text');
const TITLE = document.title;
let job = null; // the job that the panel follows, if it is unfinished
let asked = false; // whether a press waits for the server's answer
let ended = ''; // how the last job of this page ended, for the tab's title

const tell = (name, detail) => document.dispatchEvent(new CustomEvent(`multitalk:${name}`, { detail }));

function words() {
  if (asked) return 'Starting…';
  if (!job) return 'Generate video';
  if (job.status === 'waiting') return job.ahead ? `Waiting: ${job.ahead} before you` : 'Waiting: you are next';
  if (job.stage === 'Canceling') return 'Canceling…';
  if (job.finishing) return 'Finishing…';
  return `Generating: ${Math.floor(job.fraction * 100)} %`;
}

function title() {
  if (job && job.status === 'waiting') return `Waiting · ${TITLE}`;
  if (job) return `${Math.floor(job.fraction * 100)} % · ${TITLE}`;
  return ended ? `${ended} · ${TITLE}` : TITLE;
}

function show() {
  bar.dataset.state = asked ? 'asked' : job ? job.status : 'ready';
  button.disabled = asked || job !== null;
  another.hidden = !job;
  another.disabled = asked;
  if (label.textContent !== words()) label.textContent = words();
  element.querySelector('.make-fill').style.width = job && job.status === 'running' ? `${job.fraction * 100}%` : '0';
  if (document.title !== title()) document.title = title();
}

// The panel stays in view from the press to the result, unless the user scrolls away from it.
const panel = () => document.querySelector('.job');
let inView = false;
let height = 0;

function bringIntoView(node) {
  const smooth = !matchMedia('(prefers-reduced-motion: reduce)').matches;
  node.scrollIntoView({ behavior: smooth ? 'smooth' : 'auto', block: 'nearest' });
}

function watchPanel() {
  new IntersectionObserver((entries) => {
    inView = entries[entries.length - 1].intersectionRatio > 0.5;
  }, { threshold: [0, 0.5, 1] }).observe(panel());
  new ResizeObserver(() => {
    const grown = panel().offsetHeight - height;
    height = panel().offsetHeight;
    if (grown > 20 && inView && (asked || job || ended)) bringIntoView(panel());
  }).observe(panel());
}

function press(event, data = {}) {
  // the second click of a double click must not ask again
  if (asked || event.detail > 1) return;
  asked = true;
  show();
  tell('asked');
  bringIntoView(panel());
  if (event.detail === 0) panel().focus({ preventScroll: true }); // a disabled button loses the keyboard's focus
  trigger('submit', data);
}

function release(accepted) {
  if (!asked) return;
  asked = false;
  if (!accepted) tell('refused');
  show();
}

button.addEventListener('click', (event) => press(event));
another.addEventListener('click', (event) => press(event));
document.addEventListener('multitalk:submit', (event) => press({ detail: 0 }, event.detail));
document.addEventListener('multitalk:answered', () => release(false)); // the server did not answer
document.addEventListener('multitalk:job', ({ detail }) => {
  const unfinished = detail && ['waiting', 'running'].includes(detail.status);
  if (job && !unfinished) ended = detail && detail.result ? 'Ready' : '';
  if (unfinished) ended = '';
  job = unfinished ? detail : null;
  show();
});
window.addEventListener('focus', () => { ended = ''; show(); });
watch('value', () => {
  const answer = props.value || {};
  if (answer.job && !job) job = { status: 'running', fraction: 0 }; // until the panel knows its state
  release(Boolean(answer.job));
});
const waitForPanel = setInterval(() => {
  if (!panel()) return;
  clearInterval(waitForPanel);
  watchPanel();
}, 100);
show();
