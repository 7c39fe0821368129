// Poll the state of the models until they are loaded.
const base = location.pathname.replace(/\/*$/, '/') + 'multitalk/';

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
        trigger('change');
        return;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 700));
  }
}

poll();
