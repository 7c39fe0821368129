// Say when the server does not answer, and load the page again after a restart: the form is kept.
const base = location.pathname.replace(/\/*$/, '/') + 'multitalk/';
const EVERY = 900; // with LONGEST below three seconds: a lost connection is shown within that time
const LONGEST = 2000;
const LOST = 'Connection to the server lost. Trying again …';
const SLOW = 'The server is not answering. Trying again …';
const LOGGED_OUT = 'You are logged out.';
let boot = null; // id of the running server
let wake = () => {};

function say(words) {
  const line = element.querySelector('.connection');
  line.hidden = !words;
  line.querySelector('button').hidden = words !== LOGGED_OUT;
  if (line.firstElementChild.textContent !== words) line.firstElementChild.textContent = words;
  document.body.classList.toggle('offline', Boolean(words)); // hides Gradio's own message
}

async function ask() {
  try {
    const answer = await fetch(`${base}status`, { method: 'POST', signal: AbortSignal.timeout(LONGEST) });
    if (answer.status === 401) return LOGGED_OUT;
    if (answer.status === 403) return (await answer.json()).detail; // says what to set
    const state = answer.ok ? await answer.json() : null;
    if (!state) return LOST; // a proxy answers for the server
    if (boot !== null && state.server !== boot) location.reload();
    boot = state.server;
    return '';
  } catch (error) {
    return error.name === 'TimeoutError' ? SLOW : LOST;
  }
}

async function watchServer() {
  while (element.isConnected) {
    say(await ask());
    await new Promise((resolve) => { wake = resolve; setTimeout(resolve, document.hidden ? 15000 : EVERY); });
  }
}

element.querySelector('button').addEventListener('click', () => location.reload());
for (const event of ['online', 'offline']) window.addEventListener(event, () => wake());
document.addEventListener('visibilitychange', () => wake());
watchServer();
