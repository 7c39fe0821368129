"""What Automatic chose for a file is restored as Automatic, and the form still gives the same video."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from multitalk.conditioning.metadata import make_metadata
from multitalk.conditioning.timeline import clip_spans
from multitalk.media.source_video import read_video
from multitalk.media.video import VideoWriter
from multitalk.request.generation_request import GenerationRequest
from multitalk.request.model_kinds import choose_model
from multitalk.request.presets import PRESETS, settings_for
from multitalk.ui.automatic import automatic_values
from multitalk.ui.fields import setting_fields
from multitalk.ui.file_settings import parse_settings
from multitalk.weights.folders import AUDIO_LAYER_SETS as ALL
from tests.ui.conftest import Open
from tests.ui.steps import wait_phase
from tests.ui.test_drops import drop
from tests.ui.test_gallery import write_video

OLD = ALL[:1]
AUTOMATIC = {"model": "", "motion_frames": None, "color_correction": "", "size": ""}
VOICE = (0.3 * np.sin(np.arange(8000) / 20).astype(np.float32), 16_000)
SET = [{"model": "multitalk"}, {"model": "infinitetalk"}, {"motion_frames": 5}, {"motion_frames": 9}]
SET += [{"color_correction": value} for value in (0.0, 0.5, 1.0)] + [{"size": "720p"}]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "a.mp4"
    with VideoWriter(path, 64, 64) as writer:
        writer.write(np.zeros((30, 64, 64, 3), np.uint8))
    return path


def resolved(
    request: GenerationRequest, seconds: float, layers: tuple[str, ...], preset: str = "quality"
) -> dict[str, Any]:
    """Return the settings in the file of a job, for a video of this length."""
    kind = choose_model(request, seconds, layers)
    motion_frames = kind.motion_frames_of(request)
    frames = round(seconds * 25)
    clips = len(clip_spans(frames, frames, request.frames_per_clip, motion_frames))
    settings = settings_for(PRESETS[preset], "480p")
    return json.loads(make_metadata(request, PRESETS[preset], kind, settings, 42, clips)["comment"])


def source_of(video: Path, source: str) -> dict[str, Any]:
    fields: dict[str, Any] = {"audio": VOICE}
    if source == "image":
        return fields | {"image": Image.new("RGB", (64, 64))}
    if source == "video":
        return fields | {"video": read_video(video)}
    return fields | {"continue_from": read_video(video), "join": source == "join"}


@pytest.mark.parametrize("layers", [ALL, OLD, ALL[1:]])
@pytest.mark.parametrize("source", ["image", "video", "join", "no join"])
@pytest.mark.parametrize("seconds", [2.0, 9.0, 40.0])
def test_the_restored_form_gives_the_same_video(
    video: Path, layers: tuple[str, ...], source: str, seconds: float
) -> None:
    if source == "video" and layers == OLD:
        return  # which cannot dub
    given = source_of(video, source)
    for frames_per_clip in (21, 81):
        for chosen in ({}, *SET):
            model = chosen.get("model", "multitalk")
            if not any(name.startswith(model) for name in layers) and "model" in chosen:
                continue
            if source == "video" and model == "multitalk" and "model" in chosen:
                continue
            fields = given | {"frames_per_clip": frames_per_clip, **chosen}
            saved = resolved(GenerationRequest(**fields), seconds, layers)
            length = seconds + (1.2 if source == "join" else 0)
            parsed = parse_settings(saved)
            form = parsed | automatic_values(saved, parsed, length, layers)
            again = given | setting_fields(form | {"color_correction": str(form["color_correction"])})
            assert resolved(GenerationRequest(**again), seconds, layers) == saved


@pytest.mark.parametrize("layers", [ALL, OLD, ALL[1:]])
@pytest.mark.parametrize("seconds", [2.0, 9.0, 40.0])
def test_what_automatic_chose_is_automatic(video: Path, layers: tuple[str, ...], seconds: float) -> None:
    for source in ("image", "video") if layers != OLD else ("image",):
        saved = resolved(GenerationRequest(**source_of(video, source)), seconds, layers)
        assert automatic_values(saved, parse_settings(saved), seconds + 0.04, layers) == AUTOMATIC
    for source in ("join", "no join"):  # the size is that of the video before
        saved = resolved(GenerationRequest(**source_of(video, source)), seconds, layers)
        found = automatic_values(saved, parse_settings(saved), seconds, layers)
        assert found.keys() >= {"motion_frames", "color_correction"}
        assert "size" not in found


def test_what_the_user_chose_stays(video: Path) -> None:
    image = source_of(video, "image")
    for fields, seconds, name in (
        ({"model": "infinitetalk"}, 2.0, "model"),
        ({"model": "multitalk"}, 40.0, "model"),
        ({"motion_frames": 9}, 2.0, "motion_frames"),
        ({"color_correction": 0.0}, 9.0, "color_correction"),
        ({"color_correction": 0.35}, 9.0, "color_correction"),
        ({"size": "720p"}, 2.0, "size"),
    ):
        saved = resolved(GenerationRequest(**image | fields), seconds, ALL)
        assert name not in automatic_values(saved, parse_settings(saved), seconds, ALL)


def test_a_length_at_the_limit_keeps_the_value_of_the_file(video: Path) -> None:
    """The first clip of a stopped video, and a file of thirty seconds."""
    for seconds, name in ((81 / 25, "color_correction"), (30.0, "model")):
        saved = resolved(GenerationRequest(**source_of(video, "image")), seconds, ALL)
        assert name not in automatic_values(saved, parse_settings(saved), seconds + 0.04, ALL)


def test_nothing_is_automatic_where_it_is_unknown(video: Path) -> None:
    saved = resolved(GenerationRequest(**source_of(video, "image")), 2.0, ALL)
    assert "model" not in automatic_values(saved, parse_settings(saved), 2.0, ()), "models that load"
    older = {name: value for name, value in saved.items() if name != "model"}
    assert automatic_values(older, parse_settings(older), 2.0, ALL) == {}
    damaged = saved | {"motion_frames": 81}
    assert automatic_values(damaged, parse_settings(damaged), 2.0, ALL) == {}


@pytest.mark.slow
def test_a_dropped_video_leaves_automatic_so_that_a_video_can_be_dubbed(
    open_page: Open, video: Path, tmp_path: Path
) -> None:
    saved = resolved(GenerationRequest(**source_of(video, "image")), 2.0, ALL, "demo")
    page = open_page()
    drop(page, write_video(tmp_path / "a.mp4", frames=50, **saved))
    expect(page.locator("#restored p")).to_have_text("a.mp4: settings restored.")
    page.locator("#more > button").click()
    expect(page.locator("#field-model input")).to_have_value("Automatic")
    expect(page.locator("#field-color-correction input")).to_have_value("Automatic")
    assert page.locator("input[aria-label='Motion frames']").input_value() in ("", "0")
    page.locator("#dubbing > button").click()
    page.locator("#video-example").click()
    page.locator("#person1-sound").get_by_label("Play", exact=True).wait_for()
    page.locator("#make").click()
    assert wait_phase(page, "waiting", "running", "failed", "done") != "failed"
    assert page.locator("[id^=error-] [role=alert]").count() == 0
