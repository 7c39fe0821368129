"""Find published files on the hub, download them with huggingface_hub, and compare them with the lock.

Importing this module imports neither torch nor huggingface_hub. download_models.sh runs it with
huggingface_hub 0.36, the last version with hf_transfer, in a separate environment.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

from ..errors import WeightsError
from ..patches import huggingface_hub as hub_client
from ..weights.folders import hash_file
from .catalogue import FileSet, Repository
from .lock import Lock

Result = TypeVar("Result")

STAGING = ".downloads"  # incomplete files, relative to the folder of published weights
_FAST, _PLAIN = "fast", "plain"  # folders in STAGING: only the plain client continues an incomplete file
_REFUSED = (401, 403, 404)  # status codes for which a retry would not help


@dataclass(frozen=True)
class Retries:
    """How often to retry an interrupted action.

    Attributes:
        attempts: Including the first.
        pause: Seconds before the second attempt; longer before each later one.
        stopped: Once set, no further attempt is made.
    """

    attempts: int = 5
    pause: float = 2.0
    stopped: Event = field(default_factory=Event)

    def run(self, action: Callable[[], Result], failure: str) -> Result:
        """Call a function until it succeeds.

        Raises:
            WeightsError: The last attempt failed, or the server refused the request; begins with `failure`.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                return action()
            except Exception as error:  # the kinds differ between the versions of huggingface_hub
                lines = str(error).strip().splitlines() or [type(error).__name__]
                cause = f" ({error.__cause__!s:.200})" if error.__cause__ else ""
                reason = f"{failure}: {lines[0][:300].rstrip('.: ')}{cause}."
                status = getattr(getattr(error, "response", None), "status_code", None)
                final = attempt >= self.attempts or status in _REFUSED
                if final or self.stopped.wait(self.pause * attempt):
                    raise WeightsError(reason) from error
                print(f"{reason} Trying again.", flush=True)


@dataclass(frozen=True)
class RemoteFile:
    """A file to download.

    Attributes:
        path: Where to store it, relative to the folder of published weights.
        source: Its path in the repository, or its URL if it is in no repository.
        repository: ``owner/name``.
        commit: Of the repository.
        size: Bytes, if known.
        sha256: From the lock, else from the hub, which has it for large files.
        locked: Whether size and sha256 are from the lock.
    """

    path: str
    source: str
    repository: str = ""
    commit: str = ""
    size: int | None = None
    sha256: str | None = None
    locked: bool = False


def list_repository(repository: Repository, lock: Lock, retries: Retries) -> Any:
    """Ask the hub for the files of a repository, at the locked commit if there is one.

    Retries are needed even on a good connection: huggingface_hub 1.x closes the connections of all threads
    when one of them fails.

    Returns:
        huggingface_hub's ``ModelInfo``.
    """
    from huggingface_hub import HfApi

    locked = lock.repositories.get(repository.name)
    revision = locked.commit if locked else repository.revision
    return retries.run(
        lambda: HfApi().repo_info(repository.name, revision=revision, files_metadata=True, timeout=60),
        f"{repository.name} cannot be listed at {revision}",
    )


def match_files(file_set: FileSet, info: Any, lock: Lock) -> Iterator[RemoteFile]:
    """Find the files of a set in the hub's listing; sizes and hashes in the lock override the hub's.

    Raises:
        WeightsError: A required path matches no file, or a locked file is missing.
    """
    repository = file_set.repository
    listed = {entry.rfilename: entry for entry in info.siblings}
    locked = lock.repositories.get(repository.name)
    pinned = locked.files if locked else {}
    for path in (*file_set.paths, *file_set.optional):
        pattern = repository.remote_path(path)
        names = sorted(name for name in {*listed, *pinned} if fnmatchcase(name, pattern))
        if not names and path in file_set.paths:
            raise WeightsError(f"{repository.name} has no file {pattern} at {info.sha}.")
        for name in names:
            if name not in listed:
                raise WeightsError(f"{repository.name} has no file {name} at {info.sha}, but it is locked.")
            record, entry = pinned.get(name), listed[name]
            sha256 = record.sha256 if record else entry.lfs.sha256 if entry.lfs else None
            size = record.size if record else entry.size
            local = repository.local_path(name)
            yield RemoteFile(local, name, repository.name, info.sha, size, sha256, record is not None)


def fetch_file(file: RemoteFile, root: Path, retries: Retries, caches: Iterable[Path] = ()) -> str:
    """Store a file in the folder of published weights, unless it exists, and check its size and sha256.

    Args:
        file: The file.
        root: The folder.
        retries: For interruptions.
        caches: Hub caches; a file in one of them is linked instead of downloaded.

    Returns:
        The file's sha256.

    Raises:
        WeightsError: The file cannot be downloaded, or is wrong and has been deleted.
    """
    target = root / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.is_file():
        _link_from_cache(file, target, caches)
    if target.is_file():
        try:
            return _check(file, target)
        except WeightsError as error:
            print(f"{error} Downloading it again.", flush=True)
    downloaded = retries.run(lambda: _download(file, root), f"{file.path} cannot be downloaded")
    os.replace(downloaded, target)
    return _check(file, target)


def _download(file: RemoteFile, root: Path) -> str | Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.file_download import http_get

    staging = _staging(file, root, _FAST if hub_client.is_fast_download() else _PLAIN)
    staging.mkdir(parents=True, exist_ok=True)
    try:
        if file.repository:
            return hf_hub_download(file.repository, file.source, revision=file.commit, local_dir=staging)
        with (staging / "file").open("wb") as out:
            http_get(file.source, out)
        return staging / "file"
    except Exception:
        hub_client.use_plain_download()
        shutil.rmtree(_staging(file, root, _FAST), ignore_errors=True)
        raise


def _link_from_cache(file: RemoteFile, target: Path, caches: Iterable[Path]) -> None:
    from huggingface_hub import try_to_load_from_cache

    for cache in caches if file.repository else ():
        path = try_to_load_from_cache(file.repository, file.source, cache, revision=file.commit)
        if isinstance(path, str):
            target.unlink(missing_ok=True)  # a broken link
            target.symlink_to(path)
            return


def _check(file: RemoteFile, target: Path) -> str:
    size, sha256 = target.stat().st_size, hash_file(target)
    if file.size in (None, size) and file.sha256 in (None, sha256):
        return sha256
    target.unlink()
    expected = f"{file.size} bytes" + (f" and the sha256 {file.sha256}" if file.sha256 else "")
    raise WeightsError(
        f"{file.path} is the wrong file: it has {size} bytes and the sha256 {sha256}, "
        f"but {'the lock' if file.locked else 'the hub'} says {expected}."
    )


def _staging(file: RemoteFile, root: Path, kind: str) -> Path:
    return root / STAGING / kind / file.path


def delete_unusable_downloads(root: Path) -> None:
    """Delete incomplete files that an earlier run left and this run cannot continue."""
    fast = hub_client.is_fast_download()
    shutil.rmtree(root / STAGING if fast else root / STAGING / _FAST, ignore_errors=True)


def bytes_on_disk(file: RemoteFile, root: Path) -> int:
    """Return the disk space of a file that an earlier run downloaded in part."""
    return sum(path.stat().st_blocks * 512 for path in _staging(file, root, _PLAIN).rglob("*.incomplete"))
