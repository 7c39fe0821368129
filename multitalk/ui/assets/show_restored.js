() => { setTimeout(() => {
  document.querySelector('#restored p')?.scrollIntoView({ behavior: 'smooth', block: 'nearest' });
}, 50); }
