() => { setTimeout(() => {
  document.dispatchEvent(new CustomEvent('multitalk:answered'));
  const error = document.querySelector('.field-error [role=alert]');
  const place = error && error.closest('[id^=error-person]');
  const tabs = document.querySelectorAll('#people [role=tab]');
  if (tabs.length > 1 && place) tabs[place.id.at(-1) - 1].click(); // the fields that the message is about
  if (error) error.scrollIntoView({ behavior: 'smooth', block: 'center' });
}, 50); }
