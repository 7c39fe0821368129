"""Messages between this process and its decoder processes: JSON with its length in front, and open files."""

from __future__ import annotations

import json
import os
import struct
import tempfile
from typing import Any, BinaryIO

LENGTH = struct.Struct("<I")
OUT_OF_MEMORY = 3  # exit status of a decoder process without memory for a reply


def pack(message: dict[str, Any]) -> bytes:
    """Return a message's bytes."""
    body = json.dumps(message).encode()
    return LENGTH.pack(len(body)) + body


def parse(body: bytes | bytearray) -> dict[str, Any]:
    """Return the message in the bytes after its length."""
    message: dict[str, Any] = json.loads(body)
    return message


def shared_file(data: Any) -> BinaryIO:
    """Write bytes to a file in shared memory (macOS: an unnamed temporary file) and return it open."""
    if hasattr(os, "memfd_create"):
        file: Any = os.fdopen(os.memfd_create("multitalk"), "w+b", buffering=0)
    else:
        file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
    return file
