"""Host names under which the page is open, and requests that other websites send."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from multitalk.errors import InvalidInput
from multitalk.ui.origins import AllowedHosts, OriginCheck
from tests.ui.app import EXAMPLES, App


def status_of(
    hosts: AllowedHosts, method: str = "POST", scheme: str = "http", path: str = "/", **headers: str
) -> int:
    """Return the status of the answer to a request."""
    sent: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})

    async def send(message: Any) -> None:
        sent.append(message)

    encoded = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "scheme": scheme, "path": path, "headers": encoded}
    asyncio.run(OriginCheck(app, hosts)(scope, None, send))  # type: ignore[arg-type]
    return int(sent[0]["status"])


EVERY, LOCAL = AllowedHosts(), AllowedHosts(())


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1:7860", "[::1]:7860", "127.1.2.3", "LOCALHOST:1", "a.localhost"]
)
def test_local_names_are_open_everywhere(host):
    for hosts in (EVERY, LOCAL, AllowedHosts(("example.com",))):
        assert status_of(hosts, "GET", host=host) == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7860", "10.0.0.1", "0.0.0.0", "localhost.evil.example", "", "[x"]
)
def test_a_page_on_localhost_has_no_other_names(host):
    assert status_of(LOCAL, "GET", host=host) == 403
    assert status_of(LOCAL, host=host, origin=f"http://{host}") == 403


@pytest.mark.parametrize(
    "host", ["pod-7860.proxy.runpod.net", "203.0.113.5:7860", "[2001:db8::1]:7860", "anything"]
)
def test_a_page_beyond_localhost_has_all_names(host):
    assert status_of(EVERY, "GET", host=host) == 200
    assert status_of(EVERY, host=host) == 200


def test_a_page_with_allowed_hosts_has_those():
    hosts = AllowedHosts(("example.com", "*.proxy.runpod.net", "203.0.113.5"))
    names = ["example.com", "example.com:80", "EXAMPLE.com.", "pod-7860.proxy.runpod.net", "203.0.113.5:7860"]
    assert [status_of(hosts, "GET", host=name) for name in names] == [200] * 5
    others = [
        "www.example.com",
        "proxy.runpod.net",
        "evilproxy.runpod.net",
        "203.0.113.6",
        "example.com.evil.example",
    ]
    assert [status_of(hosts, "GET", host=name) for name in others] == [403] * 5


@pytest.mark.parametrize(
    ("text", "address", "names"),
    [
        ("", "127.0.0.1", ()),
        ("", "localhost", ()),
        ("", "[::1]", ()),
        ("", "127.0.0.2", ()),
        ("", "0.0.0.0", None),
        ("", "::", None),
        ("", "192.0.2.1", None),
        ("*", "127.0.0.1", ("*", "127.0.0.1")),
        (
            "Example.com, *.example.org,[2001:db8::1]",
            "[::]",
            ("example.com", "*.example.org", "2001:db8::1", "::"),
        ),
    ],
)
def test_the_names_depend_on_the_address_and_the_variable(monkeypatch, text, address, names):
    monkeypatch.setenv("ALLOWED_HOSTS", text)
    assert AllowedHosts.from_environment(address) == AllowedHosts(names)


@pytest.mark.parametrize("text", ["https://example.com", "a b", "example.com:7860", "*example.com", "/"])
def test_other_text_is_no_name(monkeypatch, text):
    monkeypatch.setenv("ALLOWED_HOSTS", text)
    with pytest.raises(InvalidInput, match="ALLOWED_HOSTS must be host names"):
        AllowedHosts.from_environment("0.0.0.0")


HOST = "203.0.113.5:7860"


@pytest.mark.parametrize(
    "headers",
    [
        {},  # a program
        {"origin": f"http://{HOST}"},
        {"origin": f"http://{HOST}", "sec_fetch_site": "same-origin"},
        {
            "origin": "https://page.example",
            "sec_fetch_site": "same-origin",
        },  # behind a proxy that changes the host
        {"sec_fetch_site": "none"},
    ],
)
def test_the_page_itself_and_programs_may_post(headers):
    assert status_of(EVERY, host=HOST, **headers) == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://203.0.113.5:8000"},
        {"origin": "http://203.0.113.5"},
        {"origin": "null"},
        {"origin": "http://[x"},
        {"origin": f"http://{HOST}", "sec_fetch_site": "cross-site"},
        {"origin": "http://localhost:3000", "sec_fetch_site": "same-site"},
        {"sec_fetch_site": "cross-site"},
        {"origin": "http://evil.example", "x_forwarded_host": "evil.example"},
    ],
)
def test_other_websites_may_not_post(headers):
    assert status_of(EVERY, host=HOST, **headers) == 403
    if "origin" in headers:
        assert status_of(EVERY, "GET", host=HOST, **headers) == 403, "nor read"


def test_the_pages_own_scripts_load_under_every_address():
    """The browser names the page's origin for them, and the page then says what to set."""
    headers = {"host": HOST, "origin": "http://page.example"}
    assert status_of(EVERY, "GET", path="/assets/index.js", **headers) == 200
    assert status_of(EVERY, "GET", path="/config", **headers) == 403
    assert status_of(EVERY, "POST", path="/assets/index.js", **headers) == 403


def test_links_and_pictures_of_other_websites_work():
    assert status_of(EVERY, "GET", host=HOST, sec_fetch_site="cross-site") == 200


def test_default_ports_may_be_left_out():
    assert status_of(EVERY, scheme="https", host="page.example:443", origin="https://page.example") == 200
    # a proxy ends the encryption
    assert status_of(EVERY, scheme="http", host="page.example", origin="https://page.example") == 200


def test_an_allowed_host_is_an_allowed_website():
    hosts = AllowedHosts(("page.example",))
    assert status_of(hosts, host="localhost:7860", origin="http://page.example") == 200
    assert status_of(AllowedHosts(("*",)), host="localhost:7860", origin="http://page.example") == 403


@pytest.mark.slow
def test_another_website_cannot_upload(app: App, browser):
    """A real browser: the other website is the same server under its other name."""
    page = browser.new_page()
    page.goto(app.url.replace("127.0.0.1", "localhost") + "/robots.txt")
    script = """async (url) => {
        const form = new FormData();
        form.append("files", new Blob(["x".repeat(1000)]), "a.png");
        const answer = await fetch(url + "/gradio_api/upload", {method: "POST", body: form, mode: "no-cors"});
        return answer.status || answer.type;
    }"""
    with page.expect_response(lambda response: response.url.endswith("/upload")) as response:
        page.evaluate(script, app.url)
    assert response.value.status == 403
    with page.expect_response(lambda response: response.url.endswith("/upload")) as response:
        page.evaluate(script, app.url.replace("127.0.0.1", "localhost"))
    assert response.value.status == 200
    page.close()


@pytest.mark.slow
def test_a_refusal_says_what_to_do(app: App):
    answer = app.get("/config", headers={"Host": "evil.example"})
    assert answer.status_code == 403
    assert "evil.example" in answer.json()["detail"]
    assert "ALLOWED_HOSTS" in answer.json()["detail"]
    with (EXAMPLES / "one_person.png").open("rb") as file:
        files = {"files": ("me.png", file)}
        answer = app.post("/gradio_api/upload", files=files, headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403
    assert "ALLOWED_HOSTS=evil.example" in answer.json()["detail"]
