"""Fetching from a hub: working, with wrong or missing files, and with interruptions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.utils._http import close_session

from multitalk.bake import catalogue, downloads
from multitalk.bake import fetch as fetching
from multitalk.bake.downloads import Retries
from multitalk.bake.fetch import fetch, list_files, update_lock
from multitalk.bake.lock import Lock
from multitalk.bake.precision import PRECISIONS
from multitalk.bake.selection import Selection, select
from multitalk.errors import InvalidInput, WeightsError
from multitalk.weights.folders import hash_file
from tests.hub import commit_of, downloads_under_way

T5 = "models_t5_umt5-xxl-enc-bf16.pth"
T5_PATH = f"Wan2.1-I2V-14B-480P/{T5}"
SMALL = Selection(loras=(), speech=False)


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch) -> None:
    # the client writes whole pieces of 10 MB, larger than these files
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 4096)
    # the tests' hub has no Xet storage, and the plain client continues files
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)


@pytest.fixture
def empty_lock(tmp_path) -> Path:
    path = tmp_path / "empty-lock.json"
    Lock().write(path)
    return path


@pytest.fixture
def lock_file(hub, tmp_path) -> Path:
    path = tmp_path / "lock.json"
    update_lock(path)
    hub.requests.clear()
    return path


def fetch_into(root: Path, lock_file: Path, selection: Selection = SMALL) -> list[str]:
    return sorted(
        file.path for file in fetch(selection, root, lock_file, caches=(), retries=Retries(pause=0.01))
    )


def begin_of(ranged: str) -> int:
    return int(ranged.removeprefix("bytes=").partition("-")[0])


def files_below(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("precision", ["int8", "bf16"])
def test_only_files_that_are_used_are_fetched(hub, hub_files, empty_lock, tmp_path, precision):
    root = tmp_path / "raw"
    paths = fetch_into(root, empty_lock, select(precision))
    assert files_below(root) == paths  # no temporary files are left
    assert all((root / path).read_bytes() == (hub_files / path).read_bytes() for path in paths)
    requested = {path for method, path, _ in hub.requests if method == "GET" and "/resolve/" in path}
    assert len(requested) == len(paths) - 1  # the wheel is in no repository
    unused = ("dit_model_map", "int8_FusionX", "pytorch_model.bin")
    assert not any(word in path for path in paths for word in unused)
    published_form = [path for path in paths if "diffusion_pytorch_model-" in path or path == T5_PATH]
    int8_form = [path for path in paths if path.endswith("_int8.safetensors")]
    assert (len(published_form), len(int8_form)) == ((0, 2) if precision == "int8" else (3, 0))
    assert {"Kokoro-82M/voices/one.pt", catalogue.SPACY_MODEL, *LORAS} <= set(paths)


LORAS = set(catalogue.LORA_FILES.values())


def test_unlocked_files_give_a_warning(hub, empty_lock, tmp_path, capsys):
    paths = fetch_into(tmp_path / "raw", empty_lock)
    warnings = capsys.readouterr().err
    assert all(f"warning: {path} is not locked" in warnings for path in paths)


def test_update_lock_pins_everything_and_downloads_only_small_files(hub, hub_files, tmp_path, capsys):
    path = tmp_path / "lock.json"
    lock = update_lock(path)
    downloaded = [path for method, path, _ in hub.requests if method == "GET" and "/resolve/" in path]
    assert downloaded
    assert not any(path.endswith((".safetensors", ".pth", ".pt")) for path in downloaded)
    assert lock == Lock.read(path)
    assert lock.repositories[catalogue.WAN.name].commit == commit_of(catalogue.WAN.name)
    for precision in PRECISIONS:
        root = tmp_path / precision
        fetch_into(root, path, select(precision))
        assert not capsys.readouterr().err  # every file is locked


def test_the_locked_revision_is_requested(hub, lock_file, tmp_path):
    fetch_into(tmp_path / "raw", lock_file)
    listed = [path for _, path, _ in hub.requests if path.startswith("/api/")]
    assert listed
    assert all(path.endswith(commit_of("/".join(path.split("/")[3:5]))) for path in listed)


def test_an_unlocked_repository_follows_its_reference(hub, empty_lock, tmp_path):
    fetch_into(tmp_path / "raw", empty_lock)
    assert f"/api/models/{catalogue.WAV2VEC2.name}/revision/refs/pr/1" in [
        path for _, path, _ in hub.requests
    ]


def test_a_corrupted_file_is_refused(hub, lock_file, tmp_path):
    hub.faults.corrupt.add(T5)
    with pytest.raises(WeightsError, match=f"{T5_PATH} is the wrong file.*the lock says"):
        fetch_into(tmp_path / "raw", lock_file)
    assert not (tmp_path / "raw" / T5_PATH).exists()
    hub.faults.corrupt.clear()
    fetch_into(tmp_path / "raw", lock_file)


def test_a_corrupted_large_file_is_refused_without_a_lock(hub, empty_lock, tmp_path):
    hub.faults.corrupt.add(T5)
    with pytest.raises(WeightsError, match=f"{T5_PATH} is the wrong file.*the hub says"):
        fetch_into(tmp_path / "raw", empty_lock)


def test_small_files_and_the_wheel_are_compared_with_the_lock(hub, lock_file, tmp_path):
    for name in ("preprocessor_config.json", catalogue.SPACY_MODEL):
        hub.faults.corrupt = {name}
        with pytest.raises(WeightsError, match=f"{name} is the wrong file"):
            fetch_into(tmp_path / name, lock_file, Selection(loras=()))


@pytest.mark.parametrize("locked", [True, False])
def test_a_missing_file_is_named(hub, lock_file, empty_lock, tmp_path, locked):
    hub.faults.missing.add(T5)
    with pytest.raises(WeightsError, match=f"{catalogue.WAN.name} has no file {T5}"):
        fetch_into(tmp_path / "raw", lock_file if locked else empty_lock)


def test_an_interrupted_download_is_continued(hub, hub_files, lock_file, tmp_path, capfd):
    hub.faults.cut = {T5: 2, catalogue.SPACY_MODEL: 2}
    fetch_into(tmp_path / "raw", lock_file, Selection(loras=()))
    for path in (T5_PATH, catalogue.SPACY_MODEL):
        assert (tmp_path / "raw" / path).read_bytes() == (hub_files / path).read_bytes()
        ranges = hub.downloads(Path(path).name)
        assert ranges[0] == ""
        begins = [begin_of(ranged) for ranged in ranges[1:]]
        assert begins == sorted(set(begins))
        assert begins[0] > 10_000  # later each time


def test_an_interrupted_listing_is_retried(hub, lock_file, tmp_path):
    """huggingface_hub closes the connections of all threads when one of them fails."""
    done = threading.Event()

    def keep_closing() -> None:
        while not done.wait(0.002):
            close_session()

    closer = threading.Thread(target=keep_closing)
    closer.start()
    threading.Timer(1.0, done.set).start()
    try:
        listings = [downloads.list_repository(catalogue.WAN, Lock(), Retries(5, 0.3)) for _ in range(30)]
    finally:
        done.set()
        closer.join()
    assert all(listing.siblings for listing in listings)


def test_a_download_fails_after_the_last_attempt_and_the_next_run_repeats_it(
    hub, lock_file, tmp_path, monkeypatch
):
    hub.faults.cut = {T5: 1000}
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    with pytest.raises(WeightsError, match=f"{T5_PATH} cannot be downloaded"):
        fetch_into(tmp_path / "raw", lock_file)
    assert not (tmp_path / "raw" / T5_PATH).exists()
    hub.faults.cut.clear()
    fetch_into(tmp_path / "raw", lock_file)
    assert (tmp_path / "raw" / T5_PATH).stat().st_size == 60_000


def test_an_error_stops_the_retries_of_other_downloads(hub, lock_file, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    hub.faults.cut = {T5: 1_000_000}
    hub.faults.corrupt = {"preprocessor_config.json"}
    with pytest.raises(WeightsError, match=r"preprocessor_config\.json is the wrong file"):
        fetch(SMALL, tmp_path / "raw", lock_file, caches=(), retries=Retries(1000, 3600))
    left = downloads_under_way()
    for thread in left:
        thread.join(60)
    assert not [thread for thread in left if thread.is_alive()]


def test_an_interrupted_xet_download_restarts_with_the_plain_client(
    hub, hub_files, lock_file, tmp_path, monkeypatch
):
    calls = []

    def cut(incomplete_path: Path, **arguments: object) -> None:
        calls.append(incomplete_path)
        incomplete_path.write_bytes(bytes(50_000))  # Xet writes pieces in any order: this is a hole
        raise OSError("the connection was cut")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", False)
    monkeypatch.setattr(
        "huggingface_hub.file_download.is_xet_available", lambda: not constants.HF_HUB_DISABLE_XET
    )
    monkeypatch.setattr("huggingface_hub.file_download.xet_get", cut)
    hub.faults.xet.add(T5)
    fetch_into(tmp_path / "raw", lock_file)
    assert len(calls) == 1
    assert hub.downloads(T5) == [""]
    assert (tmp_path / "raw" / T5_PATH).read_bytes() == (hub_files / T5_PATH).read_bytes()


def test_stored_files_are_kept_and_changed_files_downloaded_again(hub, lock_file, tmp_path):
    root = tmp_path / "raw"
    fetch_into(root, lock_file)
    hub.requests.clear()
    fetch_into(root, lock_file)
    assert not [path for _, path, _ in hub.requests if "/resolve/" in path]
    damaged = bytearray((root / T5_PATH).read_bytes())
    damaged[100] ^= 1
    (root / T5_PATH).write_bytes(damaged)
    fetch_into(root, lock_file)
    assert hub.downloads(T5) == [""]


def test_files_in_a_model_cache_are_linked(hub, hub_files, lock_file, tmp_path):
    snapshot = (
        tmp_path / "cache/models--Wan-AI--Wan2.1-I2V-14B-480P/snapshots" / commit_of(catalogue.WAN.name)
    )
    snapshot.mkdir(parents=True)
    (snapshot / T5).write_bytes((hub_files / T5_PATH).read_bytes())
    fetch(SMALL, tmp_path / "raw", lock_file, caches=(tmp_path / "cache",))
    assert (tmp_path / "raw" / T5_PATH).is_symlink()
    assert hub.downloads(T5) == []
    assert hash_file(tmp_path / "raw" / T5_PATH) == hash_file(hub_files / T5_PATH)


def test_the_token_is_sent(hub, lock_file, tmp_path, monkeypatch):
    hub.token = "hf_secret"
    with pytest.raises(WeightsError, match="cannot be listed"):
        fetch_into(tmp_path / "raw", lock_file)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    fetch_into(tmp_path / "raw", lock_file)


def test_free_disk_space_is_checked_before_the_download(hub, lock_file, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(WeightsError, match="GB of free disk space, but the download needs"):
        fetch_into(tmp_path / "raw", lock_file)
    assert hub.downloads(T5) == []


@pytest.mark.parametrize("fast", [False, True])
def test_an_incomplete_download_counts_unless_it_cannot_be_continued(
    hub, hub_files, lock_file, tmp_path, monkeypatch, fast
):
    root = tmp_path / "raw"
    files = list_files(SMALL.file_sets, Lock.read(lock_file), None)
    total = sum(file.size for file in files)
    largest = max(files, key=lambda file: file.size)
    staging = downloads._staging(largest, root, "fast" if fast else "plain")
    staging.mkdir(parents=True)
    (staging / "half.incomplete").write_bytes(os.urandom(largest.size // 2))  # zeros may not be stored
    usage = type("Usage", (), {"free": total - largest.size // 4})
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda path: usage)
    if fast:
        with pytest.raises(WeightsError, match="the download needs"):
            fetch_into(root, lock_file)
        assert not staging.exists()
    else:
        assert fetch_into(root, lock_file)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system, which only root may")
def test_a_mounted_folder_may_be_on_the_same_disk(tmp_path):
    """A build's cache and its layer are two devices on one disk."""
    script = """
        mount -t tmpfs -o size=64m tmpfs . && cd "$PWD" && mkdir lower upper work merged
        mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay merged
        exec "$0" -c '
from pathlib import Path
from multitalk.bake.target import on_one_disk
first, second = Path("merged"), Path("upper")
print(first.stat().st_dev == second.stat().st_dev, on_one_disk(first, second), on_one_disk(first, Path("/")))'
    """
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    output = subprocess.check_output(
        ["unshare", "--mount", "sh", "-ec", script, sys.executable], cwd=tmp_path, env=environment, text=True
    )
    assert output.split() == ["False", "True", "False"]


