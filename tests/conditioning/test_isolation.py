"""The voice alone for the audio encoder: the separator, when it is used, and what stays as it was."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from multitalk import GenerationRequest, MultiTalkPipeline
from multitalk.bake.bake import bake
from multitalk.bake.catalogue import SEPARATOR_WEIGHTS as PUBLISHED
from multitalk.conditioning import isolation
from multitalk.conditioning.isolation import ISOLATED, NO_VOICE, isolate_voices
from multitalk.conditioning.voice_separator import VoiceSeparator
from multitalk.errors import Cancelled, InvalidInput, WeightsError
from multitalk.media.sound import Sound
from multitalk.request.build import build_request
from multitalk.weights.folders import SEPARATOR_FOLDER, SEPARATOR_WEIGHTS
from tests.media.sound_files import tone
from tests.small_demucs import make_small_demucs

CPU = torch.device("cpu")
PICTURE = np.full((64, 96, 3), 128, np.uint8)
SHORT: dict[str, Any] = {"size": (64, 96), "steps": 1, "frames_per_clip": 13, "motion_frames": 5}


def never() -> None:
    """Nothing is cancelled."""


def request(**fields: Any) -> GenerationRequest:
    from PIL import Image

    return build_request({"image": Image.fromarray(PICTURE), "audio": (tone(0.6), 16000), **SHORT, **fields})


@pytest.fixture(scope="module")
def separated(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A baked folder with a separator, from published files."""
    root = tmp_path_factory.mktemp("with-demucs")
    for path in published.iterdir():
        (root / path.name).symlink_to(path)
    make_small_demucs(root / PUBLISHED)
    target = tmp_path_factory.mktemp("baked") / "weights"
    manifest = bake(root, target, precision="float32", models=["multitalk"])
    name = f"{SEPARATOR_FOLDER}/{SEPARATOR_WEIGHTS}"
    assert manifest.files[name].size == (root / PUBLISHED).stat().st_size
    assert manifest.sources[SEPARATOR_FOLDER][0]["file"] == PUBLISHED
    return target


@pytest.fixture(scope="module")
def separator(separated: Path) -> VoiceSeparator:
    found = VoiceSeparator(separated)
    assert found.is_available
    return found


@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (22050, 2), (48000, 6), (44100, 2)])
def test_a_voice_is_as_long_as_its_audio(separator: VoiceSeparator, rate: int, channels: int) -> None:
    samples = np.repeat(tone(1.37, rate), channels, 1)
    voice = separator.isolate(Sound(samples, rate), CPU, never)
    assert (voice.rate, voice.samples.shape) == (rate, (len(samples), 1))
    assert np.isfinite(voice.samples).all()
    assert np.abs(voice.samples).max() > 0
    again = separator.isolate(Sound(samples, rate), CPU, never)
    assert np.array_equal(voice.samples, again.samples), "nothing is random"


def test_long_audio_is_separated_in_spans(separator: VoiceSeparator, monkeypatch) -> None:
    sound = Sound(tone(5.0, 44100), 44100)
    whole = separator.isolate(sound, CPU, never).samples
    monkeypatch.setattr("multitalk.conditioning.voice_separator.SPAN", 1.5)
    monkeypatch.setattr("multitalk.conditioning.voice_separator.MARGIN", 1.5)  # the offset of a segment
    spans = separator.isolate(sound, CPU, never).samples
    assert spans.shape == whole.shape
    assert np.corrcoef(spans[:, 0], whole[:, 0])[0, 1] > 0.9


def test_separation_can_be_cancelled(separator: VoiceSeparator) -> None:
    def cancel() -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        separator.isolate(Sound(tone(3.0), 16000), CPU, cancel)


def test_a_damaged_file(separated: Path, tmp_path: Path) -> None:
    shutil.copytree(separated / SEPARATOR_FOLDER, tmp_path / SEPARATOR_FOLDER)
    path = tmp_path / SEPARATOR_FOLDER / SEPARATOR_WEIGHTS
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(WeightsError, match="is damaged"):
        VoiceSeparator(tmp_path).isolate(Sound(tone(1.0), 16000), CPU, never)


class Answers(VoiceSeparator):
    """Returns a fixed share of the audio as the voice."""

    def __init__(self, voice: np.ndarray) -> None:
        self.voice = voice

    is_available = True  # type: ignore[assignment]

    def isolate(self, sound: Sound, *_: Any) -> Sound:
        return Sound(self.voice, sound.rate)


@pytest.mark.parametrize(
    ("setting", "voice", "music", "is_used", "found"),
    [
        ("auto", 1.0, 0.05, False, []),  # 26 dB below
        ("auto", 1.0, 0.2, True, [ISOLATED]),
        (True, 1.0, 0.05, True, []),
        (True, 0.005, 1.0, False, [NO_VOICE]),
        ("auto", 0.005, 1.0, False, [NO_VOICE]),
        (False, 1.0, 1.0, False, []),
    ],
)
def test_when_a_voice_is_isolated(setting, voice, music, is_used, found) -> None:
    alone = voice * tone(0.6)
    audio = Sound(alone + music * tone(0.6)[::-1], 16000)
    job = request(isolate_voice=setting)
    heard, sentences = isolate_voices(job, [audio, None], Answers(alone), CPU, never)
    assert sentences == found
    assert heard[1] is None
    assert np.array_equal(heard[0].samples, alone if is_used else audio.samples)  # type: ignore[union-attr]


def test_text_to_speech_is_a_voice_already(separator: VoiceSeparator) -> None:
    job = build_request({"image": request().image, "speech": "Hello", "isolate_voice": True, **SHORT})
    spoken: list[Sound | None] = [Sound(tone(1.0), 16000)]
    assert isolate_voices(job, spoken, separator, CPU, never) == (spoken, [])


def test_a_job_hears_the_voice_and_plays_the_audio(separated: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(isolation, "SILENT", 0.0)  # of random weights
    pipeline = MultiTalkPipeline.from_pretrained(separated, device="cpu", dtype=torch.float32)
    stages: list[str] = []
    jobs = {
        setting: list(pipeline.stream(request(isolate_voice=setting), lambda at: stages.append(at.stage)))
        for setting in (False, True, "auto")
    }
    assert stages.count("isolate") == 2
    without, alone, automatic = jobs.values()
    for clips in (alone, automatic):
        assert len(clips) == len(without)
        assert not torch.equal(clips[0].latents, without[0].latents), "the model heard something else"
        assert np.array_equal(clips[0].sound.samples, without[0].sound.samples)
    result = pipeline.generate(request(), tmp_path / "out.mp4")
    assert ISOLATED in result.warnings
    assert not pipeline.generate(request(isolate_voice=True), tmp_path / "on.mp4").warnings


def test_weights_without_a_separator(baked: Path) -> None:
    pipeline = MultiTalkPipeline.from_pretrained(baked, device="cpu", dtype=torch.float32)
    with pytest.raises(InvalidInput, match="these weights have no voice separator"):
        next(pipeline.stream(request(isolate_voice=True)))
    automatic, off = (list(pipeline.stream(request(isolate_voice=setting))) for setting in ("auto", False))
    assert torch.equal(automatic[0].latents, off[0].latents)


@pytest.mark.parametrize("value", [1, "on", None, "AUTO"])
def test_other_values_are_refused(value: Any) -> None:
    with pytest.raises(InvalidInput, match='isolate_voice must be "auto", true or false'):
        request(isolate_voice=value)
