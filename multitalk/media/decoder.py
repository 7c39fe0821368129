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
from collections.abc import Callable
from dataclasses import asdict
from math import ceil
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import InvalidInput
from ..runtime.environment import set_variables
from .decoder_messages import LENGTH, OUT_OF_MEMORY, pack, parse, shared_file

IDLE_SECONDS = 300.0  # an unused decoder ends, and the next file starts another
MAX_SCANS = 100  # progressive JPEGs have about 10, and a file may contain several images
PER_CPU = 16 << 20  # bytes of address space: decoders start a thread per CPU, each with a stack

Payload = Any  # bytes-like
Task = Callable[..., tuple[dict[str, Any], Payload]]


def measure_picture(file: BinaryIO, name: str, field: str) -> tuple[dict[str, Any], Payload]:
    """Return the decoded size in bytes that an image's header announces; 0 if it cannot be read.

    Raises:
        InvalidInput: The image has so many scans that decoding takes minutes.
    """
    import warnings

    from .picture_formats import open_picture

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with open_picture(file) as picture:
                size = picture.width * picture.height * 4  # PIL uses 4 bytes for RGB too
                is_jpeg = picture.format in ("JPEG", "MPO")
        except Exception:  # decoding gives the error
            return {"bytes": 0}, b""
    if is_jpeg:
        _check_scans(file, name, field)
    return {"bytes": size}, b""


def _check_scans(file: BinaryIO, name: str, field: str) -> None:
    """Check the number of a JPEG's scans, each of which costs as much time as a whole baseline image."""
    file.seek(0)
    scans = file.read().count(b"\xff\xda")  # these bytes are always a marker
    if scans > MAX_SCANS:
        raise InvalidInput(
            f"{field} ({name}) has {scans} JPEG scans, but at most {MAX_SCANS} are supported. Save it again.",
            field,
        )


def measure_sound(file: BinaryIO, name: str, field: str) -> tuple[dict[str, Any], Payload]:
    """Return the decoded size in bytes that the header of audio announces; 0 if it cannot be read."""
    import av
    import soundfile

    from .ffmpeg_decoding import CONTAINERS

    with contextlib.suppress(Exception), soundfile.SoundFile(file) as reader:
        return {"bytes": reader.frames * reader.channels * 4}, b""
    file.seek(0)
    options = {"format_whitelist": CONTAINERS}
    with (
        contextlib.suppress(Exception),
        av.open(file, "r", options=options, metadata_errors="replace") as container,
    ):
        stream = next(each for each in container.streams.audio if each.codec_context is not None)
        seconds = float((container.duration or 0) / av.time_base)
        return {"bytes": int(seconds * stream.rate * stream.channels) * 4}, b""
    return {"bytes": 0}, b""


def picture(file: BinaryIO, name: str, field: str) -> tuple[dict[str, Any], Payload]:
    """Decode an image to RGB."""
    from .picture_decoding import decode_picture

    decoded = decode_picture(file, name, field)
    return {"size": decoded.size}, decoded.tobytes()


def sound(file: BinaryIO, name: str, field: str, max_seconds: float | None) -> tuple[dict[str, Any], Payload]:
    """Decode audio to float32."""
    import numpy as np

    from .sound import check_finite
    from .sound_decoding import decode_sound

    decoded = decode_sound(file, name, field, max_seconds=max_seconds)
    check_finite(decoded.samples, field)
    samples = np.ascontiguousarray(decoded.samples, np.float32)
    return {"shape": samples.shape, "rate": decoded.rate, "warnings": decoded.warnings}, samples.data.cast(
        "B"
    )


def sound_length(
    file: BinaryIO, name: str, field: str, max_seconds: float | None
) -> tuple[dict[str, Any], Payload]:
    """Decode audio and return only its length, for a check that needs no samples."""
    reply, _ = sound(file, name, field, max_seconds)
    return reply, b""


