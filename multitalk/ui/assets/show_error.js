() => { setTimeout(() => {
  document.dispatchEvent(new CustomEvent('multitalk:answered'));
  const error = document.querySelector('.field-error [role=alert]');
  if (error) error.scrollIntoView({ behavior: 'smooth', block: 'center' });
}, 50); }
