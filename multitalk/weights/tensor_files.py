"""Read and write safetensors files one tensor at a time, without holding a whole file in memory."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from ..errors import WeightsError

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}

# The format's limit is ten times as large; a file of these models has a header of a few hundred kilobytes.
_MAX_HEADER_BYTES = 10_000_000


@dataclass(frozen=True)
class TensorInfo:
    """Dtype and shape of a tensor.

    Attributes:
        dtype: In the notation of safetensors, such as "BF16".
        shape: Its shape.
    """

    dtype: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, tensor: torch.Tensor) -> TensorInfo:
        """Describe a tensor, on any device including meta."""
        return cls(DTYPE_NAMES[tensor.dtype], tuple(tensor.shape))

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return DTYPES[self.dtype].itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return math.prod(self.shape) * self.itemsize

    def meta(self) -> torch.Tensor:
        """Return a tensor of this dtype and shape on the meta device."""
        return torch.empty(self.shape, dtype=DTYPES[self.dtype], device="meta")


class TensorSource(Protocol):
    """Named tensors in files, read one at a time."""

    def keys(self) -> list[str]:
        """List the names, in an order that reads each file once from front to back."""

    def info(self, key: str) -> TensorInfo:
        """Return dtype and shape of a tensor without reading its values."""

    def get(self, key: str) -> torch.Tensor:
        """Read a tensor."""

    def file_of(self, key: str) -> Path:
        """Return the file that contains a tensor."""

    def files(self) -> list[Path]:
        """List the files."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor's place in a file.

    Attributes:
        name: Its name.
        info: Its dtype and shape.
        start: Its first byte in the file.
    """

    name: str
    info: TensorInfo
    start: int

    @property
    def end(self) -> int:
        """The byte after its last byte."""
        return self.start + self.info.nbytes


def read_layout(path: Path) -> list[StoredTensor]:
    """Read the header of a safetensors file and check that the file is complete.

    Returns:
        The tensors, in the order of the file.

    Raises:
        WeightsError: The file is missing, truncated or not a safetensors file.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length <= _MAX_HEADER_BYTES:
                raise ValueError("its header is invalid")
            stored = _parse_header(file.read(length), 8 + length)
    except FileNotFoundError:
        raise WeightsError(f"Weights file {path} is missing.", path) from None
    except (OSError, ValueError, RecursionError) as error:  # RecursionError: deeply nested JSON
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise WeightsError(f"Weights file {path} cannot be read as safetensors: {reason}.", path) from None
    size = path.stat().st_size
    end = stored[-1].end if stored else 8 + length
    if size != end:
        raise WeightsError(f"Weights file {path} has {size} bytes, but must have {end}.", path)
    return stored


def _parse_header(data: bytes, start: int) -> list[StoredTensor]:
    """Parse a header; the values begin at byte `start`.

    Raises:
        ValueError, RecursionError: It is malformed.
    """
    header = json.loads(data)
    if not isinstance(header, dict):
        raise ValueError("the header is not a JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata is not a JSON object of texts")
    tensors: list[tuple[list[int], StoredTensor]] = []
    for key, entry in header.items():
        key.encode()  # a lone surrogate cannot be shown in an error
        if not isinstance(entry, dict):
            raise ValueError(f"the entry of {key[:80]} is not a JSON object")
        dtype, shape, offsets = (
            entry.get("dtype"),
            _sizes(entry.get("shape")),
            _sizes(entry.get("data_offsets")),
        )
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise ValueError(f"{key[:80]} has an unknown dtype")
        if len(offsets) != 2:
            raise ValueError(f"{key[:80]} has {len(offsets)} offsets instead of 2")
        tensors.append((offsets, StoredTensor(key, TensorInfo(dtype, tuple(shape)), start + offsets[0])))
    tensors.sort(key=lambda entry: entry[0])
    end = start
    for offsets, tensor in tensors:
        if tensor.start != end or tensor.end != start + offsets[1]:
            raise ValueError(f"the offsets of {tensor.name[:80]} do not match its shape or its neighbors")
        end = tensor.end
    return [tensor for _, tensor in tensors]


