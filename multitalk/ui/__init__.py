"""The Gradio page.

``server`` starts and stops the page. ``page`` combines ``layout`` (the components,
with ``parts`` and the scripts in ``assets/``) and ``events`` (their handlers). Behind them:

* ``fields``: form -> request, and error -> place on the page;
* ``preset_fields``: the sampling settings that a preset fills in;
* ``kept_form``, ``drops``: values that the browser has kept, and files dropped on the page;
* ``jobs``, ``job_store``, ``worker``: the queue, its jobs on disk, and the model thread;
* ``sharing``, ``job_owner``, ``result_notes``: who sees and deletes which results;
* ``gallery``, ``restore``, ``file_settings``: finished videos, and from a video's metadata back to the form;
* ``estimates``, ``job_clock``, ``long_jobs``: run times, a running job's time, questions before long ones;
* ``demo_notice``, ``docs_route``, ``footer``: what the demo weights can do, and links to the documents;
* ``faces``: face detection;
* ``access``, ``uploaded_files``: the browsers' files; ``uploads``: their limits;
* ``gradio_words``: the words of Gradio's components;
* ``login_page``, ``login_delay``, ``origins``: logging in, wrong passwords, requests of other websites;
* ``routes``, ``gallery_routes``: HTTP routes for the scripts; ``api``: the same functions for programs.
"""
