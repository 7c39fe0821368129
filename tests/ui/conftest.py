"""One app for all tests of the page, one browser per file, and new browser contexts for each test."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect, sync_playwright

from multitalk.weights.folders import EMBEDDED_FOLDER
from multitalk.weights.manifest import MANIFEST
from tests.ui.app import CHROMIUM, CHROMIUM_ARGS, EXAMPLES, App
from tests.ui.steps import wait_ready

Open = Callable[..., Page]
PACKAGE = Path(__file__).with_name("node")
PATIENCE_SECONDS = 150  # for what a page waits for; on a busy machine, playwright's 30 are too few
expect.set_options(timeout=1000 * PATIENCE_SECONDS)  # 5 seconds otherwise
JOB = re.compile(r"http.*/multitalk/jobs/[^/?]+")


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded weights, or random ones in a checkout without them."""
    if (EMBEDDED_FOLDER / MANIFEST).is_file():
        return EMBEDDED_FOLDER
    from multitalk.bake.bake import bake
    from tests.small_checkpoint import make_small_checkpoint

    folder = tmp_path_factory.mktemp("weights")
    bake(make_small_checkpoint(folder / "raw"), folder / "baked", precision="float32", default_preset="demo")
    return folder / "baked"


@pytest.fixture(scope="session")
def app(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The app with its models loaded."""
    with App(tmp_path_factory.mktemp("app"), MULTITALK_WEIGHTS=str(weights)) as app:
        yield app.wait_open().wait_loaded()


@pytest.fixture(scope="session")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages of ``node/`` in their locked versions, and the examples."""
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(PACKAGE / name, folder)
    install = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run(install, cwd=folder, check=True, capture_output=True, timeout=300)
    (folder / "examples").symlink_to(EXAMPLES)
    return folder


def _patient(new: Callable[..., Any]) -> Callable[..., Any]:
    """A browser's method that gives what it opens ``PATIENCE_SECONDS``."""

    def patient(**options: Any) -> Any:
        opened = new(**options)
        opened.set_default_timeout(1000 * PATIENCE_SECONDS)
        return opened

    return patient


# playwright's event loop would conflict with later tests that run their own
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        browser.new_context = _patient(browser.new_context)  # type: ignore[method-assign]
        browser.new_page = _patient(browser.new_page)  # type: ignore[method-assign]
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, app: App) -> Iterator[Open]:
    """Open the page in a new browser context; at the end, no console may contain errors."""
    contexts: list[BrowserContext] = []
    jobs: dict[str, BrowserContext] = {}  # by URL
    problems: list[str] = []

    def open_one(url: str | None = None, **options: object) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 1000}, **options})  # type: ignore[arg-type]
        contexts.append(context)

        def note(request: Request) -> None:
            if job := JOB.match(request.url):
                jobs[job[0]] = context

        context.on("request", note)
        page = context.new_page()
        page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(url or app.url)
        wait_ready(page)
        return page

    yield open_one
    # jobs of a failed test would delay the next ones
    for job, context in jobs.items():
        context.request.post(f"{job}/cancel")
    for context in contexts:
        context.close()
    assert problems == [], app.log.read_text()[-3000:]
