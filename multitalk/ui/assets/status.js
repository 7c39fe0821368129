// Poll the state of the models until they are loaded.
const base = location.pathname.replace(/\/*$/, '/') + 'multitalk/';

// The form is filled first, so that the values of the presets do not replace those of the user.
async function formFilled() {
  for (let waited = 0; waited < 10000 && !window.multitalkForm.isReady(); waited += 50) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function poll() {
  while (element.isConnected) {
    let status = null;
    try {
      const answer = await fetch(`${base}status`, { cache: 'no-store' });
      if (answer.ok) status = await answer.json();
    } catch (error) { /* try again */ }
    if (status) {
      element.querySelector('.status').dataset.state = status.state;
      const line = element.querySelector('.status-text');
      if (line.textContent !== status.text) line.textContent = status.text;
      if (status.state !== 'loading') {
        await formFilled();
        trigger('change');
        return;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 700));
  }
}

poll();
