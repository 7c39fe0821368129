"""The decoder process, in which the files of requests are decoded: it can be limited and ended.

:mod:`.decoder_process` starts it as ``python -m multitalk.media.decoder SOCKET``. It takes one job after
another over the socket, imports only the decoding libraries, and ends with its parent process.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import socket
import sys
import threading
import traceback
from math import ceil
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import InvalidInput
from ..runtime.environment import set_variables
from .decoder_messages import LENGTH, OUT_OF_MEMORY, pack, parse, shared_file
from .decoder_tasks import TASKS, Payload, holds_video, import_libraries

IDLE_SECONDS = 300.0  # an unused decoder ends, and the next file starts another
PER_CPU = 16 << 20  # bytes of address space: decoders start a thread per CPU, each with a stack


def main() -> None:
    """Run jobs until the parent process closes the socket."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # if Linux runs out of memory, it ends this process before the one with the models
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("800")
    threading.Thread(target=_end_with_parent, args=(connection,), daemon=True).start()
    _preload()
    try:
        connection.sendall(pack({}))
        while _run_next(connection):
            pass
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except OSError:  # the parent has ended
        pass


def _end_with_parent(connection: socket.socket) -> None:
    """End this process as soon as the other end of the socket is closed, even during a job."""
    poll = select.poll()
    poll.register(connection, 0)  # reports only a closed connection
    poll.poll()
    os._exit(1)


def _preload() -> None:
    """Import what every job needs, so that its limit of memory does not include it."""
    import numpy  # noqa: F401
    from PIL import Image

    Image.preinit()


def _run_next(connection: socket.socket) -> bool:
    """Take a job, run it and send the reply; return False when idle for too long."""
    connection.settimeout(None if holds_video() else IDLE_SECONDS)
    try:
        head, descriptors, _, _ = socket.recv_fds(connection, LENGTH.size, 1, socket.MSG_WAITALL)
    except TimeoutError:
        return False
    connection.settimeout(None)
    if len(head) < LENGTH.size:
        return False
    job = parse(_receive(connection, LENGTH.unpack(head)[0]))
    with os.fdopen(descriptors[0], "rb") as file:
        file.seek(0)
        reply, payload = _run(job, file)
    message = pack(reply | {"bytes": len(payload)})
    if not len(payload):
        connection.sendall(message)
        return True
    with shared_file(payload) as shared:
        sent = socket.send_fds(connection, [message], [shared.fileno()])
    connection.sendall(message[sent:])
    return True


def _run(job: dict[str, Any], file: BinaryIO) -> tuple[dict[str, Any], Payload]:
    """Run a job within its limits."""
    set_variables(MAX_AUDIO_SECONDS=str(job["max_audio_seconds"]))
    import_libraries(job["task"])
    _limit(job["seconds"], job["memory"])
    try:
        return TASKS[job["task"]](file, job["name"], job["field"], **job.get("options", {}))
    except InvalidInput as error:
        if _is_out_of_memory(error):
            return {"failure": "memory"}, b""
        return {"error": str(error), "field": error.field}, b""
    except MemoryError:
        return {"failure": "memory"}, b""
    except Exception:  # decoders raise many types of errors on arbitrary bytes
        return {"failure": "crash", "trace": traceback.format_exc()}, b""
    finally:
        _limit(None, None)


def _limit(seconds: float | None, memory: int | None) -> None:
    """Set this job's limits of processor time and, on Linux, of memory; macOS does not limit memory.

    The system ends the process with SIGXCPU when the time is over; an allocation beyond the memory fails.

    Args:
        seconds: Processor time; None: no limit.
        memory: Bytes in addition to what the process uses now; None: no limit.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    time = most if seconds is None else ceil(used.ru_utime + used.ru_stime + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (time, most))
    if sys.platform == "linux":
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        space = pages * resource.getpagesize() + PER_CPU * (os.cpu_count() or 1)
        resource.setrlimit(resource.RLIMIT_AS, (most if memory is None else space + memory, most))


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether an error was raised because an allocation failed."""
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _receive(connection: socket.socket, count: int) -> bytearray:
    data = bytearray(count)
    view = memoryview(data)
    while view:
        received = connection.recv_into(view)
        if not received:
            raise OSError("the parent has ended")
        view = view[received:]
    return data


if __name__ == "__main__":
    main()
