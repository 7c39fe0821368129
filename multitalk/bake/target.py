"""The folder a bake writes to: it appears under its name when it is complete, not before."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InvalidInput
from ..weights.folders import MANIFEST


def check_target(target: Path, source: Path, overwrite: bool) -> None:
    """Make sure that a bake may write there.

    Args:
        target: The folder to write.
        source: The published files.
        overwrite: Whether a baked folder may be replaced.

    Raises:
        InvalidInput: It may not.
    """
    if not target.exists():
        return
    if os.path.ismount(target):
        raise InvalidInput(
            f"{target} is a mount, which a finished folder can't replace: name a folder in it, such as "
            f"{target / 'weights'}.",
            "target_dir",
        )
    if not target.is_dir():
        raise InvalidInput(f"{target} is a file: name a folder to bake into.", "target_dir")
    if not any(target.iterdir()):
        return
    if not overwrite:
        raise InvalidInput(
            f"The folder {target} isn't empty: name another, or ask to overwrite it.", "target_dir"
        )
    holds_source = source.resolve().is_relative_to(target.resolve())
    if holds_source or not (target / MANIFEST).is_file():
        raise InvalidInput(
            f"The folder {target} is no baked weights folder, so it isn't overwritten: name another.",
            "target_dir",
        )


def check_space(target: Path, needed: int) -> None:
    """Make sure that the disk has room.

    Raises:
        InvalidInput: It has less than `needed` bytes free.
    """
    existing = existing_parent(target)
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise InvalidInput(
            f"The disk of {existing} has {free / 1e9:.1f} GB free; the weights take {needed / 1e9:.1f} GB.",
            "target_dir",
        )


def on_one_disk(first: Path, second: Path) -> bool:
    """Whether what is written to one folder is missing in the other.

    A container's own layer and a folder that is mounted into it are two devices, and may be one disk all the
    same: then both tell the same sizes.
    """
    if first.stat().st_dev == second.stat().st_dev:
        return True
    one, other = os.statvfs(first), os.statvfs(second)
    sizes = [(disk.f_frsize, disk.f_blocks, disk.f_files) for disk in (one, other)]
    written_meanwhile = abs(one.f_bfree - other.f_bfree) / max(1, one.f_blocks)
    return sizes[0] == sizes[1] and written_meanwhile < 0.001


def existing_parent(target: Path) -> Path:
    """The nearest folder above that is there: on its disk the target will lie."""
    return next(folder for folder in target.absolute().parents if folder.exists())


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder to write into, which takes the target's place at the end; after an error nothing is left."""
    working = target.with_name(f".{target.name}.baking")
    shutil.rmtree(working, ignore_errors=True)  # of a bake that was killed
    working.mkdir(parents=True)
    try:
        yield working
        _move_into_place(working, target)
    finally:
        shutil.rmtree(working, ignore_errors=True)


def _move_into_place(working: Path, target: Path) -> None:
    if target.exists():
        old = target.with_name(f".{target.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
        working.rename(target)
        shutil.rmtree(old)
    else:
        working.rename(target)
