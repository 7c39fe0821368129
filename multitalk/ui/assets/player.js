// The player of a job: its clips while the rest is generated, then the result, with the dubbed video beside it.
// `base` is the address that jobs and results are below; `say(note)` writes below the player.
window.multitalkPlayer = (element, base, say) => {
  const $ = (selector) => element.querySelector(selector);
  const video = $('.job-player');
  const comparison = window.multitalkCompare($('.job-screen'), video, $('.job-source'), $('.job-compare'));
  let playing = null; // the id of a job, or the name of a result
  let clip = 0;
  let ready = 0; // clips that can be played

  function pause() {
    comparison.show(null);
    video.pause();
  }

  function stop() {
    comparison.show(null);
    if (playing === null) return;
    playing = null;
    video.pause();
    video.onended = null;
    video.removeAttribute('src');
    video.removeAttribute('poster');
    video.load();
  }

  function loadClip(job) {
    video.src = `${base}jobs/${job.id}/clips/${clip}.mp4`;
    say(`Clip ${clip + 1} of ${job.clips}. The rest is being generated.`);
    video.play().catch(() => { video.controls = true; }); // browsers may require a click first
  }

  function playClips(job) {
    comparison.show(null);
    ready = job.ready;
    if (playing === job.id) return;
    playing = job.id;
    clip = 0;
    video.loop = false;
    video.controls = video.matches(':hover, :focus');
    video.onended = () => { clip = clip + 1 < ready ? clip + 1 : 0; loadClip(job); };
    loadClip(job);
  }

  function playResult(result) {
    video.onended = null;
    video.controls = true;
    if (playing !== result.name) {
      playing = result.name;
      video.src = base + result.url;
      video.poster = base + result.poster;
    }
    comparison.show(result.source && base + result.source);
  }

  // Chromium draws visible and faded controls in every frame, which takes half a core from the model on a machine
  // without a GPU: the player of clips has them while it is used.
  for (const kind of ['pointerenter', 'focus']) {
    video.addEventListener(kind, () => { video.controls = true; });
  }
  for (const kind of ['pointerleave', 'blur']) {
    video.addEventListener(kind, () => {
      if ($('.job').classList.contains('playing')) video.controls = video.matches(':hover, :focus');
    });
  }
  return { pause, stop, playClips, playResult };
};
