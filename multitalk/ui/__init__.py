"""The Gradio page.

``server`` starts and stops the page. ``page`` combines ``layout`` (the components,
with ``parts`` and the scripts in ``assets/``) and ``events`` (their handlers). Behind them:

* ``fields``: form -> request, and error -> place on the page;
* ``preset_fields``: the sampling settings that a preset fills in;
* ``kept_form``, ``drops``: values that the browser has kept, and files dropped on the page;
* ``jobs``, ``job_store``, ``worker``: the queue, its jobs on disk, and the model thread;
* ``sharing``, ``job_owner``, ``result_notes``: who sees and deletes which results;
* ``gallery``, ``restore``, ``file_settings``: finished videos, and from a video's metadata back to the form;
* ``estimates``, ``faces``, ``access``: run times, face detection, access to files;
* ``routes``, ``gallery_routes``: HTTP routes for the scripts; ``api``: the same functions for programs.
"""
