"""The words of Gradio's components, in place of Gradio's own.

The page is in English, so every language of Gradio gets the same words: a browser in another language would
otherwise show a mixture.
"""

from __future__ import annotations

import gradio as gr

LANGUAGES = "ar ca ckb de en es et eu fa fi fr he hi id ja ko lt nb nl pl pt pt-BR ro ru sv ta th tr uk ur uz"
LANGUAGES += " zh-CN zh-TW"
NO_MICROPHONE = (
    "The browser cannot use the microphone. Allow it in the browser, and open the page under https or on "
    "localhost."
)
NO_CAMERA = NO_MICROPHONE.replace("microphone", "camera")
# A key with its path takes precedence over the nested one of Gradio.
WORDS = {
    "upload_text.drop_image": "Drop an image",
    "upload_text.drop_audio": "Drop audio",
    "upload_text.drop_file": "Drop a video",  # of all fields: assets/names.js adds what each is for
    "upload_text.click_to_upload": "or click to choose a file",
    "upload_text.paste_clipboard": "Paste an image from the clipboard",
    "image.drop_to_upload": "Drop an image or click to choose a file",
    "image.image": "Image",
    "image.allow_webcam_access": "Allow access to the camera",
    "image.no_webcam_support": NO_CAMERA,
    "image.remove_image": "Remove the image",
    "audio.drop_to_upload": "Drop audio or click to choose a file",
    "audio.audio": "Audio",
    "audio.allow_recording_access": NO_MICROPHONE,
    "audio.no_device_support": NO_MICROPHONE,
    "audio.no_microphone": "No microphone found",
    "audio.recording_error": "The recording could not be started. Check the microphone.",
    "audio.record": "Record",
    "audio.stop": "Stop",
    "audio.pause": "Pause",
    "audio.play": "Play",
    "audio.resume": "Resume",
    "audio.waiting": "Waiting",
    "common.or": "or",
    "common.clear": "Clear",
    "common.remove": "Remove",
    "common.download": "Download",
    "common.undo": "Undo",
    "common.upload": "Upload",
    "common.webcam": "Camera",
    "common.error": "Error",
    "common.loading": "Loading",
    "common.progress": "Progress",
    "common.no_devices": "No devices found",
    "file.uploading": "Uploading …",
}


def gradio_words() -> gr.I18n:
    """Return the words for ``launch``."""
    return gr.I18n(**dict.fromkeys(LANGUAGES.split(), WORDS))
