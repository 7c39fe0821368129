"""Kokoro in a bake: checked, copied with spaCy's model, or left out."""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from multitalk.bake.bake import bake
from multitalk.bake.catalogue import KOKORO
from multitalk.bake.kokoro import find_kokoro
from multitalk.bake.published import PublishedWeights
from multitalk.cli import doctor
from multitalk.errors import WeightsError
from multitalk.speech.speak import choose_engine
from multitalk.weights.folders import SPACY_MODEL, FileRecord, hash_file
from multitalk.weights.manifest import Manifest
from multitalk.weights.store import WeightsFolder
from multitalk.weights.verify import verify
from tests.small_kokoro import VOICES, make_small_kokoro

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kokoro")
    make_small_kokoro(root)
    return root


@pytest.fixture
def damaged(speech: Path, tmp_path: Path) -> Path:
    """A copy made of symbolic links."""
    root = tmp_path / "damaged"
    shutil.copytree(speech, root, copy_function=lambda source, target: Path(target).symlink_to(source))
    return root


def put(path: Path, content: object) -> None:
    path.unlink()
    torch.save(content, path)


def test_a_bake_copies_all_files(published, speech, tmp_path, capsys):
    root = tmp_path / "all"
    root.mkdir()
    for path in (*published.iterdir(), *speech.iterdir()):
        (root / path.name).symlink_to(path)
    target = tmp_path / "baked"
    manifest = bake(root, target, precision="float32")
    files = {name for name in manifest.files if name.startswith("kokoro/")}
    assert {"kokoro/config.json", "kokoro/kokoro-v1_0.pth"} <= files
    assert {f"kokoro/voices/{voice}.pt" for voice in VOICES} <= files
    assert "kokoro/en_core_web_sm/config.cfg" in files  # without the folder named after the version
    assert manifest.sources["kokoro"][1]["file"] == f"{KOKORO.folder}/kokoro-v1_0.pth"
    assert Manifest.read(target) == manifest
    assert verify(target) == []
    found = {finding.name: finding for finding in doctor.examine(target)}
    assert (found["speech"].state, found["speech"].text) == ("ok", f"Kokoro, {len(VOICES)} voices")
    assert "english" not in found

    shutil.rmtree(target / "kokoro" / "en_core_web_sm")
    found = {finding.name: finding for finding in doctor.examine(target)}
    assert "en_core_web_sm is missing" in found["english"].text
    voice = target / "kokoro" / "voices" / "af_heart.pt"
    content = bytearray(voice.read_bytes())
    content[-100] ^= 1
    voice.write_bytes(content)
    assert "kokoro/voices/af_heart.pt is damaged: its sha256" in " ".join(verify(target))
    voice.unlink()
    with pytest.raises(WeightsError, match=r"kokoro/\S+ is missing"):
        WeightsFolder(target)


def test_a_folder_without_kokoro_is_complete(baked):
    assert not (baked / "kokoro").exists()
    assert verify(baked) == []
    assert choose_engine(baked).name == "espeak-ng"
    found = {finding.name: finding for finding in doctor.examine(baked)}
    assert "espeak-ng" in found["speech"].text
    assert "multitalk fetch --speech" in found["speech"].text


def test_an_incomplete_kokoro_is_reported(baked, copy_of):
    folder = copy_of(baked)
    (folder / "kokoro").mkdir()
    (folder / "kokoro" / "config.json").write_text("{}")
    manifest = Manifest.read(folder)
    record = FileRecord(2, hash_file(folder / "kokoro" / "config.json"))
    replace(manifest, files={**manifest.files, "kokoro/config.json": record}).write(folder)
    assert verify(folder) == [
        "kokoro/kokoro-v1_0.pth is missing: Kokoro needs it.",
        "kokoro/voices/*.pt is missing: Kokoro needs it.",
    ]
    with pytest.raises(WeightsError, match="Kokoro needs it"):
        WeightsFolder(folder)


def test_files_that_do_not_match_are_named(damaged):
    weights = PublishedWeights(damaged)
    checkpoint = damaged / KOKORO.folder / "kokoro-v1_0.pth"
    parts = torch.load(checkpoint, weights_only=True)
    voice = damaged / KOKORO.folder / "voices" / "am_adam.pt"

    put(voice, torch.zeros(3, 256))
    with pytest.raises(WeightsError, match=r"am_adam\.pt is not a Kokoro voice"):
        find_kokoro(weights)
    put(voice, torch.full((510, 1, 256), torch.nan))
    with pytest.raises(WeightsError, match=r"am_adam\.pt has values that are not finite"):
        find_kokoro(weights)
    voice.write_bytes(b"PK")
    with pytest.raises(WeightsError, match=r"am_adam\.pt cannot be read"):
        find_kokoro(weights)

    bert = parts["bert"]  # the first to be checked: the others, which are large, are left out
    key = next(iter(bert))
    put(checkpoint, {"bert": {name: value for name, value in bert.items() if name != key}})
    with pytest.raises(WeightsError, match=f"lacks a tensor of Kokoro's bert: {key.removeprefix('module.')}"):
        find_kokoro(weights)
    put(checkpoint, {"bert": {**bert, key: torch.zeros(2, 2)}})
    with pytest.raises(WeightsError, match="does not match Kokoro's bert"):
        find_kokoro(weights)
    put(checkpoint, {"bert": bert})
    with pytest.raises(WeightsError, match="lacks Kokoro's module bert_encoder"):
        find_kokoro(weights)
    put(checkpoint, torch.zeros(3))
    with pytest.raises(WeightsError, match="does not have Kokoro's layout"):
        find_kokoro(weights)
    checkpoint.unlink()
    with pytest.raises(WeightsError, match=r"kokoro-v1_0\.pth is missing"):
        find_kokoro(weights)


def test_spacys_model_may_be_a_wheel(damaged, tmp_path):
    folder = damaged / SPACY_MODEL
    wheel = damaged / "en_core_web_sm-3.8.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                inside = path.relative_to(folder).as_posix()
                archive.writestr(f"en_core_web_sm/{inside}", path.read_bytes())
        archive.writestr("en_core_web_sm/__init__.py", "")
        archive.writestr("en_core_web_sm/en_core_web_sm-3.8.0/../../../escaped", "")
    shutil.rmtree(folder)
    files = find_kokoro(PublishedWeights(damaged))
    assert files.spacy_model == wheel
    files.copy(tmp_path / "target")
    copied = tmp_path / "target" / "kokoro" / "en_core_web_sm"
    import spacy

    tags = [token.tag_ for token in spacy.load(copied)("I read a book.")]
    assert tags == ["PRP", "VBD", "DT", "NN", "."]
    assert not (copied / "__init__.py").exists()
    assert not list(tmp_path.rglob("escaped"))


def test_a_wheel_of_something_else_is_refused(damaged, tmp_path):
    shutil.rmtree(damaged / SPACY_MODEL)
    wheel = damaged / "en_core_web_sm-3.8.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("other/readme.txt", "")
    files = find_kokoro(PublishedWeights(damaged))
    with pytest.raises(WeightsError, match="does not contain an English spaCy model"):
        files.copy(tmp_path / "one")
    wheel.write_bytes(b"no zip")
    with pytest.raises(WeightsError, match="cannot be read as a wheel"):
        files.copy(tmp_path / "two")
