"""One file from a hub or the web to its place: resumed where that is possible, and never there half.

Needs huggingface_hub alone and none of the models' libraries, so that it also runs in a small environment of
its own, whose 0.36 has hf_transfer. What is fast, hf_transfer and the hub's own storage Xet, begins a cut
file anew; so after the first cut of a run the plain client takes over, which continues where it was.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

from ..errors import WeightsError
from ..weights.files import hash_file
from .catalogue import FileSet, Repository, WebFile
from .lock import Lock

Result = TypeVar("Result")

_CHUNK = 1 << 22
_FAST_MARK = "fast"  # such a half file may have holes, so it can't be continued
_REFUSED = (401, 403, 404)  # asking again won't help


@dataclass(frozen=True)
class Retries:
    """How often, and until when, something that is interrupted is tried again.

    Attributes:
        attempts: In all.
        pause: Seconds before the second one; longer before each later one.
        given_up: Set where nobody waits for it any more: then no further attempt begins.
    """

    attempts: int
    pause: float
    given_up: Event = field(default_factory=Event)


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch.

    Attributes:
        path: Where it goes, below the folder of published weights.
        origin: A repository, or a file of its own.
        name: Its path in the repository; of a file of its own: its address.
        commit: Of the repository.
        size: Bytes, where they are known.
        sha256: Where it is known: the lock's, else what the hub says of its large files.
        locked: Whether the lock says so.
    """

    path: str
    origin: Repository | WebFile
    name: str
    commit: str = ""
    size: int | None = None
    sha256: str | None = None
    locked: bool = False


@dataclass(frozen=True)
class Listing:
    """What a repository holds at a commit: size, and sha256 of large files, by path."""

    commit: str
    files: dict[str, tuple[int | None, str | None]]


def list_repository(repository: Repository, revision: str, retries: Retries) -> Listing:
    """Ask the hub for a repository's files.

    Asked again where it is interrupted: the hub's client closes the connections of all threads when one of
    them has lost its own.

    Args:
        repository: Of the hub.
        revision: Branch, reference or commit.
        retries: Where it is interrupted.

    Raises:
        WeightsError: The hub can't be reached, or doesn't have it.
    """
    from huggingface_hub import HfApi

    def ask() -> Any:
        api = HfApi(endpoint=_endpoint())
        return api.repo_info(repository.name, revision=revision, files_metadata=True, timeout=60)

    info = _persist(ask, f"{repository.name} can't be listed at {revision}", retries)
    files = {}
    for entry in info.siblings or []:
        files[entry.rfilename] = (entry.size, entry.lfs.sha256 if entry.lfs else None)
    return Listing(str(info.sha), files)


def match_files(file_set: FileSet, listing: Listing, lock: Lock) -> list[RemoteFile]:
    """The files of a set, by what the hub lists and the lock says.

    Raises:
        WeightsError: A pattern matches nothing, or a locked file isn't there.
    """
    repository = file_set.repository
    locked = lock.repositories.get(repository.name)
    names: list[str] = []
    known = {*listing.files, *(locked.files if locked else ())}
    for pattern in (*file_set.patterns, *file_set.optional):
        found = sorted(name for name in known if fnmatchcase(name, pattern))
        if not found and pattern in file_set.patterns:
            raise WeightsError(f"{repository.name} has no file {pattern} at {listing.commit}.")
        names += found
    files = []
    for name in dict.fromkeys(names):
        if name not in listing.files:
            raise WeightsError(f"{repository.name} has no file {name} at {listing.commit}, but it is locked.")
        size, sha256 = listing.files[name]
        pinned = locked.files.get(name) if locked else None
        if pinned is not None:
            size, sha256 = pinned.size, pinned.sha256
        local = Path(name).name if file_set.flat else name
        path = (Path(repository.folder) / local).as_posix()
        files.append(RemoteFile(path, repository, name, listing.commit, size, sha256, pinned is not None))
    return files


def web_file(file: WebFile, lock: Lock) -> RemoteFile:
    """A file of its own, by what the lock says."""
    pinned = lock.files.get(file.name)
    if pinned is None:
        return RemoteFile(file.name, file, file.address())
    return RemoteFile(file.name, file, file.address(), "", pinned.size, pinned.sha256, True)


def fetch_file(file: RemoteFile, root: Path, retries: Retries, caches: tuple[Path, ...] = ()) -> str:
    """Bring a file to its place, unless it is there already; compare its size and sha256 with what is known.

    Args:
        file: What to fetch.
        root: The folder of published weights.
        retries: Where it is interrupted.
        caches: Hub caches to look in first; a file that is there is linked, not copied.

    Returns:
        Its sha256.

    Raises:
        WeightsError: It can't be had, or it isn't what it should be; then it is deleted.
    """
    target = root / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.is_file():
        _link_from_cache(file, target, caches)
    if target.is_file():
        try:
            return _check(file, target)
        except WeightsError as error:
            print(f"{error} It is downloaded again.", flush=True)
    _download_with_retries(file, root, target, retries)
    return _check(file, target)


