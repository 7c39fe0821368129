"""The Gradio page.

``server`` starts and stops the page. ``page`` combines ``layout`` (the components,
with ``parts`` and the scripts in ``assets/``) and ``events`` (their handlers). Behind them:

* ``fields``: form -> request, and error -> place on the page;
* ``preset_fields``: the sampling settings that a preset fills in;
* ``jobs``, ``worker``: the queue, and the model thread;
* ``gallery``, ``restore``, ``file_settings``: finished videos, and from a video's metadata back to the form;
* ``estimates``, ``faces``: run times, face detection;
* ``access``, ``owners``: the browsers' files; ``uploads``: their limits;
* ``origins``, ``login_delay``: requests of other websites, wrong passwords;
* ``routes``: HTTP routes for the scripts; ``api``: the same functions for programs.
"""
