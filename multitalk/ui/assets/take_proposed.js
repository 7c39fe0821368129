// Fields as the server proposes them, but for those that somebody has changed since it was asked.
(proposed, ...current) => current.map((value, index) => {
  const proposal = proposed && proposed[index];
  return proposal && (proposal.asked ?? null) === (value ?? null) ? proposal.value : value;
})
