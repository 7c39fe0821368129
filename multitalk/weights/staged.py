"""Read tensors with threads: to a GPU through page-locked buffers, or into their place in host memory.

A buffer is copied to the GPU while the next ones are filled.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import torch

from ..errors import WeightsError
from .read_ahead import ReadAhead
from .tensor_files import DTYPES, StoredTensor

DtypeOf = Callable[[str], torch.dtype | None]
Layouts = Mapping[Path, list[StoredTensor]]

BUFFER_BYTES = 1 << 25
BUFFERS = 8


def read_staged(
    layouts: Layouts,
    device: torch.device,
    dtype_of: DtypeOf,
    read_ahead: ReadAhead,
    targets: Mapping[str, torch.Tensor],
    buffers: int = BUFFERS,
    size: int = BUFFER_BYTES,
) -> Iterator[tuple[str, torch.Tensor]]:
    """Read tensors with threads.

    Args:
        layouts: The tensors of each file.
        device: Of the tensors without a target. Their bytes are copied from page-locked buffers, and cast on
            the device.
        dtype_of: Returns the dtype of a tensor without a target by name; None keeps the file's.
        read_ahead: Prefetches the files.
        targets: By name: a contiguous tensor of the host with the dtype and shape of the stored one.
        buffers: Number of threads and of buffers.
        size: Bytes of each buffer.

    Yields:
        Name and tensor, in the order of the files.
    """
    ring = _Ring(read_ahead, device, buffers, size)
    empty = [stored for tensors in layouts.values() for stored in tensors if stored.info.nbytes == 0]
    for stored in empty:
        yield stored.name, torch.empty(stored.info.shape, dtype=DTYPES[stored.info.dtype], device=device)
    tensor: torch.Tensor | None = None
    for span, data in ring.fill(_spans(layouts, size, targets)):
        if span.target is not None:
            stored = span.tensors[-1]
            if span.end == stored.end:
                yield stored.name, targets[stored.name]
            continue
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


@dataclass(frozen=True)
class _Span:
    """A piece of a file that fits a buffer.

    Attributes:
        path: The file.
        start, end: Its bytes.
        tensors: The tensors that overlap it.
        target: Bytes of the host into which it is read; None: a buffer.
    """

    path: Path
    start: int
    end: int
    tensors: list[StoredTensor]
    target: torch.Tensor | None = None


def _spans(layouts: Layouts, size: int, targets: Mapping[str, torch.Tensor]) -> Iterator[_Span]:
    for path, tensors in ((path, run) for path, stored in layouts.items() for run in _runs(stored, targets)):
        begin, stop = tensors[0].start, tensors[-1].end
        target = targets.get(tensors[0].name)
        memory = None if target is None else target.reshape(-1).view(torch.uint8)
        first = 0
        for start in range(begin, stop, size):
            end = min(start + size, stop)
            while tensors[first].end <= start:
                first += 1
            last = first
            while last < len(tensors) and tensors[last].start < end:
                last += 1
            piece = None if memory is None else memory[start - begin : end - begin]
            yield _Span(path, start, end, tensors[first:last], piece)


def _runs(tensors: list[StoredTensor], targets: Mapping[str, torch.Tensor]) -> Iterator[list[StoredTensor]]:
    """Divide the tensors of a file into runs without gaps; each tensor with a target is a run."""
    first = 0
    for index in range(1, len(tensors) + 1):
        pair = tensors[index - 1 : index + 1]
        if len(pair) == 1 or pair[0].end != pair[1].start or any(stored.name in targets for stored in pair):
            yield tensors[first:index]
            first = index


class _Ring:
    """Threads that fill buffers, which the caller empties in order, and targets.

    Args:
        read_ahead: Prefetches the files.
        device: Where the bytes are copied. For a GPU the buffers are pinned, so that copying is asynchronous.
        buffers: Number of buffers.
        size: Bytes of each.
    """

    def __init__(self, read_ahead: ReadAhead, device: torch.device, buffers: int, size: int) -> None:
        self._read_ahead = read_ahead
        self._device = device
        self._size = size
        self._buffers: list[torch.Tensor] = []  # allocated for the first span without a target
        self._copied: list[torch.cuda.Event | None] = [None] * buffers
        self._pool = ThreadPoolExecutor(buffers, thread_name_prefix="weights")

    def fill(self, spans: Iterator[_Span]) -> Iterator[tuple[_Span, torch.Tensor]]:
        """Yield every span with its bytes, which must be copied before the next one is requested."""
        pending: list[tuple[_Span, int, Future[None]]] = []
        slots = cycle(range(len(self._copied)))
        try:
            for span in spans:
                if len(pending) == len(self._copied):
                    yield from self._take(pending)
                slot = next(slots) if span.target is None else -1
                memory = self._memory(span, slot)
                pending.append((span, slot, self._pool.submit(self._fill, span, slot, memory)))
            while pending:
                yield from self._take(pending)
        finally:
            self._pool.shutdown(cancel_futures=True)

    def _memory(self, span: _Span, slot: int) -> torch.Tensor:
        """Return the bytes into which a span is read."""
        if span.target is not None:
            return span.target
        if not self._buffers:
            pinned = self._device.type == "cuda"
            self._buffers = [
                torch.empty(self._size, dtype=torch.uint8, pin_memory=pinned) for _ in self._copied
            ]
        return self._buffers[slot][: span.end - span.start]

    def _take(self, pending: list[tuple[_Span, int, Future[None]]]) -> Iterator[tuple[_Span, torch.Tensor]]:
        span, slot, filled = pending.pop(0)
        with reading(span.path):
            filled.result()
        yield span, self._memory(span, slot)
        if span.target is None and self._device.type == "cuda":
            event = torch.cuda.Event()
            event.record(torch.cuda.current_stream(self._device))
            self._copied[slot] = event

    def _fill(self, span: _Span, slot: int, memory: torch.Tensor) -> None:
        event = self._copied[slot] if span.target is None else None
        if event is not None:
            event.synchronize()
        self._read_ahead.wait(span.path, span.start, span.end)
        descriptor = os.open(span.path, os.O_RDONLY)
        try:
            view = memory.numpy().data
            done = 0
            while done < len(view):
                count = os.preadv(descriptor, [view[done:]], span.start + done)
                if count == 0:
                    raise OSError(f"the file ends at byte {span.start + done}")
                done += count
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Name the file in errors of the system."""
    try:
        yield
    except OSError as error:
        raise WeightsError(f"Weights file {path} cannot be read: {error}.") from error
