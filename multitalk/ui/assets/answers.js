// Calls overlap, and the server may answer them in another order: what a later call has set, the answer of an
// earlier one does not change. No event has a rule of its own.
(() => {
  const CALL = /\/run\/predict/;
  const fetchNow = window.fetch.bind(window);
  const setBy = new Map(); // by component and attribute: number of the latest call that has set it
  let sent = 0;

  const outputsOf = (id) => {
    const found = (window.gradio_config.dependencies || []).find((each) => each.id === id);
    return found ? found.outputs : [];
  };
  const isUpdate = (value) => Boolean(value) && value.__type__ === 'update';

  function isLatest(number, key) {
    if ((setBy.get(key) || 0) > number) return false;
    setBy.set(key, number);
    return true;
  }

  // An update contains the attributes that change; a plain value is the attribute "value".
  function withoutOlder(number, component, value) {
    if (!isUpdate(value)) return isLatest(number, `${component} value`) ? value : { __type__: 'update' };
    const kept = Object.entries(value).filter(
      ([name]) => name === '__type__' || name === 'props' || isLatest(number, `${component} ${name}`),
    );
    const update = Object.fromEntries(kept);
    if (isUpdate(update.props)) update.props = withoutOlder(number, component, update.props);
    return update;
  }

  window.fetch = async (resource, options) => {
    const url = typeof resource === 'string' ? resource : resource.url || String(resource);
    if (!CALL.test(url) || !options || typeof options.body !== 'string') return fetchNow(resource, options);
    sent += 1;
    const number = sent;
    const outputs = outputsOf(JSON.parse(options.body).fn_index);
    const answer = await fetchNow(resource, options);
    if (!answer.ok) return answer;
    const content = await answer.json();
    if (Array.isArray(content.data)) {
      content.data = content.data.map((value, index) => withoutOlder(number, outputs[index], value));
    }
    return new Response(JSON.stringify(content), { status: answer.status, headers: answer.headers });
  };
})();
