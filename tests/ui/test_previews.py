"""Previews and the fast decoder on the page, with small weights that have the small decoder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest

from multitalk.bake import catalogue
from multitalk.bake.bake import bake
from multitalk.errors import InvalidInput
from multitalk.ui.estimates import Estimator
from multitalk.ui.gallery import Gallery
from multitalk.ui.job import Job
from multitalk.ui.layout import Supported, build_layout
from multitalk.ui.video_settings import SettingsEvents
from multitalk.ui.worker import ModelWorker
from multitalk.weights.folders import EMBEDDED_FOLDER
from tests.ui.app import App
from tests.ui.requests import small_request
from tests.ui.steps import SLOW, be_quick, bring, facts, wait_phase


@pytest.fixture(scope="module")
def small(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights with the small decoder, and the preset that the page has for the demo weights."""
    target = tmp_path_factory.mktemp("previews") / "weights"
    bake(published, target, precision="float32", default_preset="demo")
    return target


@pytest.fixture(scope="module")
def app(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with App(tmp_path_factory.mktemp("app"), MULTITALK_WEIGHTS=str(small)) as app:
        yield app.wait_open().wait_loaded()


def loaded(weights: Path, folder: Path) -> ModelWorker:
    worker = ModelWorker(str(weights), Gallery(folder / "out", 10**9), Estimator(folder / "runs.json"))
    worker.load()
    return worker


def test_a_job_has_the_latest_preview_of_its_clip(small: Path, tmp_path: Path) -> None:
    seen: list[object] = []

    class Watched(Job):
        def __setattr__(self, name: str, value: object) -> None:
            if name == "preview":
                seen.append(value)
            super().__setattr__(name, value)

    fields = {"preview": True, "size": (64, 64), "steps": 4, "frames_per_clip": 9, "motion_frames": 5}
    request = small_request().model_copy(update=fields)
    job = Watched(request, "title", "owner", tmp_path / "job")
    job.folder.mkdir()
    loaded(small, tmp_path).generate(job)
    first, second = ([*((clip, step) for step in (1, 2, 3)), None] for clip in (0, 1))
    assert seen == [None, *first, *second]
    assert job.preview_file(1, 3).is_file()


def test_weights_without_the_decoder_say_so_before_the_queue(published: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(published, tmp_path / "published"))
    shutil.rmtree(source / catalogue.AUTOENCODERS.folder)
    bake(source, tmp_path / "weights", precision="float32")
    worker = loaded(tmp_path / "weights", tmp_path)
    worker.check_model(small_request())
    with pytest.raises(InvalidInput, match="isolate_voice is not supported: these weights have no"):
        worker.check_model(small_request().model_copy(update={"isolate_voice": True}))
    assert not worker.can_isolate()
    with pytest.raises(InvalidInput, match="vae 'fast' cannot be used"):
        worker.check_model(small_request().model_copy(update={"vae": "fast"}))


def test_weights_without_the_decoder_hide_its_fields(small: Path, tmp_path: Path) -> None:
    gallery, estimator = Gallery(tmp_path / "out", 10**9), Estimator(tmp_path / "runs.json")
    for folder, expected in ((small, True), (EMBEDDED_FOLDER, False)):
        start = SimpleNamespace(folder=folder)
        worker = ModelWorker(None, gallery, estimator, start)  # type: ignore[arg-type]
        assert not worker.can_isolate()
        assert worker.has_fast_decoder() is expected, "known before the weights are loaded"
        with gr.Blocks():
            layout = build_layout([], Supported(fast_decoder=worker.has_fast_decoder()))
        assert (layout.more["decoder_row"].visible is True) is expected
        events = SettingsEvents(layout, SimpleNamespace(worker=worker))  # type: ignore[arg-type]
        for vae, preview in (("full", False), ("fast", False), ("full", True)):  # kept from other weights
            shown = events.show_decoder(vae, preview)["visible"]
            assert shown == (True if expected or vae == "fast" or preview else "hidden")


@pytest.mark.slow
def test_previews_are_shown_until_the_video(open_page, app) -> None:
    page = open_page()
    bring(page, "one_person.png", "one_person.wav")
    be_quick(page, **{"Maximum seconds": "1.5"}, **SLOW)
    page.get_by_label("Previews").check()
    page.locator("#vae input").click()
    page.get_by_role("option", name="Fast: a small decoder, less detail").click()
    page.evaluate(
        """() => {
          window.previews = [];
          document.addEventListener('loadedmetadata', ({target: player}) => {
            if (player.matches('.job-preview')) window.previews.push({
              source: player.src, seconds: player.duration, width: player.getBoundingClientRect().width,
              screen: document.querySelector('.job-screen').clientWidth,
              note: document.querySelector('.job-note').textContent,
              playing: document.querySelector('.job').classList.contains('playing')});
          }, true);
        }"""
    )
    page.locator("#make").click()
    page.wait_for_function("window.previews.some((preview) => !preview.playing)")
    page.wait_for_function(
        "window.previews.some(({playing, source}) => playing && source.includes('/previews/1-'))",
        timeout=120_000,
    )
    previews = page.evaluate("window.previews")
    first = next(preview for preview in previews if not preview["playing"])
    assert "/previews/0-" in first["source"]
    assert first["width"] == pytest.approx(first["screen"], abs=1), "as large as the video will be"
    assert first["note"] == "Preview of clip 1: a rough picture."
    assert first["seconds"] == pytest.approx(6 / 6.25, abs=0.1)
    corner = next(each for each in previews if each["playing"] and "/previews/1-" in each["source"])
    assert corner["width"] < 0.3 * corner["screen"], "in a corner of the player"
    assert wait_phase(page, "done", "failed") == "done"
    assert not page.locator(".job-preview").is_visible()
    settings = facts(app.outputs / page.get_attribute(".job", "data-result"))["settings"]
    assert settings["vae"] == "fast"