def _sizes(value: Any) -> list[int]:
    if not isinstance(value, list) or not all(type(size) is int and 0 <= size < 2**63 for size in value):
        raise ValueError("a shape or an offset is not a list of whole numbers")
    return value


def read_header(path: Path) -> dict[str, TensorInfo]:
    """Read dtypes and shapes of a safetensors file's tensors; see :func:`read_layout`."""
    return {tensor.name: tensor.info for tensor in read_layout(path)}


def read_metadata(path: Path) -> dict[str, str]:
    """Read the texts that a complete file has in its header besides the tensors."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    metadata = header.get("__metadata__")
    entries = metadata.items() if isinstance(metadata, dict) else ()
    return {name: text for name, text in entries if isinstance(text, str)}


class SafetensorsSource:
    """Tensors of one or several safetensors files, of which one at a time is open.

    Args:
        locations: File of each tensor.

    Raises:
        WeightsError: A file is missing or damaged, or lacks a tensor.
    """

    def __init__(self, locations: Mapping[str, Path]) -> None:
        self._locations = dict(locations)
        self._infos: dict[str, TensorInfo] = {}
        for path in self.files():
            header = read_header(path)
            self._infos |= {key: header[key] for key in header if self._locations.get(key) == path}
        for key, path in self._locations.items():
            if key not in self._infos:
                raise WeightsError(f"Weights file {path} lacks a tensor: {key}.")
        self._open_path: Path | None = None
        self._handle: Any = None

    @classmethod
    def of_file(cls, path: Path) -> SafetensorsSource:
        """Open all tensors of one file."""
        return cls.of_files([path])

    @classmethod
    def of_files(cls, paths: Iterable[Path]) -> SafetensorsSource:
        """Open all tensors of several files."""
        return cls({key: path for path in paths for key in read_header(path)})

    def keys(self) -> list[str]:
        """List the names, file by file."""
        return list(self._infos)

    def info(self, key: str) -> TensorInfo:
        """Return dtype and shape of a tensor."""
        return self._infos[key]

    def file_of(self, key: str) -> Path:
        """Return the file that contains a tensor."""
        return self._locations[key]

    def files(self) -> list[Path]:
        """List the files."""
        return sorted(set(self._locations.values()))

    def get(self, key: str) -> torch.Tensor:
        """Read a tensor as a private mapping of the file; writing to it does not change the file."""
        from safetensors import SafetensorError, safe_open

        path = self._locations[key]
        try:
            if path != self._open_path:
                self._handle = None  # unmap the previous file first
                self._handle, self._open_path = safe_open(path, framework="pt"), path
            return self._handle.get_tensor(key)
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"Weights file {path} cannot be read: {error}.", path) from error


def write_safetensors(
    path: Path, infos: Mapping[str, TensorInfo], tensors: Iterable[tuple[str, torch.Tensor]]
) -> str:
    """Write a safetensors file from a stream of tensors, holding one at a time.

    Args:
        path: The new file.
        infos: The tensors in order, with wider dtypes first, so that every tensor is aligned.
        tensors: The same names in the same order, on the CPU, with these dtypes and shapes.

    Returns:
        The file's sha256.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for key, info in infos.items():
        end = offset + info.nbytes
        header[key] = {"dtype": info.dtype, "shape": list(info.shape), "data_offsets": [offset, end]}
        offset = end
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    digest = hashlib.sha256()
    expected = iter(infos.items())
    with path.open("xb") as file:
        for chunk in (len(encoded).to_bytes(8, "little"), encoded):
            file.write(chunk)
            digest.update(chunk)
        for key, tensor in tensors:
            if (key, TensorInfo.of(tensor)) != next(expected, None):
                raise ValueError(f"tensor {key} differs from the header of {path.name}")
            data = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data
            file.write(data)
            digest.update(data)
        if next(expected, None) is not None:
            raise ValueError(f"{path.name} is incomplete")
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()
