"""Read the tensors of safetensors files, one after another, at the speed of the disk.

For a CPU, a tensor is a private memory mapping of its file: nothing is copied, and changing the tensor does
not change the file. For a GPU, threads read into pinned buffers, which are copied to the GPU while the next
ones are filled.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import WeightsError
from .read_ahead import READERS, ReadAhead
from .tensor_files import DTYPES, StoredTensor, read_layout

DtypeOf = Callable[[str], torch.dtype | None]

BUFFER_BYTES = 1 << 25
BUFFERS = 8
_PAGE = mmap.PAGESIZE
_POPULATE_READ = 22  # madvise on Linux 5.14 and newer: map pages in memory without a page fault each


def read_tensors(
    paths: Sequence[Path],
    device: torch.device | str,
    dtype_of: DtypeOf,
    read_ahead: ReadAhead | None = None,
    names: Collection[str] | None = None,
) -> Iterator[tuple[str, torch.Tensor]]:
    """Read every tensor once, in the order of the files.

    Args:
        paths: The files.
        device: Of the tensors.
        dtype_of: Returns the dtype of a tensor by name; None keeps the file's. Tensors are cast one at a
            time, and their originals are freed.
        read_ahead: Prefetches the files, if already started.
        names: Tensors to read; None reads all.

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
    read = _read_staged if torch.device(device).type == "cuda" else _read_mapped
    try:
        yield from read(layouts, torch.device(device), dtype_of, read_ahead)
    finally:
        if started is not None:
            started.stop()


def _selected(tensors: list[StoredTensor], names: Collection[str] | None) -> list[StoredTensor]:
    return tensors if names is None else [stored for stored in tensors if stored.name in names]


def _read_mapped(
    layouts: dict[Path, list[StoredTensor]], device: torch.device, dtype_of: DtypeOf, read_ahead: ReadAhead
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield tensors that are mappings of their files, except for those that are cast or moved."""
    for path, tensors in layouts.items():
        with _reading(path):
            mapping = _map(path)
        previous: tuple[weakref.ref[torch.Tensor], StoredTensor] | None = None
        for stored in tensors:
            if stored.info.nbytes == 0:
                yield stored.name, stored.info.meta().new_empty(stored.info.shape, device=device)
                continue
            with _reading(path):
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


@dataclass(frozen=True)
class _Span:
    """A piece of a file that fits a buffer, and the tensors that overlap it."""

    path: Path
    start: int
    end: int
    tensors: list[StoredTensor]


def _spans(layouts: dict[Path, list[StoredTensor]], size: int) -> Iterator[_Span]:
    for path, tensors in ((path, run) for path, stored in layouts.items() for run in _runs(stored)):
        begin, stop = tensors[0].start, tensors[-1].end
        first = 0
        for start in range(begin, stop, size):
            end = min(start + size, stop)
            while tensors[first].end <= start:
                first += 1
            last = first
            while last < len(tensors) and tensors[last].start < end:
                last += 1
            yield _Span(path, start, end, tensors[first:last])


def _runs(tensors: list[StoredTensor]) -> Iterator[list[StoredTensor]]:
    """Divide the selected tensors of a file into runs without gaps."""
    first = 0
    for index in range(1, len(tensors) + 1):
        if index == len(tensors) or tensors[index].start != tensors[index - 1].end:
            yield tensors[first:index]
            first = index


class _Ring:
    """Buffers that threads fill and the caller empties in order.

    Args:
        read_ahead: Prefetches the files.
        device: Where the bytes are copied. For a GPU the buffers are pinned, so that copying is asynchronous.
        buffers: Number of buffers.
        size: Bytes of each.
    """

    def __init__(self, read_ahead: ReadAhead, device: torch.device, buffers: int, size: int) -> None:
        self._read_ahead = read_ahead
        self._device = device
        pinned = device.type == "cuda"
        self._buffers = [torch.empty(size, dtype=torch.uint8, pin_memory=pinned) for _ in range(buffers)]
        self._copied: list[torch.cuda.Event | None] = [None] * buffers
        self._pool = ThreadPoolExecutor(buffers, thread_name_prefix="weights")

    def fill(self, spans: Iterator[_Span]) -> Iterator[tuple[_Span, torch.Tensor]]:
        """Yield every span with its bytes, which must be copied before the next one is requested."""
        pending: list[tuple[_Span, int, Future[None]]] = []
        try:
            for number, span in enumerate(spans):
                if len(pending) == len(self._buffers):
                    yield from self._take(pending)
                slot = number % len(self._buffers)
                pending.append((span, slot, self._pool.submit(self._fill, span, slot)))
            while pending:
                yield from self._take(pending)
        finally:
            self._pool.shutdown(cancel_futures=True)

    def _take(self, pending: list[tuple[_Span, int, Future[None]]]) -> Iterator[tuple[_Span, torch.Tensor]]:
        span, slot, filled = pending.pop(0)
        with _reading(span.path):
            filled.result()
        yield span, self._buffers[slot][: span.end - span.start]
        if self._device.type == "cuda":
            event = torch.cuda.Event()
            event.record(torch.cuda.current_stream(self._device))
            self._copied[slot] = event

    def _fill(self, span: _Span, slot: int) -> None:
        event = self._copied[slot]
        if event is not None:
            event.synchronize()
        self._read_ahead.wait(span.path, span.start, span.end)
        descriptor = os.open(span.path, os.O_RDONLY)
        try:
            view = self._buffers[slot].numpy()[: span.end - span.start].data
            done = 0
            while done < len(view):
                count = os.preadv(descriptor, [view[done:]], span.start + done)
                if count == 0:
                    raise OSError(f"the file ends at byte {span.start + done}")
                done += count
        finally:
            os.close(descriptor)


def _read_staged(
    layouts: dict[Path, list[StoredTensor]],
    device: torch.device,
    dtype_of: DtypeOf,
    read_ahead: ReadAhead,
    buffers: int = BUFFERS,
    size: int = BUFFER_BYTES,
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield tensors on a GPU, copied from pinned buffers and cast on the GPU."""
    ring = _Ring(read_ahead, device, buffers, size)
    empty = [stored for tensors in layouts.values() for stored in tensors if stored.info.nbytes == 0]
    for stored in empty:
        yield stored.name, torch.empty(stored.info.shape, dtype=DTYPES[stored.info.dtype], device=device)
    tensor: torch.Tensor | None = None
    for span, data in ring.fill(_spans(layouts, size)):
        for stored in span.tensors:
            if stored.info.nbytes == 0:
                continue
            if tensor is None:
                tensor = torch.empty(stored.info.nbytes, dtype=torch.uint8, device=device)
            start, end = max(stored.start, span.start), min(stored.end, span.end)
            source = data[start - span.start : end - span.start]
            tensor[start - stored.start : end - stored.start].copy_(
                source, non_blocking=device.type == "cuda"
            )
            if end == stored.end:
                whole = tensor.view(DTYPES[stored.info.dtype]).view(stored.info.shape)
                tensor = None
                yield stored.name, whole.to(dtype_of(stored.name) or whole.dtype)
                del whole


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WeightsError(f"Weights file {path} cannot be read: {error}.") from error
