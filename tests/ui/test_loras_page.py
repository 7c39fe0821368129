"""LoRAs on the page: those of the weights and uploaded ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from playwright.sync_api import Page
from safetensors.torch import load_file, save_file

from multitalk.bake.bake import bake
from multitalk.request.presets import PRESETS
from tests.small_checkpoint import make_small_checkpoint
from tests.ui.api_client import connected
from tests.ui.app import ARTIFACTS, EXAMPLES, App
from tests.ui.screens import PHONE, SCREENS
from tests.ui.steps import be_quick, bring, facts, make, wait_ready
from tests.ui.test_drops import TYPES, drop

pytestmark = pytest.mark.slow
FUSIONX = str(PRESETS["fusionx"].lora)
TYPES[".safetensors"] = ""


@pytest.fixture(scope="module")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights with the LoRAs of two presets."""
    folder = tmp_path_factory.mktemp("small")
    raw = make_small_checkpoint(folder / "raw")
    bake(raw, folder / "baked", precision="float32", default_preset="demo")
    return folder / "baked"


@pytest.fixture(scope="module")
def lora_app(small_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with App(tmp_path_factory.mktemp("loras"), MULTITALK_WEIGHTS=str(small_weights)) as app:
        yield app.wait_open().wait_loaded()


@pytest.fixture(scope="module")
def files(small_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a LoRA that fits, and others."""
    folder = tmp_path_factory.mktemp("files")
    lora = load_file(small_weights / "loras" / FUSIONX)
    save_file(lora, folder / "own.safetensors")
    save_file(lora | {"blocks.0.self_attn.q.dora_scale": torch.ones(3)}, folder / "dora.safetensors")
    save_file({"blocks.0.self_attn.q.diff": torch.ones(7, 7)}, folder / "other.safetensors")
    return folder


@pytest.fixture
def page(open_page, lora_app) -> Page:
    return open_page(lora_app.url, **SCREENS[PHONE])


def open_loras(page: Page) -> None:
    page.locator(".loras summary").click()
    page.locator(".lora-choose").wait_for()


def upload(page: Page, file: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload a LoRA").click()
    chooser.value.set_files(file)


def rows(page: Page) -> dict[str, str]:
    """Return the strength of each LoRA in the list."""
    names = page.locator(".lora-name").all_inner_texts()
    return dict(
        zip(names, page.locator(".lora-strength").evaluate_all("a => a.map(b => b.value)"), strict=True)
    )


def test_loras_of_the_weights_and_own_ones_make_a_video(page, lora_app, files, small_weights):
    open_loras(page)
    assert not page.locator(".lora-error").is_visible()
    own, of_weights = "own", FUSIONX.removesuffix(".safetensors")
    page.get_by_label("LoRA of the weights").select_option(FUSIONX)
    page.locator(".loras").get_by_role("button", name="Add").click()
    upload(page, files / "own.safetensors")
    page.locator(".lora-status").get_by_text("own added.").wait_for()
    page.get_by_role("spinbutton", name=f"Strength of {of_weights}").fill("0.4")
    page.get_by_role("spinbutton", name=f"Strength of {of_weights}").blur()
    page.get_by_role("spinbutton", name=f"Strength of {own}").fill("7")
    page.get_by_role("spinbutton", name=f"Strength of {own}").blur()
    assert rows(page) == {of_weights: "0.4", own: "2"}, "the strength is 0 to 2"
    page.locator(".loras").screenshot(path=ARTIFACTS / f"loras-{page.viewport_size['width']}.png")
    page.wait_for_timeout(500)  # until the page has kept the form
    page.reload()
    wait_ready(page)
    page.locator(".loras summary").get_by_text("(2)").wait_for()
    open_loras(page)
    assert rows(page) == {of_weights: "0.4", own: "2"}, "a reload keeps them"
    bring(page, "one_person.png", "one_person.wav")
    be_quick(page, **{"Maximum seconds": "1"})
    settings = facts(lora_app.outputs / make(page))["settings"]
    assert settings["lora"] == [{"path": FUSIONX, "scale": 0.4}, {"path": "own.safetensors", "scale": 2.0}]
    page.get_by_role("button", name=f"Remove {of_weights}").click()
    page.get_by_role("button", name=f"Remove {own}").click()
    assert page.locator(".lora-choose").evaluate("node => node === document.activeElement")
    page.locator(".job-again").click()
    page.locator("#restored").get_by_text("Add these LoRAs again: own.safetensors (strength 2).").wait_for()
    assert rows(page) == {of_weights: "0.4"}


def test_a_lora_that_cannot_be_used_is_refused_where_it_is_added(page, files, tmp_path):
    open_loras(page)
    error = page.locator(".lora-error")
    upload(page, files / "dora.safetensors")
    error.get_by_text("LoRA file dora.safetensors is not supported: it is a DoRA").wait_for()
    upload(page, files / "other.safetensors")
    error.get_by_text("LoRA file other.safetensors is for another model").wait_for()
    (tmp_path / "broken.safetensors").write_bytes(b"no tensors")
    upload(page, tmp_path / "broken.safetensors")
    error.get_by_text("LoRA file broken.safetensors").wait_for()
    upload(page, EXAMPLES / "one_person.png")
    error.get_by_text("LoRA: one_person.png is not a LoRA. Use a .safetensors file.").wait_for()
    assert rows(page) == {}
    upload(page, files / "own.safetensors")
    page.locator(".lora-status").get_by_text("own added.").wait_for()
    assert not error.is_visible()


def test_the_keyboard_is_enough(page, lora_app):
    summary = page.locator(".loras summary")
    summary.focus()
    page.keyboard.press("Enter")
    page.locator(".lora-select").wait_for()
    page.keyboard.press("Tab")
    assert page.locator(".lora-select").evaluate("node => node === document.activeElement")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    strength = page.locator(".lora-strength")
    strength.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    assert strength.input_value() == "0.9"
    assert page.locator(".lora-remove").evaluate("node => node === document.activeElement")
    page.keyboard.press("Enter")
    assert rows(page) == {}
    assert page.locator(".lora-choose").evaluate("node => node === document.activeElement")


def test_a_dropped_lora_goes_to_the_list(page, files):
    drop(page, files / "own.safetensors")
    page.locator(".loras[open] .lora-status").get_by_text("own added.").wait_for()
    assert rows(page) == {"own": "1"}


def test_weights_without_loras_offer_the_upload(open_page):
    page = open_page()
    assert page.locator(".loras[open]").count() == 0, "folded"
    open_loras(page)
    assert not page.locator(".lora-select").is_visible()
    assert page.locator(".lora-choose").is_visible()


def test_programs_upload_loras(lora_app, files):
    arguments = {
        "image": handle_file(str(EXAMPLES / "one_person.png")),
        "audio1": handle_file(str(EXAMPLES / "one_person.wav")),
        "settings": {
            "steps": 1,
            "size": [64, 64],
            "frames_per_clip": 5,
            "motion_frames": 1,
            "max_seconds": 0.2,
        },
    }
    named = [{"name": "own.safetensors", "scale": 0.5}, FUSIONX]
    own, other = ([handle_file(str(files / f"{name}.safetensors"))] for name in ("own", "other"))
    with connected(lora_app) as client:
        _, result = client.predict(**arguments, loras=own, api_name="/generate")
        assert result["settings"]["lora"] == [{"name": "own.safetensors", "scale": 1.0}]
        arguments["settings"] |= {"lora": named}
        _, result = client.predict(**arguments, loras=own, api_name="/generate")
        assert result["settings"]["lora"] == [named[0], {"name": FUSIONX, "scale": 1.0}]
        with pytest.raises(AppError, match="is for another model"):
            client.predict(**arguments, loras=other, api_name="/generate")


def test_a_file_of_another_browser_is_not_checked(lora_app):
    with lora_app.client() as client:
        for path in ("/etc/passwd", 3, None, ["x"]):
            answer = client.post("/multitalk/loras", json={"path": path}).json()
            assert "belongs to another browser" in answer["refusal"]
        for body in (b"", b"[]", b"3", b"{}", b"\xff"):
            assert client.post("/multitalk/loras", content=body).status_code == 400
