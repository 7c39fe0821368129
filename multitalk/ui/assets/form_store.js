// Keep the form in this browser, so that it survives a reload and a restart of the server: the values in
// localStorage, and the files, which the server deletes when it stops, in IndexedDB.
window.multitalkForm = (() => {
  const base = location.pathname.replace(/\/*$/, '/');
  const { sendFile, fail } = window.multitalkFiles;
  const KEY = `multitalk-form ${base}`;
  const JOB = `multitalk-job ${base}`;
  const isFile = (value) => value !== null && typeof value === 'object' && typeof value.path === 'string';
  // Fields of IndexedDB with the files of a field of the form: itself, or one for each file of a list.
  const filesOf = ([field, value]) => {
    if (isFile(value)) return [[field, value]];
    return Array.isArray(value) ? value.filter(isFile).map((file) => [`${field} ${file.name}`, file]) : [];
  };
  const sent = new Map(); // files that this page has sent, by path: the server need not send them back
  const kept = {}; // path of the file that is kept for each field
  let form = {}; // the values of this page, by field: those of another tab do not mix with them
  let fields = {}; // names of the form's fields by id of their elements
  let ready = false; // the form contains the kept values: only then changes are kept

  // Without storage, as in some private windows, the form is not kept.
  const attempt = (action) => { try { return action(); } catch (error) { return null; } };

  function database() {
    return new Promise((resolve, reject) => {
      const request = indexedDB.open(`multitalk ${base}`, 1);
      request.onupgradeneeded = () => request.result.createObjectStore('files');
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  }

  async function inFiles(mode, action) {
    const opened = await database();
    try {
      return await new Promise((resolve, reject) => {
        const request = action(opened.transaction('files', mode).objectStore('files'));
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => reject(request.error);
      });
    } finally {
      opened.close();
    }
  }

  const urlOf = (path) => `${base}gradio_api/file=${path.split('/').map(encodeURIComponent).join('/')}`;

  async function keepFile(field, file) {
    const path = file ? file.path : null;
    if (kept[field] === path) return;
    kept[field] = path;
    try {
      if (!file) {
        await inFiles('readwrite', (files) => files.delete(field));
        return;
      }
      let blob = sent.get(path);
      if (!blob) {
        const answer = await fetch(urlOf(path));
        if (!answer.ok) throw new Error(answer.status);
        blob = await answer.blob();
      }
      if (kept[field] === path) await inFiles('readwrite', (files) => files.put({ path, blob, name: file.orig_name }, field));
    } catch (error) {
      if (kept[field] === path) kept[field] = undefined; // keep it with the next change
    }
  }

  function keep(name, value) {
    form[name] = value;
    attempt(() => localStorage.setItem(KEY, JSON.stringify(form)));
  }

  function save(name, value) {
    if (!ready) return;
    keep(name, value);
    const files = Object.fromEntries(Object.entries(form).flatMap(filesOf));
    for (const [field, file] of Object.entries(files)) keepFile(field, file);
    for (const field of Object.keys(kept)) {
      if (kept[field] && !files[field]) keepFile(field, null);
    }
  }

  // Keep what is typed while the connection is lost: Gradio then triggers no events.
  function keepTyping() {
    const blocks = Object.keys(fields).map((id) => `#${id}`).join(',');
    document.addEventListener('input', ({ target }) => {
      if (target.tagName !== 'TEXTAREA' && target.type !== 'number') return;
      const block = target.closest(blocks);
      if (!ready || !block || Array.isArray(form[fields[block.id]])) return; // a list keeps itself
      const value = target.value === '' ? null : Number(target.value);
      keep(fields[block.id], target.type === 'number' ? value : target.value);
    }, true);
  }

  async function isOnServer(path) {
    const answer = await fetch(urlOf(path), { headers: { Range: 'bytes=0-0' }, cache: 'no-store' });
    if (answer.body) answer.body.cancel();
    return answer.ok;
  }

  // Return the path of a field's file on this server: it is uploaded again if the server no longer has it.
  async function pathOf(field, path) {
    try {
      kept[field] = path;
      if (await isOnServer(path)) return path;
      const stored = await inFiles('readonly', (files) => files.get(field));
      if (!stored || stored.path !== path) return null;
      const name = stored.name || stored.path.split('/').pop();
      return await sendFile(new File([stored.blob], name)).catch((error) => { fail(error.message); return null; });
    } catch (error) {
      return null;
    }
  }

  // The form is filled.
  function start() {
    ready = true;
    show();
    keepTyping();
  }

  // Return the kept values, with paths for files. If there are none: start with the form as it is, and return null.
  async function load(names) {
    fields = names;
    const stored = attempt(() => JSON.parse(localStorage.getItem(KEY)));
    if (!stored || typeof stored !== 'object') {
      start();
      return null;
    }
    form = stored;
    await Promise.all(Object.entries(form).filter(([, value]) => isFile(value)).map(async ([field, value]) => {
      form[field] = await pathOf(field, value.path);
    }));
    await Promise.all(Object.entries(form).filter(([, value]) => Array.isArray(value)).map(async ([field, list]) => {
      for (const file of list.filter(isFile)) file.path = await pathOf(`${field} ${file.name}`, file.path) || '';
      form[field] = list.filter((file) => file.path !== ''); // without lost files
    }));
    return form;
  }

  // The page appears with its fields filled in, so that nothing moves while Gradio builds it.
  const show = () => document.body.classList.add('built');
  setTimeout(show, 4000); // also without an answer of the server
  // Others may use this browser after logging out.
  document.addEventListener('click', ({ target }) => {
    if (target.closest && target.closest('a[href=logout]')) window.multitalkForm.forget();
  });

  return {
    save,
    remember: (path, file) => sent.set(path, file),
    load,
    start,
    isReady: () => ready,
    forget() {
      ready = false;
      form = {};
      attempt(() => localStorage.removeItem(KEY));
      attempt(() => indexedDB.deleteDatabase(`multitalk ${base}`));
    },
    // The unfinished job of this browser: if a restarted server does not have it, the page says so.
    job: () => attempt(() => localStorage.getItem(JOB)),
    keepJob: (id) => attempt(() => (id ? localStorage.setItem(JOB, id) : localStorage.removeItem(JOB))),
  };
})();
