// Files on their way to the server: what is refused before it is sent, and what is said if an upload fails.
window.multitalkFiles = (() => {
  const base = location.pathname.replace(/\/*$/, '/');
  const MOST = MAX_FILE; // bytes, replaced by the server's limit
  const ENDINGS = {
    picture: /\.(png|jpe?g|webp|bmp|gif|tiff?|avif|heic|heif)$/i,
    sound: /\.(wav|mp3|m4a|flac|ogg|opus|aac|wma|aiff?)$/i,
    video: /\.(mp4|mov|webm|mkv|avi|m4v)$/i,
    lora: /\.safetensors$/i,
  };
  const TYPES = { image: 'picture', audio: 'sound', video: 'video' };
  const WANTED = {
    picture: 'an image. Use a PNG, JPEG, WebP or HEIC file.',
    sound: 'audio. Use a WAV, MP3, M4A, FLAC or OGG file, or a video.',
    video: 'a video. Use an MP4, MOV, WebM or MKV file.',
    lora: 'a LoRA. Use a .safetensors file.',
    result: 'a generated video. Use an MP4 file that MultiTalk generated.',
  };
  // The fields of Gradio: element, label, kind of file.
  const FIELDS = [
    ['#picture', 'Image', 'picture'],
    ...[1, 2].flatMap((n) => [
      [`#person${n}-sound`, `Audio of person ${n}`, 'sound'],
      [`#person${n}-track`, `Audio of person ${n}`, 'video'],
    ]),
    ['#restore', 'Results', 'result'],
  ];

  const tell = (name, detail) => document.dispatchEvent(new CustomEvent(`multitalk:${name}`, { detail }));
  const fail = (text) => tell('notice', { text, stays: true });

  function kindOf(file) {
    const byEnding = Object.keys(ENDINGS).find((kind) => ENDINGS[kind].test(file.name));
    return TYPES[file.type.split('/')[0]] || byEnding;
  }

  // Return why a file is refused, or an empty text.
  function refusal(file, label, kind) {
    const fits = {
      sound: ['sound', 'video'].includes(kindOf(file)), // a video's sound is used
      result: /\.mp4$/i.test(file.name),
    }[kind] ?? kindOf(file) === kind;
    return fits ? sizeRefusal(file, label) : `${label}: ${file.name} is not ${WANTED[kind]}`;
  }

  function sizeRefusal(file, label) {
    if (file.size <= MOST) return '';
    return `${label}: ${file.name} is larger than ${MOST / 1e6} MB. Use a smaller file.`;
  }

  function reason(status, text) {
    if (status === 401) return 'You are logged out. Reload the page and log in.';
    if ([400, 413, 507].includes(status) && text && text.length < 200) return text;
    return status ? 'Try again.' : 'The server is not answering. Try again when it answers.';
  }

  // Send a file and return its path on the server; `say` gets words about the progress. Throws an Error with a sentence.
  function sendFile(file, say = () => {}) {
    say(`Uploading ${file.name} …`);
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      const failed = () => reject(new Error(
        `${file.name} could not be uploaded. ${reason(request.status, request.responseText)}`));
      // in steps of 10 %, since screen readers read the message
      request.upload.onprogress = ({ loaded, total }) => say(`Uploading ${file.name}: ${Math.floor(loaded / total * 10)}0 %`);
      request.onerror = failed;
      request.onload = () => {
        if (request.status !== 200) failed();
        else resolve(JSON.parse(request.responseText)[0]);
      };
      const data = new FormData();
      data.append('files', file);
      request.open('POST', `${base}gradio_api/upload`);
      request.send(data);
    });
  }

  // Uploads of Gradio's fields: a failure is said in the page's words. Without a file, Gradio says nothing.
  const send = window.fetch.bind(window);
  window.fetch = async (input, options) => {
    const { pathname } = new URL(input.url || input, location.href);
    if (!pathname.endsWith('/gradio_api/upload')) return send(input, options);
    let [status, text] = [0, ''];
    try {
      const answer = await send(input, options);
      if (answer.ok) return answer;
      status = answer.status;
      text = await answer.text();
    } catch (error) { /* no answer */ }
    const [file] = options && options.body instanceof FormData ? options.body.getAll('files') : [];
    fail(`${(file && file.name) || 'The file'} could not be uploaded. ${reason(status, text)}`);
    return new Response('[]', { headers: { 'Content-Type': 'application/json' } });
  };

  // Files that are chosen for a field of Gradio, or dropped on it: this runs before Gradio's own check.
  function check(event, files) {
    const { target } = event;
    // the file input of a button of Gradio is beside it
    const field = FIELDS.find(([selector]) => target.closest(selector) || target.nextElementSibling?.matches(selector));
    if (!field || !files.length) return;
    const [selector, label, kind] = field;
    const isDub = kind === 'picture' && kindOf(files[0]) === 'video'; // the server says whether it can dub one
    const refused = files.map((file) => refusal(file, label, isDub ? 'video' : kind)).find(Boolean);
    const main = { picture: 'image/', sound: 'audio/', video: 'video/', result: '' }[kind];
    if (!refused && files.every((file) => file.type.startsWith(main))) {
      tell('notice', { text: '' }); // of an earlier file
      return;
    }
    event.preventDefault();
    event.stopImmediatePropagation();
    if (target.type === 'file') target.value = '';
    document.body.classList.remove('dropping');
    if (refused) fail(refused);
    else tell('take', { files, person: (selector.match(/person\d/) || [])[0], place: isDub ? 'picture' : null });
  }

  document.addEventListener('change', (event) => {
    if (event.target.type === 'file') check(event, [...event.target.files]);
  }, true);
  // The image's dialog of files offers videos, too, if they can be dubbed.
  document.addEventListener('click', ({ target }) => {
    const input = target.closest?.('#picture')?.querySelector('input[type=file]');
    if (input && document.querySelector('#dubbing')?.checkVisibility()) input.accept = 'image/*,video/*';
  }, true);
  document.addEventListener('drop', (event) => {
    if (event.target.closest?.('#restore')) check(event, [...event.dataTransfer.files]);
  }, true);

  return { kindOf, refusal, sizeRefusal, sendFile, fail };
})();
