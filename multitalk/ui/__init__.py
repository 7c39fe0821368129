"""The Gradio page.

``server`` starts and stops the page. ``page`` combines ``layout`` (the components,
with ``parts`` and the scripts in ``assets/``) and ``events`` (their handlers). Behind them:

* ``fields``, ``form_errors``: form -> request, and error -> sentence and place on the page;
* ``preset_fields``: the sampling settings that a preset fills in;
* ``kept_form``, ``drops``: values that the browser has kept, and files dropped on the page;
* ``job``, ``jobs``, ``queue_limits``, ``job_store``: the queue, and its jobs on disk; ``worker``: the model
  thread;
* ``voices``, ``voice_events``: audio and text to speech;
* ``sharing``, ``job_owner``, ``result_notes``: who sees and deletes which results;
* ``gallery``, ``result``, ``restore``, ``file_settings``, ``automatic``: finished videos, and from their
  metadata back to the form; ``file_origin``: what the page says about a file's origin;
* ``estimates``, ``job_clock``, ``long_jobs``: run times, a running job's time, questions before long ones;
* ``demo_notice``, ``docs_route``, ``footer``: what the demo weights can do, and links to the documents;
* ``loras``, ``lora_route``: the form's LoRAs, and the check of uploaded ones;
* ``faces``, ``box_editor``: face detection, and the editor of the speakers' boxes;
* ``access``, ``uploaded_files``: the browsers' files; ``uploads``: their limits;
* ``gradio_words``: the words of Gradio's components;
* ``login_page``, ``login_delay``, ``origins``: logging in, wrong passwords, requests of other websites;
* ``routes``, ``gallery_routes``: HTTP routes for the scripts; ``api``: the same functions for programs.
"""
