"""Text to a talking video, with the pipeline and on the command line: engine, voices, and times of turns."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from multitalk import GenerationRequest, MultiTalkPipeline
from multitalk.bake.bake import bake
from multitalk.cli.main import main
from multitalk.media.sound_reading import read_sound
from tests.small_checkpoint import make_small_checkpoint
from tests.speech.measure import silences

pytestmark = pytest.mark.slow

FAST = {"size": (64, 64), "steps": 1, "text_guidance": 1.0, "audio_guidance": 1.0, "frames_per_clip": 21}
FAST |= {"motion_frames": 5}


@pytest.fixture
def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8))


@pytest.mark.usefixtures("no_network")
def test_the_pipeline_keeps_kokoro_loaded(baked: Path, picture, tmp_path: Path) -> None:
    pipeline = MultiTalkPipeline.from_pretrained(baked, device="cpu", dtype=torch.float32)
    engine = pipeline.speech_engine
    assert not engine.is_loaded  # jobs without speech do not load it
    script = "(s1) Hi! (s2) Ciao!"
    speech = {"text": script, "language": {"person2": "i"}, "voices": {"person1": "af_heart+af_bella"}}
    request = GenerationRequest(image=picture, speech=speech, **FAST)
    result = pipeline.generate(request, tmp_path / "out.mp4")
    assert result.speech is not None
    assert (result.speech.engine, result.speech.voices) == (
        "Kokoro",
        {"person1": "af_heart+af_bella", "person2": "am_adam"},
    )
    assert [turn.person for turn in result.speech.turns] == ["person1", "person2"]
    assert result.speech.turns[-1].end == pytest.approx(result.seconds, abs=0.05)
    assert result.timings["speech"] > 0
    model = engine._model
    assert model is not None
    pipeline.generate(request, tmp_path / "again.mp4")
    assert pipeline.speech_engine is engine
    assert engine._model is model
    heard = read_sound(tmp_path / "out.mp4")
    assert not heard.is_silent()


def test_say_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bake(make_small_checkpoint(tmp_path / "published"), tmp_path / "baked", precision="float32")
    Image.new("RGB", (90, 60), "gray").save(tmp_path / "two.png")
    settings = [text for name, value in FAST.items() for text in ("--set", f"{name}={json.dumps(value)}")]
    argv = ["generate", "--image", str(tmp_path / "two.png"), "--say", "(s1) Hello there. (s2) Good morning!"]
    argv += ["-o", str(tmp_path / "out.mp4"), "--weights", str(tmp_path / "baked"), *settings, "--quiet"]
    assert main([*argv, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    speech = result["speech"]
    assert (speech["engine"], speech["voices"]) == ("espeak-ng", {"person1": "f2", "person2": "m3"})
    first, second = speech["turns"]
    assert (first["text"], second["text"]) == ("Hello there.", "Good morning!")
    assert [word["text"] for word in second["words"]] == ["Good", "morning!"]
    assert second["start"] - first["end"] == pytest.approx(0.3, abs=0.01)

    with av.open(str(tmp_path / "out.mp4")) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert float(video.frames / video.average_rate) == pytest.approx(result["seconds"], abs=0.01)
        assert float(audio.duration * audio.time_base) == pytest.approx(second["end"], abs=0.06)
    heard = read_sound(tmp_path / "out.mp4")
    (pause,) = silences(heard.mono(), heard.rate, shortest=0.2)
    assert pause == pytest.approx((first["end"], second["start"]), abs=0.06)

    assert main(argv) == 0
    assert capsys.readouterr().out.endswith("spoken by espeak-ng\n")
    assert main([*argv[:3], *argv[5:], "--voice", "f3"]) == 2
    assert "Add --say TEXT" in capsys.readouterr().err
