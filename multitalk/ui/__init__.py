"""The Gradio page.

``server`` starts it, ``stopping`` ends it; ``page`` puts it together from ``layout`` (what is on it, with the
blocks of ``parts`` and the scripts in ``assets/``) and ``events`` (what happens). Behind it: ``fields`` (from
the form to a request, and from an error to its field), ``jobs`` (the queue), ``worker`` (the model thread),
``gallery``, ``restore`` and ``file_settings`` (from a video back to the form), ``estimates``, ``faces``,
``access`` (whose files are whose), ``routes`` (what the scripts ask for), ``api`` and ``api_request`` (the
same for programs).
"""