def inspection(file: BinaryIO, name: str, field: str, trusted: str) -> tuple[dict[str, Any], Payload]:
    """Read what a video says about its origin; see :func:`.inspection.inspect_video`."""
    from .inspection import read_inspection

    return read_inspection(file, trusted), b""


def measure_video(file: BinaryIO, name: str, field: str) -> tuple[dict[str, Any], Payload]:
    """Return a frame's size in bytes at most; decoding checks it."""
    from .video_decoding import MAX_PIXELS

    return {"bytes": 4 * MAX_PIXELS}, b""


def video(file: BinaryIO, name: str, field: str) -> tuple[dict[str, Any], Payload]:
    """Check a video: its length, and its first frame as RGB."""
    from .video_decoding import Source, VideoFrames
    from .video_length import measure_length

    source = Source(file, name, field)
    length = measure_length(source)
    frames = VideoFrames(source)
    try:
        picture = frames.picture()
    finally:
        frames.close()
    return {"size": picture.size, **asdict(length)}, picture.tobytes()


def video_frame(
    file: BinaryIO,
    name: str,
    field: str,
    key: str,
    number: int | None,
    seconds: float | None,
    known: int | None,
    start: float = 0.0,
) -> tuple[dict[str, Any], Payload]:
    """Decode a frame of a video, and keep the video open for the next frame.

    Args:
        file: The video.
        name: What it is called in errors.
        field: The request's field, for errors.
        key: Identifies the reader of the video.
        number: Number of the frame.
        seconds: Instead, a time after the first frame.
        known: Number of the frame that the reader has; its pixels are not sent again.
        start: No earlier frame will be read: seconds after the first frame.
    """
    from .video_decoding import Source, held_video

    frames = held_video.at(Source(file, name, field), key, number, seconds, start)
    reply = {"number": frames.number, "is_damaged": frames.is_damaged}
    if frames.number == known:
        return reply, b""
    picture = frames.picture()
    return reply | {"size": picture.size}, picture.tobytes()


def video_cuts(
    file: BinaryIO, name: str, field: str, number: int | None, seconds: float | None
) -> tuple[dict[str, Any], Payload]:
    """Find the cuts of a video up to a position; see :func:`.scene_detection.find_cuts`."""
    from .scene_detection import find_cuts
    from .video_decoding import Source, VideoFrames

    frames = VideoFrames(Source(file, name, field))
    try:
        return {"cuts": [asdict(cut) for cut in find_cuts(frames, number, seconds)]}, b""
    finally:
        frames.close()


TASKS: dict[str, Task] = {
    task.__name__: task
    for task in (
        *(measure_picture, measure_sound, measure_video),
        *(inspection, picture, sound, sound_length, video, video_cuts, video_frame),
    )
}


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
    connection.settimeout(None if _holds_video() else IDLE_SECONDS)
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


def _holds_video() -> bool:
    """Return whether a reader of a video may want its next frame, even if clips take minutes."""
    decoding = sys.modules.get(f"{__package__}.video_decoding")
    return decoding is not None and decoding.held_video.is_open


def _run(job: dict[str, Any], file: BinaryIO) -> tuple[dict[str, Any], Payload]:
    """Run a job within its limits."""
    set_variables(MAX_AUDIO_SECONDS=str(job["max_audio_seconds"]))
    _import_libraries(job["task"])
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


def _import_libraries(task: str) -> None:
    if task.endswith("picture"):
        from . import picture_decoding  # noqa: F401
    elif task == "inspection":
        import c2pa  # noqa: F401

        from . import inspection, video_decoding  # noqa: F401
    elif task == "video_cuts":
        from . import scene_detection, video_decoding  # noqa: F401
    elif task.endswith(("video", "frame")):
        from . import video_decoding  # noqa: F401
    else:
        import av  # noqa: F401
        import soundfile  # noqa: F401

        from . import sound_decoding  # noqa: F401


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
