// Take the files that are dropped anywhere on the page: they are uploaded, and the server fills in their fields.
// value: {text, id}, a message that is shown for some seconds.
const SECONDS = 12;
const ENDINGS = {
  picture: /\.(png|jpe?g|webp|bmp|gif|tiff?|avif|heic)$/i,
  sound: /\.(wav|mp3|m4a|flac|ogg|opus|aac|wma|aiff?)$/i,
  video: /\.(mp4|mov|webm|mkv|avi|m4v)$/i,
};
const TYPES = { image: 'picture', audio: 'sound', video: 'video' };
const PART = 2 ** 20; // bytes at the start and the end of a file that are searched for settings
let timer = null;

function say(words) {
  const notice = element.querySelector('.notice');
  notice.firstElementChild.textContent = words;
  notice.hidden = !words;
  clearTimeout(timer);
  if (words) timer = setTimeout(() => say(''), SECONDS * 1000);
}

function kindOf(file) {
  const byEnding = Object.keys(ENDINGS).find((kind) => ENDINGS[kind].test(file.name));
  return TYPES[file.type.split('/')[0]] || byEnding;
}

// A video of MultiTalk contains its settings: it restores them instead of being an input.
async function hasSettings(file) {
  const parts = await Promise.all([file.slice(0, PART), file.slice(-PART)].map((part) => part.text()));
  return parts.some((text) => text.includes('MultiTalk') && text.includes('"preset"'));
}

function person() {
  const tabs = [...document.querySelectorAll('#people [role=tab]')];
  return tabs.findIndex((tab) => tab.getAttribute('aria-selected') === 'true') === 1 ? 'person2' : 'person1';
}

async function take(files) {
  const known = files.filter(kindOf);
  if (!known.length) {
    say(`${files[0].name} is not an image, audio or a video.`);
    return;
  }
  say(`Uploading ${known[0].name} …`);
  try {
    if (kindOf(known[0]) === 'video' && await hasSettings(known[0])) {
      trigger('apply', { path: (await upload(known[0])).path });
      return;
    }
    const stored = [];
    for (const file of known) stored.push({ kind: kindOf(file), name: file.name, path: (await upload(file)).path });
    trigger('upload', { files: stored, person: person() });
  } catch (error) {
    say(`${known[0].name} could not be uploaded. Try again.`);
  }
}

const hasFiles = (event) => event.dataTransfer && [...event.dataTransfer.types].includes('Files');
const isElsewhere = (event) => event.target.closest && event.target.closest('#restore, .takes-files');

for (const kind of ['dragenter', 'dragover', 'dragleave', 'drop']) {
  document.addEventListener(kind, (event) => {
    if (!hasFiles(event) || isElsewhere(event)) return;
    event.preventDefault();
    event.stopPropagation(); // of all fields: some would refuse the file
    const isOver = kind === 'dragover' || kind === 'dragenter' || (kind === 'dragleave' && event.relatedTarget);
    document.body.classList.toggle('dropping', Boolean(isOver));
    if (kind === 'drop') take([...event.dataTransfer.files]);
  }, true);
}

element.querySelector('.notice button').addEventListener('click', () => say(''));
watch('value', () => { if (props.value && props.value.text) say(props.value.text); });
