"""Access to files, closed routes, downloads of URLs, and the login."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import gradio
import httpx
import pytest
from gradio import processing_utils

from multitalk.patches.gradio import disable_downloads
from tests.ui.app import EXAMPLES, App
from tests.ui.screens import SCREENS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An app with a login and without models."""
    folder = tmp_path_factory.mktemp("guarded")
    with App(folder, MULTITALK_WEIGHTS=str(folder / "none"), UI_USERNAME="anna", UI_PASSWORD="s3cret") as app:
        yield app.wait_open().wait_loaded(username="anna", password="s3cret")


def upload(client: httpx.Client) -> str:
    with (EXAMPLES / "one_person.png").open("rb") as file:
        return client.post("/gradio_api/upload", files={"files": ("me.png", file)}).json()[0]


def get_as_written(client: httpx.Client, target: str) -> httpx.Response:
    """Request a path as written: the client would normalize its `..`."""
    return client.get("/", extensions={"target": target.encode()})


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "%2Fetc%2Fpasswd",
        "../../../../etc/passwd",
        "/tmp/../etc/passwd",
        "/tmp/gradio/../../etc/passwd",
        "..%2F..%2F..%2Fetc%2Fpasswd",
        "/proc/self/environ",
        "app.py",
        str(EXAMPLES / "one_person.png"),
        "http://127.0.0.1:1/",
        "https://example.com/a.png",
        "file:///etc/passwd",
    ],
)
@pytest.mark.parametrize("door", ["/gradio_api/file=", "/gradio_api/file/", "/file="])
def test_files_of_the_server_are_refused(app, door, path):
    with app.client() as client:
        answer = get_as_written(client, f"{door}{path}")
    assert answer.status_code in (403, 404)
    assert "root:" not in answer.text


def test_only_the_uploading_browser_can_download_a_file(app):
    with app.client() as first, app.client() as second:
        first.get("/")
        second.get("/")
        path = upload(first)
        assert first.get(f"/gradio_api/file={path}").status_code == 200
        refused = [f"/gradio_api/file={path}", f"/gradio_api/file={path}/", f"/gradio_api/file=/tmp/..{path}"]
        folder, name = path.rsplit("/", 1)
        refused.append(f"/gradio_api/file={folder}/x/../{name}")
        assert [get_as_written(second, url).status_code for url in refused] == [403] * 4
        assert app.get(f"/gradio_api/file={path}").status_code == 403, (
            "a client without a cookie has no access"
        )
        upload(second)  # the same content, uploaded by this browser
        assert second.get(f"/gradio_api/file={path}").status_code == 200


def test_only_the_uploading_browser_can_use_a_file(app):
    with app.client() as first, app.client() as second:
        path = upload(first)
        assert second.get("/config").status_code == 200
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        answers = {}
        for client in (first, second):
            call = client.post("/gradio_api/call/detect_people", json={"data": [file]}).json()["event_id"]
            answers[client] = client.get(f"/gradio_api/call/detect_people/{call}").text
        assert '"faces"' in answers[first]
        assert "event: error" in answers[second]
        assert '"faces"' not in answers[second]


@pytest.mark.parametrize(
    "name", ["..%2Flog.txt", "../log.txt", ".runs.json", ".posters", "x.mp4", "%00.mp4", "a/b.mp4"]
)
def test_results_are_served_only_by_name(app, name):
    with app.client() as client:
        for folder in ("results", "posters"):
            assert get_as_written(client, f"/multitalk/{folder}/{name}").status_code == 404


CLOSED = ["proxy=https://example.com", "vibe-code", "monitoring", "deep_link", "runs", "dev/reload"]
CLOSED += ["component_server", "process_recording"]


@pytest.mark.parametrize("path", CLOSED)
def test_unused_routes_are_closed(app, path):
    assert app.get(f"/gradio_api/{path}").status_code == 404


