"""Paths: only files under the allowed folders, whatever links and dots say."""

from __future__ import annotations

import os

import pytest

from multitalk.errors import InvalidInput
from multitalk.serverless.sources import read_path


@pytest.fixture
def roots(tmp_path):
    allowed, outside = tmp_path / "allowed", tmp_path / "outside"
    allowed.mkdir()
    outside.mkdir()
    (allowed / "face.png").write_bytes(b"face")
    (allowed / "empty").touch()
    (outside / "secret").write_bytes(b"secret")
    (allowed / "link-in").symlink_to(allowed / "face.png")
    (allowed / "link-out").symlink_to(outside / "secret")
    (allowed / "folder-out").symlink_to(outside)
    (allowed / "link-chain").symlink_to(allowed / "link-out")
    (allowed / "loop").symlink_to(allowed / "loop")
    (tmp_path / "allowed-not").mkdir()
    (tmp_path / "allowed-not" / "x").write_bytes(b"x")
    os.mkfifo(allowed / "pipe")
    return allowed


@pytest.mark.parametrize("name", ["face.png", "link-in", "./face.png", "sub/../face.png"])
def test_files_and_links_inside_are_read(roots, name):
    (roots / "sub").mkdir()
    assert (
        read_path(str(roots / name) if ".." not in name else f"{roots}/{name}", [roots], "image") == b"face"
    )


@pytest.mark.parametrize(
    "name",
    [
        "../outside/secret",
        "link-out",
        "folder-out/secret",
        "link-chain",
        "../allowed-not/x",
        "../../../../etc/passwd",
    ],
)
def test_what_leads_outside_is_refused_alike_whether_it_exists_or_not(roots, name):
    for suffix in ("", "-that-is-not-there"):
        with pytest.raises(InvalidInput, match="outside") as refused:
            read_path(f"{roots}/{'../outside/' if suffix else ''}{name}{suffix}", [roots], "image")
        assert str(roots.parent) not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("absent.png", "does not exist"),
        (".", "must be a file, not a folder"),
        ("pipe", "must be a file, not a named pipe"),
        ("empty", "empty"),
        ("loop", "does not exist"),
    ],
)
def test_what_is_no_readable_file_is_refused(roots, name, reason):
    with pytest.raises(InvalidInput, match=reason):
        read_path(f"{roots}/{name}", [roots], "image")


def test_a_relative_path_is_refused(roots, monkeypatch):
    monkeypatch.chdir(roots)
    with pytest.raises(InvalidInput, match="relative"):
        read_path("face.png", [roots], "image")


def test_a_root_may_itself_be_a_link(roots, tmp_path):
    (tmp_path / "volume").symlink_to(roots)
    assert read_path(f"{tmp_path}/volume/face.png", [tmp_path / "volume"], "image") == b"face"


def test_a_link_that_takes_the_files_place_is_not_followed(roots, monkeypatch):
    """Between the check and the reading, the file is exchanged for a link to another place."""
    real_open = os.open

    def exchange_and_open(path, flags, *rest):
        target = roots / "face.png"
        target.unlink()
        target.symlink_to(roots.parent / "outside" / "secret")
        return real_open(path, flags, *rest)

    monkeypatch.setattr(os, "open", exchange_and_open)
    with pytest.raises(InvalidInput):
        read_path(f"{roots}/face.png", [roots], "image")


def test_files_over_100_mb_are_refused_unread(roots):
    with open(roots / "big", "wb") as file:
        file.truncate(100_000_001)
    with pytest.raises(InvalidInput, match="100 MB"):
        read_path(f"{roots}/big", [roots], "image")
