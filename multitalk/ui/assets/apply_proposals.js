// Apply the server's proposals, except to fields that the user has changed since the request.
(proposed, ...current) => current.map((value, index) => {
  const proposal = proposed && proposed[index];
  return proposal && (proposal.previous ?? null) === (value ?? null) ? proposal.value : value;
})
