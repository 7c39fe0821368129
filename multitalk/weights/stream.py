"""Read the tensors of safetensors files, one after another, at the speed of the disk.

For a CPU, a tensor is a private memory mapping of its file: nothing is copied, and changing the tensor does
not change the file. Threads read tensors for a GPU, and those that have a place in host memory (staged.py).
"""

from __future__ import annotations

import contextlib
import mmap
import os
import weakref
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import torch

from .read_ahead import READERS, ReadAhead
from .staged import DtypeOf, read_staged, reading
from .tensor_files import DTYPES, StoredTensor, read_layout

_PAGE = mmap.PAGESIZE
_POPULATE_READ = 22  # madvise on Linux 5.14 and newer: map pages in memory without a page fault each


def read_tensors(
    paths: Sequence[Path],
    device: torch.device | str,
    dtype_of: DtypeOf,
    read_ahead: ReadAhead | None = None,
    names: Collection[str] | None = None,
    targets: Mapping[str, torch.Tensor] | None = None,
) -> Iterator[tuple[str, torch.Tensor]]:
    """Read every tensor once; tensors that are read in the same way come in the order of the files.

    Args:
        paths: The files.
        device: Of the tensors.
        dtype_of: Returns the dtype of a tensor by name; None keeps the file's. Tensors are cast one at a
            time, and their originals are freed.
        read_ahead: Prefetches the files, if already started.
        names: Tensors to read; None reads all.
        targets: By name: contiguous tensors in host memory, into which a tensor that is stored with the same
            dtype and shape is read. Others of these names are read to the host.

    Yields:
        Name and tensor.

    Raises:
        WeightsError: A file is missing or damaged, or cannot be read.
    """
    stored = {path: read_layout(path) for path in paths}
    layouts = {path: _selected(tensors, names) for path, tensors in stored.items()}
    started = None
    if read_ahead is None or not all(read_ahead.has(path) for path in paths):
        # threads would also prefetch what is not selected; without them, a range is read when it is needed
        read_ahead = started = ReadAhead(paths, readers=READERS if layouts == stored else 0)
    device, targets = torch.device(device), targets or {}
    staged: dict[Path, list[StoredTensor]] = {}
    mapped: dict[Path, list[StoredTensor]] = {}
    for path, tensors in layouts.items():
        for tensor in tensors:
            by_threads = (
                _fits(tensor, targets[tensor.name]) if tensor.name in targets else device.type == "cuda"
            )
            (staged if by_threads else mapped).setdefault(path, []).append(tensor)
    host = torch.device("cpu") if device.type == "cuda" else device
    try:
        yield from read_staged(staged, device, dtype_of, read_ahead, targets)
        yield from _read_mapped(mapped, host, dtype_of, read_ahead)
    finally:
        if started is not None:
            started.stop()


def _selected(tensors: list[StoredTensor], names: Collection[str] | None) -> list[StoredTensor]:
    return tensors if names is None else [stored for stored in tensors if stored.name in names]


def _fits(stored: StoredTensor, target: torch.Tensor) -> bool:
    return DTYPES[stored.info.dtype] == target.dtype and stored.info.shape == tuple(target.shape)


def _read_mapped(
    layouts: dict[Path, list[StoredTensor]], device: torch.device, dtype_of: DtypeOf, read_ahead: ReadAhead
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield tensors that are mappings of their files, except for those that are cast or moved."""
    for path, tensors in layouts.items():
        with reading(path):
            mapping = _map(path)
        previous: tuple[weakref.ref[torch.Tensor], StoredTensor] | None = None
        for stored in tensors:
            if stored.info.nbytes == 0:
                yield stored.name, stored.info.meta().new_empty(stored.info.shape, device=device)
                continue
            with reading(path):
                read_ahead.wait(path, stored.start, stored.end)
            mapped = _view(mapping, stored)
            tensor = mapped.to(device, dtype_of(stored.name) or mapped.dtype)
            _advise(mapping, stored, _POPULATE_READ if tensor is mapped else mmap.MADV_DONTNEED)
            del mapped
            yield stored.name, tensor
            # the caller has dropped the previous tensor, for example after quantizing it
            if previous is not None and previous[0]() is None:
                _advise(mapping, previous[1], mmap.MADV_DONTNEED)
            previous = weakref.ref(tensor), stored
            del tensor


def _map(path: Path) -> mmap.mmap:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return mmap.mmap(descriptor, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    finally:
        os.close(descriptor)


def _view(mapping: mmap.mmap, stored: StoredTensor) -> torch.Tensor:
    raw = torch.frombuffer(mapping, dtype=torch.uint8, count=stored.info.nbytes, offset=stored.start)
    return raw.view(DTYPES[stored.info.dtype]).view(stored.info.shape)


def _advise(mapping: mmap.mmap, stored: StoredTensor, advice: int) -> None:
    """Advise the kernel about a tensor's pages, except for pages shared with a neighbor."""
    start, end = -(-stored.start // _PAGE) * _PAGE, stored.end // _PAGE * _PAGE
    if end > start:
        with contextlib.suppress(OSError):  # an older kernel, which manages the pages without advice
            mapping.madvise(advice, start, end - start)
