"""A network with only a loopback device, isolated from all others."""

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
# brings the loopback device up (SIOCSIFFLAGS: IFF_UP | IFF_RUNNING), reports it, and keeps the namespace
_HOLD = """
import fcntl, socket, struct, sys
with socket.socket() as s:
    fcntl.ioctl(s, 0x8914, struct.pack("16sh", b"lo", 0x41))
print("up", flush=True)
sys.stdin.read()
"""


class LoopbackNetwork:
    """A new network namespace, as a context."""

    def __enter__(self) -> LoopbackNetwork:
        self._holder = subprocess.Popen(
            ["unshare", "--net", sys.executable, "-c", _HOLD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "up\n", "cannot create a network namespace"
        return self

    def __exit__(self, *error: object) -> None:
        self._holder.terminate()
        self._holder.wait()

    def command(self, arguments: list[str]) -> list[str]:
        """Return a command that runs in the namespace."""
        return ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net", *arguments]

    def run(self, function: Callable[[], Result]) -> Result:
        """Call a function in the namespace, such as a request to a server."""
        results: list[Result] = []
        errors: list[BaseException] = []

        def call() -> None:
            try:
                # only this thread enters the namespace
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