def test_disk_space_for_the_bake_is_checked_before_the_download(
    hub, hub_files, lock_file, tmp_path, monkeypatch
):
    def fetch_with(free: int) -> None:
        monkeypatch.setattr(fetching.shutil, "disk_usage", lambda path: type("Usage", (), {"free": free}))
        fetch(
            select("bf16", speech=False), tmp_path / "raw", lock_file, caches=(), bake_to=tmp_path / "baked"
        )

    with pytest.raises(WeightsError, match=r"the download needs .* GB, the baked weights need"):
        fetch_with(800_000)  # 780 kB to download, and 60 % of it to bake
    assert hub.downloads(T5) == []
    fetch_with(1_300_000)
    assert hub.downloads(T5) == [""]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"repositories": {}}',
        '{"repositories": {"a/b": {"commit": "main", "files": {}}}, "files": {}}',
    ],
)
def test_damaged_lock_is_refused(tmp_path, content):
    path = tmp_path / "lock.json"
    path.write_text(content)
    with pytest.raises(WeightsError, match=r"lock\.json cannot be read"):
        Lock.read(path)


def test_the_lock_in_the_repository_is_valid():
    names = {file_set.repository.name for file_set in catalogue.all_file_sets()}
    assert set(Lock.read().repositories) <= names


def test_unknown_names_are_refused():
    for arguments in (("int4",), ("int8", "gguf"), ("int8", None, ("quality",))):
        with pytest.raises(InvalidInput, match="must be"):
            select(*arguments)


def test_the_command_prints_errors_in_one_line(hub, lock_file, tmp_path, capsys):
    hub.faults.missing.add(T5)
    arguments = [
        "--to",
        str(tmp_path / "raw"),
        "--lock-file",
        str(lock_file),
        "--no-speech",
        "--preset",
        "none",
    ]
    assert fetching.main(arguments) == 2
    commit = commit_of(catalogue.WAN.name)
    sentence = f"error: {catalogue.WAN.name} has no file {T5} at {commit}, but it is locked.\n"
    assert capsys.readouterr().err == sentence
    hub.faults.missing.clear()
    assert fetching.main(arguments) == 0
    assert "GB" in capsys.readouterr().out
    assert json.loads(lock_file.read_text())["files"]
