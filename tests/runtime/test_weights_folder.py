"""The order in which a weights folder is searched for."""

from __future__ import annotations

import pytest

from multitalk.errors import WeightsError
from multitalk.runtime import environment as weights_folder
from multitalk.runtime.environment import find_weights
from multitalk.weights.manifest import MANIFEST


def test_search_order(tmp_path, monkeypatch):
    folders = {}
    for name in ("image", "here", "embedded"):
        folders[name] = tmp_path / name
        folders[name].mkdir()
    monkeypatch.setattr(weights_folder, "IMAGE_FOLDER", folders["image"])
    monkeypatch.setattr(weights_folder, "LOCAL_FOLDER", folders["here"])
    monkeypatch.setattr(weights_folder, "EMBEDDED_FOLDER", folders["embedded"])
    monkeypatch.delenv("MULTITALK_WEIGHTS", raising=False)
    with pytest.raises(WeightsError, match="--weights or MULTITALK_WEIGHTS"):
        find_weights()
    for name in ("embedded", "here", "image"):  # each goes before the ones made so far
        (folders[name] / MANIFEST).write_text("{}")
        assert find_weights() == folders[name]
    monkeypatch.setenv("MULTITALK_WEIGHTS", str(tmp_path / "set"))
    assert find_weights() == tmp_path / "set"
    assert find_weights(tmp_path / "named") == tmp_path / "named"
