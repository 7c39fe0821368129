// Apply the server's proposals, except to fields that the user has changed since the request: their value is
// neither that of the request nor one that was proposed before.
(proposed, ...current) => current.map((value, index) => {
  const proposal = proposed && proposed[index];
  const applied = (window.multitalkProposed ||= []);
  const known = proposal && [proposal.previous ?? null, ...(index in applied ? [applied[index]] : [])];
  if (!proposal || !known.includes(value ?? null)) return value;
  applied[index] = proposal.value;
  return proposal.value;
})
