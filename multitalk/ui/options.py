"""Labels and choices of the form."""

from __future__ import annotations

from ..marks.label import CORNERS
from ..request.model_kinds import MODELS
from ..request.presets import Preset

# By field of the request: the form's labels, which errors begin with.
LABELS = {
    "image": "Image",
    "boxes": "Boxes",
    "prompt": "Prompt",
    "negative_prompt": "Negative prompt",
    "continue_from": "Video to continue",
    "join": "Start with that video",
    "video": "Video",
    "dub": "Picture",
    "length": "Length",
    "source_volume": "Original sound",
    "scenes": "Start a clip at each cut",
    "preset": "Preset",
    "model": "Model",
    "size": "Resolution",
    "seed": "Seed",
    "steps": "Steps",
    "shift": "Shift",
    "text_guidance": "Text guidance",
    "audio_guidance": "Audio guidance",
    "audio_scale": "Audio scale",
    "max_seconds": "Maximum seconds",
    "frames_per_clip": "Frames per clip",
    "motion_frames": "Motion frames",
    "teacache": "Skip steps threshold",
    "cache": "Skip steps",
    "color_correction": "Color correction",
    "apg": "APG",
    "isolate_voice": "Isolate the voice",
    "vae": "Decoder",
    "preview": "Previews",
    "lora": "LoRA",
    "label": "Visible label",
    "threshold": "Threshold",
    "mark": "Mark as AI-generated",
}
ISOLATION: dict[str, bool | str] = {"Automatic": "auto", "Always": True, "Never": False}
ONE, TOGETHER, IN_TURNS, SCRIPT = "one", "together", "in_order", "script"
MODES = [
    ("One person", ONE),
    ("Two in turns", IN_TURNS),
    ("Two at once", TOGETHER),
    ("Dialogue script", SCRIPT),
]
SOUND, TEXT = "sound", "text"
SOURCES = [("Audio", SOUND), ("Text to speech", TEXT)]
AUTOMATIC = ""
CUSTOM_SIZE = "custom"
SIZES = [
    ("Automatic", AUTOMATIC),
    ("480p, aspect ratio of the image", "480p"),
    ("720p, aspect ratio of the image", "720p"),
    ("480p, reference aspect ratios", "480p-bucket"),
    ("720p, reference aspect ratios", "720p-bucket"),
    ("Custom height and width", CUSTOM_SIZE),
]
NO_CACHE, TEACACHE, TAYLORSEER = "", "teacache", "taylorseer"
CACHES = [
    ("No: compute every step", NO_CACHE),
    ("TeaCache: skip similar steps", TEACACHE),
    ("First block: skip most of a similar step", "first_block"),
    ("MagCache: skip steps by measured magnitudes", "magcache"),
    ("TaylorSeer: extrapolate two of three steps", TAYLORSEER),
]
DECODERS = [
    ("Full: the most detail", "full"),
    ("Fast: a small decoder, less detail", "fast"),
]
PRESET_TITLES = {
    "quality": "Best quality",
    "balanced": "Balanced",
    "fast": "Fast",
    "fusionx": "FusionX",
    "lightx2v": "Lightx2v",
    "demo": "Demo",
}
MODEL_CHOICES = [("Automatic", AUTOMATIC), *((kind.title, kind.name) for kind in MODELS.values())]
DUBS = [
    ("Free: body and camera imitate the video", "free"),
    ("Exact: the picture follows the video frame by frame", "exact"),
]
LENGTHS = [("As long as the voices", "audio"), ("As long as the video", "video")]
COLOR_CORRECTIONS = [
    ("Automatic", AUTOMATIC),
    ("Off", "0"),
    ("25 %", "0.25"),
    ("50 %", "0.5"),
    ("75 %", "0.75"),
    ("100 %", "1"),
]
LABEL_CORNERS = [(corner.replace("-", " ").capitalize(), corner) for corner in CORNERS]
SCRIPT_SAMPLE = (
    "(s1) Hello! How are you today?\n(s2) Very well, thank you. And you?\n(s1) I feel like talking."
)


def preset_choices(presets: list[Preset], times: dict[str, str]) -> list[tuple[str, str]]:
    """Return the choices of presets, each with its description and estimated time.

    Args:
        presets: Presets that the weights support; empty while they load.
        times: Estimated time by preset, if known.
    """
    if not presets:
        return [("Default of the weights (more choices when the models are loaded)", AUTOMATIC)]
    choices = []
    for preset in presets:
        title = PRESET_TITLES.get(preset.name, preset.name)
        time = f" · {times[preset.name]}" if preset.name in times else ""
        choices.append((f"{title}{time} — {preset.description}", preset.name))
    return choices
