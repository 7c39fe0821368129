"""What a text in a job is taken for, and how it becomes bytes."""

from __future__ import annotations

import base64

import pytest

from multitalk.errors import InvalidInput
from multitalk.serverless.sources import classify_source, decode
from tests.serverless.conftest import png, wav


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("https://example.com/a.png", "url"),
        ("HTTP://example.com", "url"),
        ("data:image/png;base64,AAAA", "data"),
        ("/runpod-volume/a.png", "path"),
        ("/etc/passwd", "path"),
        ("photo.png", "path"),
        ("../photo.png", "path"),
        ("iVBORw0KGgoAAAANSUhEUg", "base64"),
        ("/9j/4AAQSkZJRgABAQ", "base64"),
        ("  iVBORw0KGgo\nAAAANSUhEUg==\n", "base64"),
    ],
)
def test_a_text_is_sorted_by_how_it_looks(text, kind):
    assert classify_source(text, "image").kind == kind


@pytest.mark.parametrize("data", [png(), wav(0.3), bytes(range(256)) * 5, b"\xff\xd8\xff\xe0" * 200])
def test_every_common_way_to_write_base64_gives_the_bytes(data):
    plain = base64.b64encode(data).decode()
    lines = "\n".join(plain[i : i + 76] for i in range(0, len(plain), 76))
    texts = [plain, plain.rstrip("="), lines, base64.urlsafe_b64encode(data).decode(), f" {plain}\r\n"]
    texts += [
        f"data:;base64,{plain}",
        f"data:image/png;name=a.png;base64,{plain}",
        f"DATA:audio/wav;Base64,{plain}",
    ]
    for text in texts:
        assert decode(classify_source(text, "image"), "image") == data


def test_a_data_uri_without_base64_is_percent_encoded():
    assert decode(classify_source("data:text/plain,a%00b%ff", "audio"), "audio") == b"a\0b\xff"


@pytest.mark.parametrize(
    "text",
    [
        "data:image/png;base64",
        "data:image/png;base64,",
        "data:,",
        "data:image/png;base64,A",
        "AAAAA",
        "ä" * 300,
    ],
)
def test_damaged_texts_are_refused(text):
    with pytest.raises(InvalidInput, match="image") as refused:
        decode(classify_source(text, "image"), "image")
    assert refused.value.field == "image"


def test_too_much_base64_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(base64, "b64decode", lambda *_a, **_k: pytest.fail("decoded"))
    with pytest.raises(InvalidInput, match="100 MB"):
        classify_source("A" * 140_000_000, "image")
