"""Creates the images, sounds and the video of ``examples/``, with held-out faces and voices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from multitalk.conditioning.audio import to_model_rate
from multitalk.media.sound import Sound
from multitalk.media.video import VideoWriter
from multitalk.request.parts import Speech
from multitalk.speech.speak import speak

from .clips import make_motions
from .drawing import draw_frames, still
from .scenes import HELD_OUT_SEED, make_scene
from .speech import make_track

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
HEIGHT = 384
ONE_PERSON, TWO_PEOPLE, TALKING = HELD_OUT_SEED + 103, HELD_OUT_SEED + 205, HELD_OUT_SEED + 302
ALONE = "Hello! Somebody drew me with a few lines of code, and now your words move my mouth."
DIALOGUE = "(s1) Good morning! Did you see the moon last night? (s2) Oh yes, it was yellow and enormous."
VOICES = {"person1": "f3", "person2": "m2"}
IN_VIDEO, VIDEO_VOICE, CRF = (
    "I am a drawing in a video. Give me another voice, and I say something else.",
    "m5",
    24,
)


def padded(sound: Sound) -> Sound:
    """Add a short silence before and after a sound."""
    quiet = np.zeros((round(0.2 * sound.rate), 1), np.float32)
    return Sound(np.concatenate((quiet, sound.samples, quiet)), sound.rate)


def write_sound(path: Path, sound: Sound) -> None:
    """Write a 16-bit file with a short silence before and after the sound."""
    soundfile.write(path, padded(sound).samples, sound.rate, subtype="PCM_16")


def write_video(path: Path) -> None:
    """Write a drawn video of a person who speaks."""
    sound = padded(speak(Speech(text=IN_VIDEO, voices={"person1": VIDEO_VOICE})).tracks["person1"])
    track = make_track(to_model_rate(sound.mono(), sound.rate))
    motions = make_motions(np.random.default_rng(TALKING), [track])
    with VideoWriter(path, HEIGHT, HEIGHT, sound=sound, crf=CRF) as writer:
        writer.write(draw_frames(make_scene(TALKING, 1, HEIGHT), motions))


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
    write_video(EXAMPLES / "talking.mp4")


if __name__ == "__main__":
    main()
