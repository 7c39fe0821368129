"""Create the README's images with the real page: ``python -m tests.ui.pictures``.

In ``docs/images``, ``page.png`` shows the page with a finished video, ``phone.png`` the same on a phone in
dark mode, and ``talking.webp`` the start of the video.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import av
from PIL import Image
from playwright.sync_api import sync_playwright

from tests.ui.app import CHROMIUM, CHROMIUM_ARGS, ROOT, App
from tests.ui.screens import PHONE, SCREENS
from tests.ui.steps import example, fill, wait_phase, wait_ready

SECONDS = 3.0
ANIMATION_SIDE = 320
EVERY = 2  # 12.5 frames per second


def main() -> None:
    """Run an example and save the images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--example", default="Two in turns")
    parser.add_argument("--seconds", type=float, default=0.0, help="length of the video; 0: of the audio")
    parser.add_argument("--weights", help="a baked weights folder")
    parser.add_argument("--images", type=Path, default=ROOT / "docs" / "images")
    options = parser.parse_args()
    options.images.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        app = App(Path(name), **({"MULTITALK_WEIGHTS": options.weights} if options.weights else {}))
        try:
            app.wait_open().wait_loaded()
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
            page = browser.new_page(viewport={"width": 1280, "height": 1120})
            page.goto(app.url)
            wait_ready(page)
            example(page, options.example)
            if options.seconds:
                page.locator("#more > button").click()
                fill(page, **{"Maximum seconds": str(options.seconds)})
                page.locator("#more > button").click()
            page.locator("#make").click()
            page.wait_for_selector(".job:is([data-phase=waiting], [data-phase=running])")
            if wait_phase(page, "done", "failed", seconds=900) != "done":
                raise SystemExit(page.inner_text(".job"))
            page.evaluate("""async () => {
              scrollTo(0, 0);
              const player = document.querySelector('.job-player');
              player.pause();
              player.currentTime = 0.6;
              await new Promise((resolve) => { player.onseeked = resolve; });
            }""")
            page.wait_for_timeout(3000)  # the player shows its loading animation first
            page.screenshot(path=options.images / "page.png")
            animate(
                app.outputs / str(page.get_attribute(".job", "data-result")), options.images / "talking.webp"
            )
            page.set_viewport_size(SCREENS[PHONE]["viewport"])
            page.emulate_media(color_scheme="dark")
            page.locator(".job").evaluate("node => node.scrollIntoView({ block: 'start' })")
            page.wait_for_timeout(1000)
            page.screenshot(path=options.images / "phone.png")
            browser.close()
        finally:
            app.stop()
    for name in ("page.png", "phone.png"):
        shrink(options.images / name)


def animate(video: Path, target: Path) -> None:
    """Convert the first seconds of a video to an animated image."""
    pictures = []
    with av.open(str(video)) as file:
        for number, frame in enumerate(file.decode(video=0)):
            if number / 25 >= SECONDS:
                break
            if number % EVERY == 0:
                picture = frame.to_image()
                picture.thumbnail((ANIMATION_SIDE, ANIMATION_SIDE))
                pictures.append(picture)
    pictures[0].save(
        target, save_all=True, append_images=pictures[1:], duration=40 * EVERY, loop=0, quality=70, method=6
    )


def shrink(path: Path) -> None:
    """Convert a screenshot to a palette, which is a third of the size."""
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main()
