"""The page behind proxies that change the address: the host, the path, or both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.ui.app import CHROMIUM, CHROMIUM_ARGS, App
from tests.ui.proxy import Proxy
from tests.ui.steps import be_quick, bring, example, make, wait_ready, wait_state

pytestmark = pytest.mark.slow
NAME = "talk.example"  # not a local name: the browser does not say where a request comes from without https


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser in which `NAME` is this machine."""
    with sync_playwright() as playwright:
        rules = f"--host-resolver-rules=MAP {NAME} 127.0.0.1"
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*CHROMIUM_ARGS, rules])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, app: App, name: str, path: str = "") -> Iterator[tuple[Page, list[str]]]:
    """Open the page behind a proxy that sends no Host header of its own; note other hosts and refusals."""
    proxy = Proxy(app.port, path)
    address = f"http://{name}:{urlsplit(proxy.url).port}{path}/"
    problems: list[str] = []
    page = browser.new_page()
    page.on(
        "request",
        lambda r: problems.append(r.url) if not r.url.startswith((address, "data:", "blob:")) else None,
    )
    page.on("response", lambda r: problems.append(f"{r.status} {r.url}") if r.status >= 400 else None)
    try:
        page.goto(address)
        page.wait_for_selector("#make")
        yield page, problems
    finally:
        page.close()
        proxy.stop()


def test_without_the_host_everything_works(browser, app):
    """Over https and on localhost the browser says that the requests come from the page."""
    with opened(browser, app, "talk.localhost") as (page, problems):
        wait_ready(page)
        bring(page, "one_person.png", "one_person.wav")
        assert page.evaluate("document.querySelector('#picture img').naturalWidth") > 0
        be_quick(page, **{"Maximum seconds": "0.4"})
        make(page)
        page.wait_for_function("document.querySelector('.job-player').duration > 0.3")
        page.locator(".card").first.wait_for()
        example(page, "Two in turns")
        page.locator(".person-box:visible").first.wait_for()
        assert page.evaluate("document.querySelector('.people-picture').naturalWidth") > 0
        assert problems == []


@pytest.fixture(scope="module")
def allowing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An app that may be opened under `NAME` and a path; without models."""
    folder = tmp_path_factory.mktemp("allowing")
    variables = {"ALLOWED_HOSTS": NAME, "GRADIO_ROOT_PATH": "/talk"}
    with App(folder, MULTITALK_WEIGHTS=str(folder / "none"), **variables) as app:
        yield app.wait_open()


@pytest.mark.parametrize("name", [NAME, "127.0.0.1"])
def test_with_a_root_path(browser, allowing, name):
    with opened(browser, allowing, name, "/talk") as (page, problems):
        wait_state(page, "failed")
        assert "Videos cannot be generated" in page.inner_text(".status")
        bring(page, "one_person.png", "one_person.wav")
        assert page.evaluate("document.querySelector('#picture img').naturalWidth") > 0
        assert problems == []


def test_an_address_that_is_not_allowed_says_what_to_set(browser, app):
    with opened(browser, app, NAME) as (page, problems):
        page.get_by_text(f"start the server with ALLOWED_HOSTS={NAME}").wait_for()
        assert all(problem.startswith(f"403 http://{NAME}:") for problem in problems)


def test_programs_get_complete_addresses(app, allowing):
    assert app.get("/config").json()["root"] == app.url
    headers = {"Host": NAME, "X-Forwarded-Proto": "https"}
    assert allowing.get("/config", headers=headers).json()["root"] == f"https://{NAME}/talk"
