"""Creates the images and sounds of ``examples/``, with held-out faces and voices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from multitalk.media.sound import Sound
from multitalk.request.generation_request import Speech
from multitalk.speech.speak import speak

from .drawing import still
from .scenes import HELD_OUT_SEED, make_scene

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
HEIGHT = 384
ONE_PERSON, TWO_PEOPLE = HELD_OUT_SEED + 103, HELD_OUT_SEED + 205
ALONE = "Hello! Somebody drew me with a few lines of code, and now your words move my mouth."
DIALOGUE = "(s1) Good morning! Did you see the moon last night? (s2) Oh yes, it was yellow and enormous."
VOICES = {"person1": "f3", "person2": "m2"}


def write_sound(path: Path, sound: Sound) -> None:
    """Write a 16-bit file with short silence before and after the sound."""
    quiet = np.zeros((round(0.2 * sound.rate), 1), np.float32)
    soundfile.write(path, np.concatenate((quiet, sound.samples, quiet)), sound.rate, subtype="PCM_16")


def main() -> None:
    """Write all examples."""
    EXAMPLES.mkdir(exist_ok=True)
    for name, seed, people in (("one_person", ONE_PERSON, 1), ("two_people", TWO_PEOPLE, 2)):
        Image.fromarray(still(make_scene(seed, people, HEIGHT))).save(EXAMPLES / f"{name}.png", optimize=True)
    alone = speak(Speech(text=ALONE, voices=VOICES)).tracks
    write_sound(EXAMPLES / "one_person.wav", alone["person1"])
    both = speak(Speech(text=DIALOGUE, voices=VOICES)).tracks
    write_sound(EXAMPLES / "left.wav", both["person1"])
    write_sound(EXAMPLES / "right.wav", both["person2"])


if __name__ == "__main__":
    main()
