"""Fetch the published files that a bake reads: pinned, in parallel, each compared with the lock.

``python -m multitalk.bake.fetch --help``; needs none of the models' libraries.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, as_completed, wait
from dataclasses import replace
from pathlib import Path

from ..errors import MultiTalkError, WeightsError
from ..weights.files import FileRecord
from . import catalogue, downloads
from .catalogue import FileSet, Repository, Selection, WebFile
from .downloads import Listing, RemoteFile, Retries
from .layers import check_layers
from .lock import LOCK_FILE, Lock, LockedRepository
from .options import add_selection, selection_of
from .target import check_target, existing_parent, on_one_disk

RUNPOD_CACHE = Path("/runpod-volume/huggingface-cache/hub")

_ATTEMPTS = 5
_PAUSE = 2.0  # seconds


def fetch(
    selection: Selection,
    root: str | Path,
    lock_file: Path = LOCK_FILE,
    workers: int = 8,
    caches: tuple[Path, ...] = (RUNPOD_CACHE,),
    attempts: int = _ATTEMPTS,
    pause: float = _PAUSE,
    bake_to: Path | None = None,
    layer_bytes: int | None = None,
) -> list[RemoteFile]:
    """Bring the selected files into a folder of published weights; what is there already stays.

    Args:
        selection: What to fetch.
        root: The folder.
        lock_file: Commits and hashes.
        workers: Files at a time.
        caches: Hub caches whose files are linked instead of downloaded.
        attempts: How often to try a file before giving up.
        pause: Seconds before its second attempt.
        bake_to: What is baked from them afterwards: that it may be written, and has room, is checked first.
        layer_bytes: Largest image layer that it is cut into then: that it fits them is checked first.

    Returns:
        The files, with the sha256 they were found to have.

    Raises:
        InvalidInput: `bake_to` can't be written.
        WeightsError: A file is missing, isn't the locked one, or can't be had; the message names it. Or there
            are too few layers.
    """
    folder = Path(root)
    if bake_to is not None:
        check_target(bake_to, folder, overwrite=True)
    folder.mkdir(parents=True, exist_ok=True)
    files = plan(selection.file_sets, selection.web_files, Lock.read(lock_file))
    baked = selection.baked_bytes(sum(file.size or 0 for file in files))
    _check_space(files, folder, baked, bake_to)
    if layer_bytes is not None:
        check_layers(baked, layer_bytes)
    done: list[RemoteFile] = []
    retries = Retries(attempts, pause)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="download")
    # large files first: none is left to run alone at the end
    running = {
        pool.submit(downloads.fetch_file, file, folder, retries, caches): file
        for file in sorted(files, key=lambda file: -(file.size or 0))
    }
    try:
        for future in as_completed(running):
            done.append(replace(running[future], sha256=future.result()))
            print(_line(running[future], folder, len(done), len(files)), flush=True)
    finally:
        # downloads under way can't be stopped from outside, so the first error isn't held up by them;
        # one that is interrupted after it doesn't begin again
        retries.given_up.set()
        pool.shutdown(wait=False, cancel_futures=True)
    shutil.rmtree(folder / ".downloads", ignore_errors=True)
    for file in sorted(done, key=lambda file: file.path):
        if not file.locked:
            print(f"warning: {file.path} isn't locked; download_models.sh --lock pins it.", file=sys.stderr)
    return done


def plan(file_sets: Sequence[FileSet], web_files: Sequence[WebFile], lock: Lock) -> list[RemoteFile]:
    """What is to be fetched, after asking the hub for each repository once.

    Raises:
        WeightsError: See :func:`downloads.list_repository` and :func:`downloads.match_files`.
    """
    listings = _list_all({file_set.repository for file_set in file_sets}, lock)
    files = {
        file.path: file
        for file_set in file_sets
        for file in downloads.match_files(file_set, listings[file_set.repository], lock)
    }
    return [*files.values(), *(downloads.web_file(file, lock) for file in web_files)]


def update_lock(lock_file: Path = LOCK_FILE) -> Lock:
    """Pin every file that any bake reads to what the hub has now, and write the lock.

    The hub tells the sha256 of large files; the small ones are downloaded and hashed.

    Raises:
        WeightsError: The hub lacks a file, or can't be reached.
    """
    import tempfile

    file_sets, web_files = catalogue.everything()
    files = plan(file_sets, web_files, Lock())
    repositories: dict[str, LockedRepository] = {}
    others: dict[str, FileRecord] = {}
    with tempfile.TemporaryDirectory(prefix="multitalk-lock-") as name, ThreadPoolExecutor(8) as pool:
        pending = [
            pool.submit(_pin, replace(file, path=f"{number}/{file.path}"), Path(name))
            for number, file in enumerate(files)
        ]
        wait(pending, return_when=FIRST_EXCEPTION)
        for file, future in zip(files, pending, strict=True):
            pinned = future.result()
            if isinstance(file.origin, Repository):
                entry = repositories.get(file.origin.name, LockedRepository(file.commit))
                repositories[file.origin.name] = replace(entry, files={**entry.files, file.name: pinned})
            else:
                others[file.path] = pinned
    lock = Lock(repositories, others)
    lock.write(lock_file)
    return lock


def _pin(file: RemoteFile, folder: Path) -> FileRecord:
    if file.sha256 is not None and file.size is not None:
        return FileRecord(file.size, file.sha256)
    sha256 = downloads.fetch_file(file, folder, Retries(_ATTEMPTS, _PAUSE))
    path = folder / file.path
    return FileRecord(path.stat().st_size, sha256)


def _list_all(repositories: set[Repository], lock: Lock) -> dict[Repository, Listing]:
    def revision(repository: Repository) -> str:
        locked = lock.repositories.get(repository.name)
        return locked.commit if locked else repository.revision

    ordered = sorted(repositories, key=lambda repository: repository.name)
    retries = Retries(3, 1.0)
    with ThreadPoolExecutor(8) as pool:
        listings = pool.map(lambda each: downloads.list_repository(each, revision(each), retries), ordered)
        return dict(zip(ordered, listings, strict=True))


def _check_space(files: Sequence[RemoteFile], folder: Path, baked: int, bake_to: Path | None) -> None:
    """Room for what is fetched and, on the same disk or another, for what is baked from it."""
    absent = [file for file in files if not (folder / file.path).exists()]
    missing = sum(max(0, (file.size or 0) - downloads.begun_bytes(file, folder)) for file in absent)
    needs = [(folder, missing, f"the download takes {missing / 1e9:.1f} GB")]
    if bake_to is not None:
        beside, text = existing_parent(bake_to), f"the baked weights take {baked / 1e9:.1f} GB"
        if on_one_disk(beside, folder):
            needs = [(folder, missing + baked, f"{needs[0][2]}, {text}")]
        else:
            needs.append((beside, baked, text))
    for place, needed, text in needs:
        free = shutil.disk_usage(place).free
        if free < needed:
            raise WeightsError(f"The disk of {place} has {free / 1e9:.1f} GB free; {text}.")


def _line(file: RemoteFile, folder: Path, number: int, count: int) -> str:
    size = (folder / file.path).stat().st_size
    state = "sha256 as locked" if file.locked else "sha256 as the hub says" if file.sha256 else "not locked"
    return f"[{number}/{count}] {file.path}: {size / 1e9:.3f} GB, {state}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--to", metavar="RAW_DIR", help="folder of published files")
    parser.add_argument(
        "--bake-to",
        metavar="BAKED_DIR",
        type=Path,
        help="folder that is baked from them afterwards: whether it can be is checked before the download",
    )
    parser.add_argument(
        "--layer-gb",
        metavar="N",
        type=float,
        help="largest image layer that it is cut into then: whether it fits is checked before the download",
    )
    add_selection(parser)
    parser.add_argument("--lock", action="store_true", help="pin what the hub has now, and fetch nothing")
    parser.add_argument("--lock-file", metavar="FILE", type=Path, default=LOCK_FILE)
    parser.add_argument("--workers", metavar="N", type=int, default=8, help="files at a time (8)")
    parser.add_argument(
        "--attempts", metavar="N", type=int, default=_ATTEMPTS, help=f"at each file ({_ATTEMPTS})"
    )


def run(args: argparse.Namespace) -> int:
    """Do what the options say; returns the exit status."""
    if args.lock:
        lock = update_lock(args.lock_file)
        count = sum(len(entry.files) for entry in lock.repositories.values()) + len(lock.files)
        print(f"{args.lock_file}: {count} files of {len(lock.repositories)} repositories locked")
        return 0
    if not args.to:
        raise WeightsError("Name a folder for the published files with --to.")
    files = fetch(
        selection_of(args),
        args.to,
        args.lock_file,
        args.workers,
        attempts=args.attempts,
        bake_to=args.bake_to,
        layer_bytes=None if args.layer_gb is None else int(args.layer_gb * 1e9),
    )
    size = sum((Path(args.to) / file.path).stat().st_size for file in files)
    print(f"{args.to}: {len(files)} files, {size / 1e9:.2f} GB")
    return 0


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m multitalk.bake.fetch", description=__doc__)
    add_arguments(parser)
    args = parser.parse_args(argv)
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # bars of eight files make no log
    try:
        return run(args)
    except MultiTalkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # an error doesn't wait for the downloads beside it