def reason_of(error: BaseException) -> str:
    """An error of a library's in one sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0][:300].rstrip(".:") if lines else type(error).__name__
    cause = error.__cause__
    return f"{text} ({cause!s:.200})." if cause is not None and str(cause) else f"{text}."


def _persist(
    action: Callable[[], Result],
    failure: str,
    retries: Retries,
    interrupted: Callable[[Exception], None] = lambda error: None,
) -> Result:
    """What an action returns at last.

    Args:
        action: May be interrupted.
        failure: What can't be done, as the beginning of a sentence.
        retries: How often.
        interrupted: Called before each of these pauses.

    Raises:
        WeightsError: It was refused, interrupted each time, or given up.
    """
    attempt = 1
    while True:
        try:
            return action()
        except Exception as error:  # two libraries' worth of kinds, by version
            status = getattr(getattr(error, "response", None), "status_code", getattr(error, "code", None))
            last = attempt == retries.attempts or status in _REFUSED or retries.given_up.is_set()
            if not last:
                interrupted(error)
            if last or retries.given_up.wait(retries.pause * attempt):
                raise WeightsError(f"{failure}: {reason_of(error)}") from error
        attempt += 1


def _link_from_cache(file: RemoteFile, target: Path, caches: tuple[Path, ...]) -> None:
    if not isinstance(file.origin, Repository):
        return
    folder = "models--" + file.origin.name.replace("/", "--")
    for cache in caches:
        path = (cache / folder / "snapshots" / file.commit / file.name).absolute()
        if path.is_file():
            target.unlink(missing_ok=True)  # a link that leads nowhere
            target.symlink_to(path)
            return


def begun_bytes(file: RemoteFile, root: Path) -> int:
    """What an interrupted download has left of a file on the disk; what can't be continued is removed."""
    staging = _staging(file, root)
    if (staging / _FAST_MARK).exists():
        shutil.rmtree(staging)
    return sum(path.stat().st_blocks * 512 for path in staging.rglob("*") if path.is_file())


def _staging(file: RemoteFile, root: Path) -> Path:
    return root / ".downloads" / hashlib.sha256(file.path.encode()).hexdigest()[:16]


def _download_with_retries(file: RemoteFile, root: Path, target: Path, retries: Retries) -> None:
    staging = _staging(file, root)
    download: Callable[[RemoteFile, Path], Path] = _from_hub
    if isinstance(file.origin, WebFile):
        download = _from_web

    def interrupted(error: Exception) -> None:
        print(f"{file.path} was interrupted: {reason_of(error)} Going on.", flush=True)
        _use_plain_client()

    failure = f"{file.path} can't be downloaded"
    downloaded = _persist(lambda: download(file, staging), failure, retries, interrupted)
    os.replace(downloaded, target)
    shutil.rmtree(staging, ignore_errors=True)


def _from_hub(file: RemoteFile, staging: Path) -> Path:
    from huggingface_hub import constants, hf_hub_download

    assert isinstance(file.origin, Repository)
    mark = staging / _FAST_MARK
    fast = getattr(constants, "HF_HUB_ENABLE_HF_TRANSFER", False) or not constants.HF_HUB_DISABLE_XET
    if mark.exists():
        shutil.rmtree(staging)
    staging.mkdir(parents=True, exist_ok=True)
    if fast:
        mark.touch()
    path = hf_hub_download(
        file.origin.name, file.name, revision=file.commit, local_dir=staging, endpoint=_endpoint()
    )
    return Path(path)


def _endpoint() -> str | None:
    """The hub's address; the client's own where none is set."""
    return os.environ.get("HF_ENDPOINT") or None


def _use_plain_client() -> None:
    """After a first interruption: what is fast begins a file anew, the plain client continues it."""
    from huggingface_hub import constants

    # both are read at each call; 1.x has no hf_transfer
    vars(constants).update(HF_HUB_ENABLE_HF_TRANSFER=False, HF_HUB_DISABLE_XET=True)


def _from_web(file: RemoteFile, staging: Path) -> Path:
    """Read an address into a file, from where an earlier attempt ended."""
    staging.mkdir(parents=True, exist_ok=True)
    part = staging / "part"
    begin = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "multitalk"} | ({"Range": f"bytes={begin}-"} if begin else {})
    try:
        response: Any = urllib.request.urlopen(urllib.request.Request(file.name, headers=headers), timeout=60)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # what is there doesn't fit what is served
            part.unlink()
        raise
    with response, part.open("ab" if response.status == 206 else "wb") as out:
        expected = int(response.headers.get("Content-Length") or 0)
        written = 0
        while chunk := response.read(_CHUNK):
            out.write(chunk)
            written += len(chunk)
    if expected and written != expected:
        raise OSError(f"the connection ended after {written} of {expected} bytes")
    return part


def _check(file: RemoteFile, target: Path) -> str:
    size = target.stat().st_size
    sha256 = hash_file(target) if file.size is None or size == file.size else ""
    if sha256 and (file.sha256 is None or sha256 == file.sha256):
        return sha256
    target.unlink()
    whose = "the lock" if file.locked else "the hub"
    if not sha256:
        raise WeightsError(f"{file.path} has {size} bytes and should have {file.size}, as {whose} says.")
    raise WeightsError(
        f"{file.path} is not the file it should be: its sha256 is {sha256}, {whose} says {file.sha256}."
    )
