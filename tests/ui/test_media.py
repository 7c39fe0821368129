"""Files as people have them, on the page: images that browsers do not show, damaged and long audio."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from gradio_client import handle_file
from PIL import Image
from playwright.sync_api import Page

from multitalk.ui.shown_pictures import is_shown_as_in_video
from tests.media.heic_files import heic
from tests.media.sound_files import encoded, tone
from tests.ui.api_client import connected
from tests.ui.app import EXAMPLES
from tests.ui.steps import be_quick, bring, choose, error_at, fill, make

pytestmark = pytest.mark.slow

LEFT_RED = np.zeros((64, 96, 3), np.uint8)
LEFT_RED[:, :48] = (220, 20, 20)
LEFT_RED[:, 48:] = (20, 20, 220)
TURNED = Image.Exif()
TURNED[0x0112] = 6  # a quarter turn to the right

# the shown image's size, and its colors at the top and at the bottom
SHOWN = """() => {
  const image = [...document.querySelectorAll('#picture img')].find((each) => each.src.includes('file='));
  if (!image || !image.complete || !image.naturalWidth) return null;
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const context = canvas.getContext('2d');
  context.drawImage(image, 0, 0);
  const at = (x, y) => [...context.getImageData(x, y, 1, 1).data].slice(0, 3);
  return [canvas.width, canvas.height, ...at(8, 8), ...at(8, canvas.height - 8)];
}"""


def write(folder: Path, name: str) -> Path:
    """Write an image whose left half is red."""
    path = folder / name
    if path.suffix == ".heic":
        path.write_bytes(heic(LEFT_RED, quarter_turns=3))
    else:
        options = {"lossless": True} if path.suffix == ".webp" else {}
        Image.fromarray(LEFT_RED).save(path, exif=TURNED, **options)
    return path


@pytest.mark.parametrize("name", ["photo.tiff", "photo.heic", "photo.webp", "photo.png", "photo.jpg"])
def test_the_page_shows_an_image_as_the_video_does(open_page, tmp_path: Path, name: str) -> None:
    page: Page = open_page()
    page.locator("#picture input[type=file]").set_input_files(write(tmp_path, name))
    shown = page.wait_for_function(
        f"() => {{ const shown = ({SHOWN})(); return shown && shown[0] === 64 ? shown : null; }}"
    )
    width, height, *colors = shown.json_value()
    assert (width, height) == (64, 96)
    expected = [220, 20, 20, 20, 20, 220]
    assert np.abs(np.array(colors) - expected).max() <= 12


def test_boxes_of_an_image_that_browsers_do_not_show(open_page, tmp_path: Path) -> None:
    page: Page = open_page()
    choose(page, "Two at once")
    with Image.open(EXAMPLES / "two_people.png") as picture:
        picture.save(tmp_path / "two.tiff")
    page.locator("#picture input[type=file]").set_input_files(tmp_path / "two.tiff")
    page.locator(".people-picture[src]:visible").first.wait_for()
    page.get_by_text("Two faces found").wait_for()


def test_which_images_need_a_copy(tmp_path: Path) -> None:
    assert not is_shown_as_in_video(write(tmp_path, "photo.tiff"))
    assert not is_shown_as_in_video(write(tmp_path, "photo.webp"))
    assert is_shown_as_in_video(write(tmp_path, "photo.jpg"))
    assert is_shown_as_in_video(EXAMPLES / "one_person.png")


def damaged_mp3(seconds: float) -> bytes:
    content = encoded("libmp3lame", "mp3", tone(seconds, 24000), 24000)
    middle = len(content) // 3
    return content[:middle] + bytes(1500) + content[middle + 1500 :]


def test_warnings_are_shown_beside_the_result(open_page, tmp_path: Path) -> None:
    page: Page = open_page()
    bring(page, "one_person.png")
    (tmp_path / "voice.mp3").write_bytes(damaged_mp3(2.0))
    page.locator("#person1-sound input[type=file]").set_input_files(tmp_path / "voice.mp3")
    be_quick(page, **{"Maximum seconds": "1"})
    make(page)
    warnings = page.locator(".job-warnings li").all_inner_texts()
    assert len(warnings) == 1
    assert warnings[0].startswith("Audio of person 1: the file is damaged. The parts that cannot be decoded")


def test_the_api_returns_warnings(app, tmp_path: Path) -> None:
    (tmp_path / "voice.mp3").write_bytes(damaged_mp3(2.0))
    settings = {"size": [64, 64], "steps": 1, "frames_per_clip": 21, "motion_frames": 5, "max_seconds": 1}
    with connected(app) as client:
        _, result = client.predict(
            image=handle_file(str(EXAMPLES / "one_person.png")),
            audio1=handle_file(str(tmp_path / "voice.mp3")),
            settings=settings,
            api_name="/generate",
        )
    assert len(result["warnings"]) == 1
    assert "/" not in result["warnings"][0]


def test_audio_longer_than_the_limit_for_a_short_video(open_page, tmp_path: Path) -> None:
    lecture = np.zeros(1200 * 8000, np.float32)
    lecture[: 5 * 8000] = tone(5.0, 8000)[:, 0]
    soundfile.write(tmp_path / "lecture.flac", lecture, 8000)
    page: Page = open_page()
    bring(page, "one_person.png")
    page.locator("#person1-sound input[type=file]").set_input_files(tmp_path / "lecture.flac")
    page.get_by_text("is longer than 600 seconds").wait_for()
    assert "set maximum seconds" in error_at(page, "person1")
    be_quick(page, **{"Maximum seconds": "1"})
    page.locator("#error-person1 [role=alert]").wait_for(state="detached")
    fill(page, **{"Maximum seconds": "1"})
    make(page)
