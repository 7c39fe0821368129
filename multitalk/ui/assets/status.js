// Whether the models are there; the page itself works meanwhile.
const base = location.pathname.replace(/\/*$/, '/') + 'multitalk/';

async function ask() {
  while (element.isConnected) {
    let status = null;
    try {
      const answer = await fetch(`${base}status`, { cache: 'no-store' });
      if (answer.ok) status = await answer.json();
    } catch (error) { /* asked again */ }
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

ask();
