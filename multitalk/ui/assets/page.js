() => {
  // Restore the settings of a generated video that is dropped anywhere outside a file field.
  const field = () => document.querySelector('#restore input[type=file]');
  const onField = (event) => event.target.closest && event.target.closest('.block input, .takes-files, #restore');
  const hasFiles = (event) => event.dataTransfer && [...event.dataTransfer.types].includes('Files');
  document.addEventListener('dragover', (event) => {
    if (hasFiles(event) && !onField(event)) {
      event.preventDefault();
      document.body.classList.add('dropping');
    }
  });
  document.addEventListener('dragleave', (event) => {
    if (!event.relatedTarget) document.body.classList.remove('dropping');
  });
  document.addEventListener('drop', (event) => {
    document.body.classList.remove('dropping');
    if (!hasFiles(event) || onField(event)) return;
    event.preventDefault();
    const videos = [...event.dataTransfer.files].filter((file) => file.name.toLowerCase().endsWith('.mp4'));
    if (!videos.length || !field()) return;
    const list = new DataTransfer();
    list.items.add(videos[0]);
    field().files = list.files;
    field().dispatchEvent(new Event('change', { bubbles: true }));
  });
}
