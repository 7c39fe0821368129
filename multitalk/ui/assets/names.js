// Names and tab stops that Gradio's components lack: groups get their label as a name, a group of radio buttons or
// tabs has one tab stop, and icons have a tooltip.
(() => {
  // Gradio has one text, "Drop a video", for all fields of files. This follows it.
  const PURPOSES = {
    '#video': 'to dub',
    '#continue-from': 'to continue',
    '#restore': 'to see its origin and restore its settings,',
  };
  let number = 0;
  const idOf = (node) => { node.id ||= `named-${number += 1}`; return node.id; };
  const set = (node, name, value) => { if (node.getAttribute(name) !== value) node.setAttribute(name, value); };

  function nameGroup(fieldset) {
    const label = fieldset.querySelector('[data-testid=block-info]');
    if (label) set(fieldset, 'aria-labelledby', idOf(label));
    const radios = fieldset.querySelectorAll('input[type=radio]');
    for (const radio of radios) set(radio, 'name', radios[0].name); // of their own, each would be a tab stop
  }

  function nameTabs(tabs) {
    const buttons = [...tabs.querySelectorAll('[role=tab]')];
    for (const tab of buttons) set(tab, 'tabindex', tab.getAttribute('aria-selected') === 'true' ? '0' : '-1');
    const selected = buttons.find((tab) => tab.getAttribute('aria-selected') === 'true');
    for (const panel of tabs.querySelectorAll('[role=tabpanel]')) {
      if (selected && panel.checkVisibility()) set(panel, 'aria-label', selected.textContent.trim());
    }
  }

  function nameAccordion(button) {
    set(button.querySelector('.icon'), 'aria-hidden', 'true');
    set(button, 'aria-expanded', String(button.nextElementSibling.style.display !== 'none'));
  }

  function nameFiles(field, purpose) {
    const text = document.querySelector(`${field} [data-testid=upload-text] .or`); // Gradio's "or", which is hidden
    if (!text || text.textContent === purpose) return;
    text.textContent = purpose;
    text.classList.add('purpose');
  }

  function nameAll() {
    const each = (selector, action) => document.querySelectorAll(selector).forEach(action);
    for (const field in PURPOSES) nameFiles(field, PURPOSES[field]);
    each('fieldset', nameGroup);
    each('.tabs', nameTabs);
    each('.label-wrap', nameAccordion);
    each('button.upload-container', (button) => {
      const words = button.innerText.trim();
      if (words) set(button, 'aria-label', words);
    });
    each('.source-selection button', (button) => set(button, 'title', button.getAttribute('aria-label')));
    each('.download-link button', (button) => set(button, 'tabindex', '-1')); // inside a link
  }

  document.addEventListener('keydown', (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || event.target.role !== 'tab') return;
    const tabs = [...event.target.parentElement.querySelectorAll('[role=tab]')];
    const next = tabs[(tabs.indexOf(event.target) + step + tabs.length) % tabs.length];
    next.click();
    next.focus();
  });

  let waiting = false;
  const attributes = ['aria-selected', 'style', 'class'];
  new MutationObserver(() => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; nameAll(); });
  }).observe(document.documentElement, { subtree: true, childList: true, attributeFilter: attributes });
  nameAll();
})();
