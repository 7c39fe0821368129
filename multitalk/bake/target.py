"""The folder that a bake writes: it gets its name only when it is complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InvalidInput
from ..weights.folders import MANIFEST


def check_target(target: Path, source: Path, overwrite: bool) -> None:
    """Check that a bake may write a folder.

    Args:
        target: The folder.
        source: The published files.
        overwrite: Whether a baked folder may be replaced.

    Raises:
        InvalidInput: It may not be written.
    """
    if not target.exists():
        return
    problem = None
    if os.path.ismount(target):
        problem = (
            f"is a mount point, which cannot be replaced. Set a folder in it, such as {target / 'weights'}."
        )
    elif not target.is_dir():
        problem = "is a file. Set a folder."
    elif any(target.iterdir()):
        holds_source = source.resolve().is_relative_to(target.resolve())
        if not overwrite:
            problem = "is not empty. Set another folder, or overwrite."
        elif holds_source or not (target / MANIFEST).is_file():
            problem = "is not a baked weights folder and is not overwritten. Set another folder."
    if problem is not None:
        raise InvalidInput(f"{target} {problem}", "target_dir")


def check_space(target: Path, needed: int) -> None:
    """Check that a folder's disk has enough free space.

    Raises:
        InvalidInput: It has less than `needed` bytes.
    """
    parent = existing_parent(target)
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise InvalidInput(
            f"{parent} has {free / 1e9:.1f} GB of free disk space, "
            f"but the baked weights need {needed / 1e9:.1f} GB.",
            "target_dir",
        )


def on_one_disk(first: Path, second: Path) -> bool:
    """Whether two folders share their free disk space.

    A container's own layer and a folder mounted into it have different device numbers but may be on one disk;
    then their file systems report the same sizes.
    """
    if first.stat().st_dev == second.stat().st_dev:
        return True
    one, other = os.statvfs(first), os.statvfs(second)
    sizes = [(disk.f_frsize, disk.f_blocks, disk.f_files) for disk in (one, other)]
    written_meanwhile = abs(one.f_bfree - other.f_bfree) / max(1, one.f_blocks)
    return sizes[0] == sizes[1] and written_meanwhile < 0.001


def existing_parent(target: Path) -> Path:
    """Return the closest parent folder that exists; the target will be on its disk."""
    return next(folder for folder in target.absolute().parents if folder.exists())


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Provide a folder to write to, and rename it to `target` at the end; after an error, delete it."""
    working = target.with_name(f".{target.name}.baking")
    shutil.rmtree(working, ignore_errors=True)  # left by a bake that was killed
    working.mkdir(parents=True)
    try:
        yield working
        old = target.with_name(f".{target.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if target.exists():
            target.rename(old)
        working.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(working, ignore_errors=True)
