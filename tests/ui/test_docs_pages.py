"""The documents that the page links to, as a browser gets them."""

from __future__ import annotations

import re
from urllib.parse import urldefrag, urljoin

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from multitalk.ui.docs_route import document_link, document_route

BASE = "/multitalk/project/"
LINK = re.compile(r'(?:href|src)="([^"]*)"')


@pytest.fixture
def client() -> TestClient:
    return TestClient(Starlette(routes=[document_route()]))


def test_every_link_leads_to_a_document_and_its_heading(client: TestClient) -> None:
    waiting, seen = [BASE + "README.md", BASE + "docs/PAGE.md"], {}
    while waiting:
        url = waiting.pop()
        answer = client.get(url)
        assert answer.status_code == 200, url
        seen[url] = answer.text if url.endswith(".md") else ""
        for link in LINK.findall(seen[url]):
            target = urldefrag(urljoin(url, link)).url
            if "://" not in target and target not in (*seen, *waiting):
                waiting.append(target)
    assert len(seen) > 15
    for url, html in seen.items():
        for link in LINK.findall(html):
            target, anchor = urldefrag(urljoin(url, link))
            if anchor and target in seen:
                assert f'id="{anchor}"' in seen[target], link


def test_documents_are_pages_with_tables(client: TestClient) -> None:
    answer = client.get(BASE + "docs/PAGE.md")
    assert answer.headers["content-type"].startswith("text/html")
    assert '<table tabindex="0">' in answer.text
    assert document_link("docs/PAGE.md", "About") == (
        f'<a href="{BASE[1:]}docs/PAGE.md" target="_blank" rel="noopener">About</a>'
    )


@pytest.mark.parametrize(
    "path", ["pyproject.toml", "docs/../pyproject.toml", "docs", "docs/none.md", "/etc/passwd"]
)
def test_other_files_are_not_sent(client: TestClient, path: str) -> None:
    assert client.get(BASE + path).status_code == 404
    assert document_link(path, "Other") == ""
