() => { setTimeout(() => {
  document.dispatchEvent(new CustomEvent('multitalk:answered'));
  const error = document.querySelector('.field-error [role=alert]');
  const person = error && (error.closest('.field-error').id.match(/^error-person(\d)$/) || [])[1];
  const tabs = document.querySelectorAll('#people [role=tab]');
  if (tabs.length > 1 && person) tabs[person - 1].click(); // the fields that the message is about
  if (error) error.scrollIntoView({ behavior: 'smooth', block: 'center' });
}, 50); }