@pytest.fixture(scope="module")
def rooted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An app with a root path, which it removes if a proxy has not; without models."""
    folder = tmp_path_factory.mktemp("rooted")
    with App(folder, MULTITALK_WEIGHTS=str(folder / "none"), GRADIO_ROOT_PATH="/talk") as app:
        yield app.wait_open().wait_loaded()


@pytest.mark.parametrize("prefix", ["", "/talk", "/talk/talk"])
def test_routes_are_also_closed_under_a_root_path(rooted, prefix):
    with rooted.client() as first, rooted.client() as second:
        path = upload(first)
        for door in ("file=", "file/"):
            assert second.get(f"{prefix}/gradio_api/{door}{path}").status_code == 403
        assert [second.get(f"{prefix}/gradio_api/{path}").status_code for path in CLOSED] == [404] * len(
            CLOSED
        )
        if prefix != "/talk/talk":
            assert first.get(f"{prefix}/gradio_api/file={path}").status_code == 200, (
                "the browser's file is available"
            )


@pytest.mark.parametrize("foreign", ['prefs={"a":1}', "x=a b", "f[1]=2", "bad", "=", "a=1;;b=é"])
def test_cookies_of_other_programs_are_ignored(app, foreign):
    with app.client() as client:
        client.get("/")
        cookie = f"multitalk_browser={client.cookies['multitalk_browser']}"
        client.cookies.clear()
        client.headers = httpx.Headers({b"Cookie": f"{foreign}; {cookie}".encode("latin-1")})
        path = upload(client)
        answer = client.get(f"/gradio_api/file={path}")
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers, "the browser already has its cookie"


def test_requests_without_a_login_are_refused(guarded):
    paths = [
        *("/config", "/multitalk/status", "/multitalk/jobs/x", "/multitalk/results/x.mp4"),
        *(f"/gradio_api/{name}" for name in ("info", "file=/etc/passwd", "queue/status", "app_id")),
        *(f"/gradio_api/{name}" for name in ("heartbeat/x", "openapi.json", "stream/a/b/1/playlist.m3u8")),
    ]
    assert {path: guarded.get(path).status_code for path in paths} == dict.fromkeys(paths, 401)
    posts = [
        "/multitalk/jobs/x/cancel",
        *(f"/gradio_api/{name}" for name in ("upload", "run/predict", "queue/join", "call/generate")),
        *(f"/gradio_api/{name}" for name in ("cancel", "reset")),
    ]
    assert {path: guarded.post(path).status_code for path in posts} == dict.fromkeys(posts, 401)
    forged = {"Cookie": "access-token-x=y; access-token-unsecure-x=y"}
    assert guarded.get("/multitalk/status", headers=forged).status_code == 401


def test_login(guarded):
    with guarded.client() as client:
        wrong = client.post("/login", data={"username": "anna", "password": "guess"})
        assert wrong.status_code == 400
        assert client.get("/multitalk/status").status_code == 401
        assert client.post("/login", data={"username": "anna", "password": "s3cret"}).status_code == 200
        assert client.get("/multitalk/status").status_code == 200
        assert client.get("/config").status_code == 200


@pytest.mark.parametrize("screen", SCREENS)
def test_the_login_page_opens_the_page(guarded, browser, screen):
    page = browser.new_page(**SCREENS[screen])
    page.goto(guarded.url)
    log_in(page, "guess")
    page.get_by_text("The username or the password is wrong").wait_for()
    log_in(page, "s3cret")
    page.wait_for_selector("#make")
    assert page.request.get(f"{guarded.url}/multitalk/status").status == 200
    cookies = page.context.cookies()
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.get_by_role("link", name="Log out").click()
    page.get_by_role("heading", name="MultiTalk").wait_for()
    page.get_by_label("Password").wait_for()
    assert page.request.get(f"{guarded.url}/multitalk/status").status == 401
    page.context.add_cookies(cookies)
    assert page.request.get(f"{guarded.url}/multitalk/status").status == 401, "the server forgot the login"
    page.close()


def log_in(page, password: str) -> None:
    page.get_by_label("Username").fill("anna")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


def test_without_a_login_only_the_login_page_is_open(guarded):
    page = guarded.get("/").text
    assert "Log in" in page
    assert "gradio" not in page.lower()
    assert {guarded.get(path).status_code for path in ("/assets/index.js", "/theme.css", "/static/x")} == {
        401
    }


def test_listening_without_a_login_logs_a_warning(tmp_path: Path):
    app = App(tmp_path, MULTITALK_WEIGHTS=str(tmp_path), GRADIO_SERVER_NAME="127.0.0.2").wait_listening(
        "127.0.0.2"
    )
    app.stop()
    assert "without a login" in app.log.read_text()


class Recorder(http.server.BaseHTTPRequestHandler):
    """Records requests and answers each with an image."""

    paths: list[str] = []

    def do_GET(self) -> None:
        self.paths.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write((EXAMPLES / "one_person.png").read_bytes())


@pytest.fixture
def host() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Recorder.paths.clear()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def call(client: httpx.Client, name: str, *data: object) -> str:
    """Call a function of the API; return the answer."""
    event = client.post(f"/gradio_api/call/{name}", json={"data": data}).json()["event_id"]
    return client.get(f"/gradio_api/call/{name}/{event}").text


# Gradio would download the last two: it refuses only private addresses
@pytest.mark.parametrize(
    "address", ["{host}/face.png", "https://example.com/big.gz", "https://huggingface.co/face.png"]
)
def test_urls_are_not_downloaded(app, host, address):
    file = {"path": address.format(host=host), "meta": {"_type": "gradio.FileData"}}
    with app.client() as client:
        client.get("/")
        answers = [call(client, "detect_people", file), call(client, "generate", file, *[None] * 11)]
    for answer in answers:
        assert "event: error" in answer
        assert "Upload the file" in answer
    assert Recorder.paths == []


def test_gradios_download_functions_are_disabled(host):
    disable_downloads("Upload the file.")
    for fetch in (processing_utils.save_url_to_cache, processing_utils.ssrf_protected_download):
        with pytest.raises(gradio.Error, match="Upload the file"):
            fetch(f"{host}/face.png", "/nowhere")
    assert Recorder.paths == []


def test_a_client_without_cookies_cannot_use_its_uploads(app):
    """Every job has an owner, so that the limit per owner applies."""
    with (EXAMPLES / "one_person.png").open("rb") as picture:
        path = app.post("/gradio_api/upload", files={"files": ("me.png", picture)}).json()[0]
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    with app.client() as client:
        assert "event: error" in call(client, "detect_people", file)
