"""The Gradio page.

``server`` starts the page and ``stopping`` ends the process. ``page`` combines ``layout`` (the components,
with ``parts`` and the scripts in ``assets/``) and ``events`` (their handlers). Behind them:

* ``fields``: form -> request, and error -> place on the page;
* ``preset_fields``: the sampling settings that a preset fills in;
* ``jobs``, ``worker``: the queue, and the model thread;
* ``gallery``, ``restore``, ``file_settings``: finished videos, and from a video's metadata back to the form;
* ``estimates``, ``faces``, ``access``: run times, face detection, access to files;
* ``routes``: HTTP routes for the scripts; ``api``, ``api_request``: the same functions for programs.
"""
