// The bar of a job's progress, which never goes back.
window.multitalkBar = (bar) => {
  let shown = { id: null, percent: 0 };
  let moving = null;

  function set(job, fraction) {
    if (shown.id !== job.id) shown = { id: job.id, percent: 0 };
    shown.percent = Math.max(shown.percent, Math.round(fraction * 1000) / 10);
    bar.setAttribute('aria-valuenow', String(Math.floor(shown.percent)));
    bar.querySelector(':scope > i').style.width = `${shown.percent}%`;
    bar.classList.toggle('unknown', shown.percent === 0);
  }

  // A busy server may answer seconds later: meanwhile the bar moves on at its last speed.
  function move(job) {
    clearInterval(moving);
    if (job.status !== 'running' || !job.seconds_left) return;
    const since = performance.now();
    moving = setInterval(() => {
      const done = Math.min((performance.now() - since) / 1000 / job.seconds_left, 0.5);
      if (shown.id === job.id) set(job, job.fraction + (1 - job.fraction) * done);
    }, 300);
  }

  return {
    show(job) {
      set(job, job.fraction);
      move(job);
    },
  };
};
