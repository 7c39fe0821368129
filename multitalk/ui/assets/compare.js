// The video that was dubbed beside its result, played together: the result's player leads, and the other one is muted.
// Returns {show}: `show(url)` for the result that is in the player, without an address if there is nothing to compare.
window.multitalkCompare = (screen, player, other, button) => {
  const APART = 0.15; // seconds that both may differ while they play
  let address = null;
  let isOn = false; // stays for the next result

  function follow() {
    if (other.hidden) return;
    const end = Number.isFinite(other.duration) ? other.duration : Infinity;
    const target = Math.min(player.currentTime, end); // a shorter video holds its last frame
    if (Math.abs(other.currentTime - target) > (player.paused ? 0.01 : APART)) other.currentTime = target;
    other.playbackRate = player.playbackRate;
    if (player.paused || target === end) other.pause();
    else if (other.paused) other.play().catch(() => {});
  }

  function update() {
    const isShown = Boolean(address) && isOn;
    button.hidden = !address;
    button.setAttribute('aria-pressed', String(isShown));
    other.hidden = !isShown;
    screen.classList.toggle('comparing', isShown);
    if (isShown && other.getAttribute('src') !== address) other.src = address;
    if (!isShown && other.hasAttribute('src')) {
      other.pause();
      other.removeAttribute('src');
      other.load();
    }
    follow();
  }

  button.addEventListener('click', () => {
    isOn = !isOn;
    update();
  });
  for (const kind of ['play', 'pause', 'seeking', 'seeked', 'timeupdate', 'ratechange', 'ended']) {
    player.addEventListener(kind, follow);
  }
  other.addEventListener('loadedmetadata', follow);
  // formats that a browser does not play, and files that the server has deleted meanwhile
  other.addEventListener('error', () => {
    if (!other.hasAttribute('src')) return;
    address = null;
    update();
  });
  return {
    show(url) {
      address = url || null;
      update();
    },
  };
};
