"""Download the published files that a bake reads: in parallel, at pinned commits, compared with the lock.

``python -m multitalk.bake.fetch --help``. Needs huggingface_hub, but not torch.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

from ..errors import WeightsError
from ..weights.folders import FileRecord
from .catalogue import SPACY_MODEL, SPACY_MODEL_URL, FileSet, all_file_sets
from .downloads import (
    STAGING,
    RemoteFile,
    Retries,
    bytes_on_disk,
    delete_unusable_downloads,
    fetch_file,
    list_repository,
    match_files,
)
from .layers import check_layers
from .lock import LOCK_FILE, Lock, LockedRepository
from .selection import Selection
from .target import check_target, existing_parent, on_one_disk

RUNPOD_CACHE = Path("/runpod-volume/huggingface-cache/hub")
WORKERS = 8


def fetch(
    selection: Selection,
    root: str | Path,
    lock_file: Path = LOCK_FILE,
    workers: int = WORKERS,
    caches: Sequence[Path] = (RUNPOD_CACHE,),
    retries: Retries | None = None,
    bake_to: Path | None = None,
    layer_bytes: int | None = None,
    spacy_model_url: str | None = None,
) -> list[RemoteFile]:
    """Download the selected files into a folder of published weights; existing files are kept.

    Args:
        selection: What to download.
        root: The folder.
        lock_file: Commits and hashes.
        workers: Number of parallel downloads.
        caches: Hub caches; files in them are linked instead of downloaded.
        retries: For each file; None uses the defaults.
        bake_to: Baked folder to be written afterwards. Before anything is downloaded, this checks that it can
            be written and that there is enough free disk space for it.
        layer_bytes: Largest image layer of the baked folder; before anything is downloaded, this checks that
            the layers hold it.
        spacy_model_url: Address of spaCy's model; None uses its release page.

    Returns:
        The files, with their sha256.

    Raises:
        InvalidInput: `bake_to` cannot be written.
        WeightsError: A file is missing or wrong, a download failed, or the disk or the layers are too small.
    """
    folder, retries = Path(root), retries or Retries()
    if bake_to is not None:
        check_target(bake_to, folder, overwrite=True)
    folder.mkdir(parents=True, exist_ok=True)
    url = (spacy_model_url or SPACY_MODEL_URL) if selection.speech else None
    files = list_files(selection.file_sets, Lock.read(lock_file), url)
    baked = selection.baked_bytes({file.path: file.size or 0 for file in files})
    delete_unusable_downloads(folder)
    _check_space(files, folder, baked, bake_to)
    if layer_bytes is not None:
        check_layers(baked, layer_bytes)
    done: list[RemoteFile] = []
    for file in _download_all(files, folder, workers, retries, caches):
        done.append(file)
        size = (folder / file.path).stat().st_size / 1e9
        state = "matches the lock" if file.locked else "not locked"
        print(f"[{len(done)}/{len(files)}] {file.path}: {size:.3f} GB, {state}", flush=True)
    shutil.rmtree(folder / STAGING, ignore_errors=True)
    for file in sorted(done, key=lambda file: file.path):
        if not file.locked:
            print(f"warning: {file.path} is not locked. Run download_models.sh --lock.", file=sys.stderr)
    return done


def list_files(file_sets: Sequence[FileSet], lock: Lock, spacy_model_url: str | None) -> list[RemoteFile]:
    """List what to download, after asking the hub for each repository once.

    Args:
        file_sets: The files in repositories.
        lock: Commits and hashes.
        spacy_model_url: Address of spaCy's model; None leaves it out.

    Raises:
        WeightsError: The hub cannot be reached or lacks a file.
    """
    repositories = {file_set.repository.name: file_set.repository for file_set in file_sets}
    retries = Retries(3, 1.0)
    with ThreadPoolExecutor(WORKERS) as pool:
        listings = pool.map(lambda each: list_repository(each, lock, retries), repositories.values())
        infos = dict(zip(repositories, listings, strict=True))
    matches = [match_files(file_set, infos[file_set.repository.name], lock) for file_set in file_sets]
    files = {file.path: file for matched in matches for file in matched}
    if spacy_model_url is not None:
        file, record = RemoteFile(SPACY_MODEL, spacy_model_url), lock.files.get(SPACY_MODEL)
        if record is not None:
            file = replace(file, size=record.size, sha256=record.sha256, locked=True)
        files[file.path] = file
    return list(files.values())


def update_lock(lock_file: Path = LOCK_FILE, spacy_model_url: str | None = None) -> Lock:
    """Write a lock with the hub's current revision and hashes of every file that any bake reads.

    The hub has the sha256 of large files; only small files are downloaded.

    Raises:
        WeightsError: The hub cannot be reached or lacks a file.
    """
    files = list_files(all_file_sets(), Lock(), spacy_model_url or SPACY_MODEL_URL)
    repositories: dict[str, LockedRepository] = {}
    others: dict[str, FileRecord] = {}
    with tempfile.TemporaryDirectory(prefix="multitalk-lock-", ignore_cleanup_errors=True) as name:
        small = [file for file in files if file.sha256 is None]
        hashed = [
            replace(file, size=(Path(name) / file.path).stat().st_size)
            for file in _download_all(small, Path(name), WORKERS, Retries())
        ]
    for file in {file.path: file for file in (*files, *hashed)}.values():
        record = FileRecord(file.size or 0, file.sha256 or "")
        if file.repository:
            entry = repositories.get(file.repository, LockedRepository(file.commit))
            repositories[file.repository] = replace(entry, files={**entry.files, file.source: record})
        else:
            others[file.path] = record
    lock = Lock(repositories, others)
    lock.write(lock_file)
    return lock


def _download_all(
    files: Sequence[RemoteFile], folder: Path, workers: int, retries: Retries, caches: Sequence[Path] = ()
) -> Iterator[RemoteFile]:
    """Download files in parallel, large files first; yield each when it is complete, with its sha256."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="download")
    running = {
        pool.submit(fetch_file, file, folder, retries, caches): file
        for file in sorted(files, key=lambda file: -(file.size or 0))
    }
    try:
        for future in as_completed(running):
            yield replace(running[future], sha256=future.result())
    finally:
        # an error neither waits for the running downloads nor lets them be tried again
        retries.stopped.set()
        pool.shutdown(wait=False, cancel_futures=True)


def _check_space(files: Sequence[RemoteFile], folder: Path, baked: int, bake_to: Path | None) -> None:
    """Check free disk space for the download and the bake, on one disk or on two."""
    absent = [file for file in files if not (folder / file.path).exists()]
    missing = sum(max(0, (file.size or 0) - bytes_on_disk(file, folder)) for file in absent)
    needs = [(folder, missing, f"the download needs {missing / 1e9:.1f} GB")]
    if bake_to is not None:
        parent, text = existing_parent(bake_to), f"the baked weights need {baked / 1e9:.1f} GB"
        if on_one_disk(parent, folder):
            needs = [(folder, missing + baked, f"{needs[0][2]}, {text}")]
        else:
            needs.append((parent, baked, text))
    for place, needed, text in needs:
        free = shutil.disk_usage(place).free
        if free < needed:
            raise WeightsError(f"{place} has {free / 1e9:.1f} GB of free disk space, but {text}.")


def main(argv: list[str] | None = None) -> int:
    """Run ``python -m multitalk.bake.fetch``; return the exit status."""
    from .commands import add_fetch, run_command

    return run_command("multitalk.bake.fetch", __doc__, add_fetch, argv)


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # after an error, without waiting for running downloads
