() => { setTimeout(() => {
  const error = document.querySelector('.field-error [role=alert]');
  if (error) error.scrollIntoView({ behavior: 'smooth', block: 'center' });
  else if (innerWidth < 800) document.querySelector('#outcome').scrollIntoView({ behavior: 'smooth' });
}, 50); }
