"""The RunPod worker: turn a job's input into a GenerationRequest and deliver its video.

``server`` starts the worker and ``handler`` runs the jobs. ``sources``, ``urls`` and ``inputs`` read
the input; ``bucket``, ``delivery`` and ``answers`` return the output.
"""
