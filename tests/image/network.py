"""A network of one loopback device: what runs in it reaches nobody else."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

_CLONE_NEWNET = 0x40000000
# brings the loopback device up (SIOCSIFFLAGS: IFF_UP | IFF_RUNNING), says so, and keeps the namespace
_HOLD = """
import fcntl, socket, struct, sys
with socket.socket() as s:
    fcntl.ioctl(s, 0x8914, struct.pack("16sh", b"lo", 0x41))
print("up", flush=True)
sys.stdin.read()
"""


class LoopbackNetwork:
    """A network namespace of its own; use it as a context."""

    def __enter__(self) -> LoopbackNetwork:
        self._holder = subprocess.Popen(
            ["unshare", "--net", sys.executable, "-c", _HOLD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "up\n", "no network namespace can be made"
        return self

    def __exit__(self, *error: object) -> None:
        self._holder.terminate()
        self._holder.wait()

    def command(self, arguments: list[str]) -> list[str]:
        """A command that runs in it."""
        return ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net", *arguments]

    def run(self, function: Callable[[], Result]) -> Result:
        """Call a function in it, such as one that asks a server."""
        results: list[Result] = []
        errors: list[BaseException] = []

        def call() -> None:
            try:
                # the namespace is a thread's own
                file = os.open(f"/proc/{self._holder.pid}/ns/net", os.O_RDONLY)
                if ctypes.CDLL(None, use_errno=True).setns(file, _CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
                os.close(file)
                results.append(function())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]
