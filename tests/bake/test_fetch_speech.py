"""Voices for weights without them: fetched alone, and found by every front end."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from multitalk.bake import catalogue
from multitalk.bake.downloads import Retries
from multitalk.bake.speech import fetch_speech
from multitalk.cli.weights_checks import check_speech
from multitalk.errors import InvalidInput, WeightsError
from multitalk.speech.espeak import EspeakEngine
from multitalk.speech.kokoro import KokoroEngine
from multitalk.speech.speak import choose_engine
from multitalk.ui.speech_choices import NATURAL_VOICES, voice_hint
from multitalk.weights.folders import EMBEDDED_FOLDER, SPACY_MODEL
from tests.hub import Hub
from tests.small_kokoro import VOICES, make_small_kokoro

pytestmark = pytest.mark.slow


@pytest.fixture
def speech_hub(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A hub with a small Kokoro that works."""
    folder = make_small_kokoro(tmp_path / "raw")
    files = [path for path in folder.rglob("*") if path.is_file()]
    hub.repositories[catalogue.KOKORO.name] = {path.relative_to(folder).as_posix(): path for path in files}
    wheel = tmp_path / "raw" / catalogue.SPACY_MODEL
    with zipfile.ZipFile(wheel, "w") as archive:
        for path in (tmp_path / "raw" / SPACY_MODEL).rglob("*"):
            archive.write(path, path.relative_to(tmp_path / "raw"))
    hub.web[catalogue.SPACY_MODEL] = wheel
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return hub


def test_voices_are_fetched_alone_and_used_by_the_demo(
    speech_hub: Hub, empty_lock: Path, tmp_path: Path
) -> None:
    before = choose_engine(EMBEDDED_FOLDER)
    assert isinstance(before, EspeakEngine)
    assert voice_hint(before) == NATURAL_VOICES
    assert "fetch --speech" in check_speech(EMBEDDED_FOLDER)[0].text

    folder = fetch_speech(lock_file=empty_lock, retries=Retries(pause=0.01))
    assert folder == tmp_path / "data" / "multitalk" / "voices"
    assert [path.name for path in folder.iterdir()] == ["kokoro"]
    listed = {path for _, path, _ in speech_hub.requests if path.startswith("/api/models/")}
    assert listed == {f"/api/models/{catalogue.KOKORO.name}/revision/main"}, "no other repository"

    engine = choose_engine(EMBEDDED_FOLDER)
    assert isinstance(engine, KokoroEngine)
    assert engine.voices() == tuple(sorted(VOICES))
    assert voice_hint(engine) is None
    assert [finding.state for finding in check_speech(EMBEDDED_FOLDER)] == ["ok"]
    assert engine.say("I read a book.", "af_heart").sound.seconds > 0
    assert isinstance(choose_engine(None), EspeakEngine), "without a folder, none is looked for"

    again = fetch_speech(lock_file=empty_lock, retries=Retries(pause=0.01))
    assert [path.name for path in again.iterdir()] == ["kokoro"]


def test_damaged_voices_replace_nothing(speech_hub: Hub, empty_lock: Path, tmp_path: Path) -> None:
    folder = fetch_speech(tmp_path / "voices", empty_lock, retries=Retries(pause=0.01))
    damaged = tmp_path / "damaged.pt"
    damaged.write_bytes(b"no voice")
    speech_hub.repositories[catalogue.KOKORO.name]["voices/af_heart.pt"] = damaged
    with pytest.raises(WeightsError, match=r"af_heart\.pt"):
        fetch_speech(folder, empty_lock, retries=Retries(pause=0.01))
    engine = KokoroEngine(folder / "kokoro", "cpu")
    assert engine.say("I read a book.", "af_heart").sound.seconds > 0


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match=r"--to: .*file cannot be written"):
        fetch_speech(tmp_path / "file")


@pytest.fixture
def empty_lock(tmp_path: Path) -> Path:
    from multitalk.bake.lock import Lock

    path = tmp_path / "lock.json"
    Lock().write(path)
    return path
