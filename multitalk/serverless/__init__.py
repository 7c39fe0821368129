"""The RunPod worker: a job's input becomes a GenerationRequest, its video goes where the deployer wants it.

``server`` starts it and ``handler`` is what RunPod calls. On the way in: ``aliases``, ``sources``, ``paths``,
``urls``, ``inputs``; on the way out: ``bucket``, ``delivery``, ``answers``.
"""
