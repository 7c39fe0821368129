"""Deliver a video: to a bucket, in the output if it fits, otherwise on the network volume."""

from __future__ import annotations

import base64
import contextlib
import errno
import logging
import math
import os
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..media.fragments import split_clip, write_clip, write_preview
from ..media.xmp import save_png
from .answers import Undelivered, encoded_size, success
from .bucket import Bucket, BucketError, Patience
from .log import log_event
from .worker_settings import WorkerSettings

if TYPE_CHECKING:
    from PIL import Image

    from ..pipeline.results import Clip, GenerationResult, Preview

# RunPod's limit for a streamed message, and the bytes whose base64 with the other fields stays below it.
MESSAGE_LIMIT = 1_000_000
MESSAGE_BYTES = 735_000
MAX_FRAME_BYTES = 3_000_000  # of a last frame in one output; the rest is for the video
PART_CHARACTERS = 980_000  # a multiple of 4: every part is valid base64
# Share of the output's size limit that streamed clips may use; the whole video must still fit.
CLIPS_SHARE = 0.5
PREVIEWS_SHARE = 0.1  # of previews; later ones are left out
# The final size is extrapolated from the frames so far; only a clear excess stops a job.
CLEAR_EXCESS = 1.2
BASE64 = 4 / 3
# How long to wait for a bucket that is temporarily not available: before the job and during it, when waiting
# delays the models, and with a finished video that could also be delivered another way.
CLIP_SECONDS, VIDEO_SECONDS = 10.0, 300.0
ELSEWHERE = "set the BUCKET_* variables, attach a network volume to the endpoint"

Emit = Callable[[dict[str, Any]], None]


class JobDelivery:
    """Deliver the clips and the video of one job; used from the job's thread.

    Args:
        settings: The worker's settings.
        bucket: Where files are uploaded, or None.
        job_id: The job.
        folder: The job's temporary folder.
        fps: Frames per second.
        emit: Sends a message of a streaming worker; None for a worker that returns one output.
        on_url: Called with the number and the URL of each uploaded clip.
        cancel: Set when the job is cancelled: ends the waiting for the bucket.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        bucket: Bucket | None,
        job_id: str,
        folder: Path,
        fps: int,
        emit: Emit | None,
        on_url: Callable[[int, str], None],
        cancel: threading.Event | None = None,
    ) -> None:
        self._cancel = cancel or threading.Event()
        self._settings, self._bucket, self._folder = settings, bucket, folder
        self._job_id, self._fps, self._emit, self._on_url = job_id, fps, emit, on_url
        self._name = safe_name(job_id)
        self._limit = settings.answer_limit(job_id)
        self._sent = 0  # bytes of messages so far: /run and /runsync return all of them together
        self._previewed = 0  # bytes of the previews among them
        self._problem: BucketError | None = None
        self._clips_arrive = True

    def start(self) -> None:
        """Check the bucket before the job starts.

        If the check fails, clips are delivered another way, and the upload of the video is still tried.
        """
        if self._bucket is None:
            return
        self._problem = None
        try:
            self._bucket.check(f"{self._name}/video.mp4", self._patience(CLIP_SECONDS))
        except BucketError as error:
            self._note_problem(error)

    def clip(self, clip: Clip) -> None:
        """Deliver a finished clip, if clips are enabled.

        Raises:
            Undelivered: The video will be too large for the output, and there is no other place for it.
        """
        if self._bucket is not None and self._problem is None:
            self._upload_clip(clip, self._bucket)
            return
        if self._emit is not None:
            self._stream_clip(clip)
        if self._settings.output_root is None:
            self._check_expected_size(clip)

    def preview(self, preview: Preview) -> None:
        """Stream a preview, if it is small enough."""
        path = self._folder / "preview.mp4"
        write_preview(preview, path)
        message = {"type": "preview", "clip": preview.clip, "step": preview.step, "steps": preview.steps}
        message |= {"frames": len(preview.frames), "fps": float(preview.fps)}
        message["video_base64"] = base64.b64encode(path.read_bytes()).decode()
        path.unlink()
        size = encoded_size(message)
        if size <= MESSAGE_LIMIT and self._previewed + size <= self._limit * PREVIEWS_SHARE:
            self._previewed += size
            self._send(message)

    def finish(
        self, result: GenerationResult, filename: str, to_volume: bool = False, with_frame: bool = False
    ) -> dict[str, Any]:
        """Deliver the video.

        Args:
            result: The finished file.
            filename: Its name in the output.
            to_volume: Save it on the network volume, and answer with its path.
            with_frame: Also deliver the last frame as a PNG file.

        Returns:
            The output.

        Raises:
            Undelivered: The video could not be delivered; the message says where it is.
        """
        answer = success(result, self._fps, filename)
        if with_frame and result.last_frame is not None:
            answer |= self._last_frame(result.last_frame)
        if to_volume:
            try:
                return answer | {"video_path": str(self._save(result.path))}
            except OSError as error:
                answer["warning"] = f"The video could not be saved on the network volume ({error.strerror})."
        if self._bucket is not None:
            has_other_place = self._settings.output_root is not None or self._may_fit(result.path)
            patience = self._patience(VIDEO_SECONDS if has_other_place else math.inf)
            try:
                url = self._bucket.upload(result.path, f"{self._name}/video.mp4", patience)
                return answer | {"video_url": url}
            except BucketError as error:
                self._note_problem(error)
        if self._problem is not None:
            if self._settings.output_root is not None:
                raise self._kept(result.path, str(self._problem))
            answer["warning"] = str(self._problem)
        inline = self._inline(answer, result.path)
        if inline is not None:
            return inline
        size = f"The video ({result.path.stat().st_size / 1e6:.1f} MB) is too large for the output."
        raise self._kept(result.path, f"{self._problem} {size}" if self._problem else size)

    def _last_frame(self, picture: Image.Image) -> dict[str, Any]:
        """Deliver a result's last frame: upload it, or return it if the output can hold it."""
        path = self._folder / "last_frame.png"
        save_png(picture, path)
        if self._bucket is not None and self._problem is None:
            try:
                url = self._bucket.upload(path, f"{self._name}/{path.name}", self._patience(CLIP_SECONDS))
                return {"last_frame_url": url}
            except BucketError as error:
                self._note_problem(error)
        if path.stat().st_size > (MAX_FRAME_BYTES if self._emit is None else MESSAGE_BYTES):
            return {"warning": "The last frame is too large for the output: set the BUCKET_* variables."}
        return {"last_frame_base64": base64.b64encode(path.read_bytes()).decode()}

    def _patience(self, seconds: float) -> Patience:
        limit = self._settings.bucket_retry_seconds
        return Patience(seconds if limit is None else min(seconds, limit), self._cancel)

    def _note_problem(self, error: BucketError) -> None:
        log_event("bucket_failed", self._job_id, logging.ERROR, error)
        self._problem = error

    def _upload_clip(self, clip: Clip, bucket: Bucket) -> None:
        path = self._folder / f"clip-{clip.index:04d}.mp4"
        write_clip(clip, path, self._fps)
        try:
            # after a failure, the next clips do not wait again
            seconds = CLIP_SECONDS if self._clips_arrive else 0.0
            url = bucket.upload(path, f"{self._name}/{path.name}", self._patience(seconds))
            self._clips_arrive = True
        except BucketError as error:  # the whole video may still be uploaded or kept on the volume
            self._clips_arrive = False
            log_event("clip_not_uploaded", self._job_id, logging.WARNING, error, clip=clip.index)
            return
        finally:
            path.unlink(missing_ok=True)
        self._on_url(clip.index, url)
        if self._emit is not None:
            self._send(_describe_clip(clip.index, clip.start, len(clip.frames)) | {"video_url": url})

    def _stream_clip(self, clip: Clip) -> None:
        for part, fragment in enumerate(split_clip(clip, self._folder, self._fps, MESSAGE_BYTES)):
            message = _describe_clip(clip.index, fragment.start, fragment.frames, part)
            message["video_base64"] = base64.b64encode(fragment.data).decode()
            if self._sent + encoded_size(message) > self._limit * CLIPS_SHARE:
                del message["video_base64"]
                message["omitted"] = (
                    "The clips so far take half of the output's size limit; the rest is for the video."
                )
            self._send(message)

    def _check_expected_size(self, clip: Clip) -> None:
        if not clip.start:
            return
        # all frames so far are encoded, except those in x264's lookahead
        encoded = clip.start + len(clip.frames)
        written = sum(path.stat().st_size for path in self._folder.glob(".*.part"))
        expected = written * clip.total_frames / encoded * BASE64
        if expected > (self._limit - self._sent) * CLEAR_EXCESS:
            if self._problem is not None and self._problem.temporary:
                self.start()  # the bucket may be available again
            if self._bucket is not None and self._problem is None:
                return
            reason = f" {self._problem}" if self._problem else ""
            raise Undelivered(
                f"The video would be too large for the output (about {expected / BASE64 / 1e6:.1f} MB), so "
                f"the job was stopped after {encoded} of {clip.total_frames} frames: {ELSEWHERE}, or request "
                f"a smaller size or max_seconds.{reason}"
            )

    def _may_fit(self, path: Path) -> bool:
        """Return whether the output can probably contain the video."""
        return self._sent + path.stat().st_size * BASE64 <= self._limit

    def _inline(self, answer: dict[str, Any], path: Path) -> dict[str, Any] | None:
        """Return the output with the video, or None if it does not fit; messages contain it in parts."""
        if not self._may_fit(path):
            return None
        text = base64.b64encode(path.read_bytes()).decode()
        whole = answer | {"video_base64": text}
        if self._sent + encoded_size(whole) > self._limit:
            return None
        if self._emit is None or encoded_size(whole) <= MESSAGE_LIMIT:
            return whole
        starts = range(0, len(text), PART_CHARACTERS)
        parts: list[dict[str, Any]] = [
            {"type": "video", "part": part, "parts": len(starts)}
            | {"video_base64": text[start : start + PART_CHARACTERS]}
            for part, start in enumerate(starts)
        ]
        if self._sent + sum(map(encoded_size, [*parts, answer])) > self._limit:
            return None
        for part in parts:
            self._send(part)
        return answer | {"video_parts": len(parts)}

    def _kept(self, path: Path, why: str) -> Undelivered:
        """Keep the video on the volume, and say so."""
        root = self._settings.output_root
        if root is None:
            return Undelivered(f"{why} There is no other place for it: {ELSEWHERE}.")
        try:
            target = self._save(path)
        except OSError as error:
            return Undelivered(f"{why} Writing it to the network volume failed too ({error.strerror}).")
        log_event("video_kept", self._job_id, logging.WARNING, path=str(target))
        relative = target.relative_to(root)
        return Undelivered(f"{why} It was saved on the network volume as {relative}.", str(target))

    def _save(self, path: Path) -> Path:
        """Copy the video to the network volume.

        Raises:
            OSError: There is no volume, or it cannot be written.
        """
        root = self._settings.output_root
        if root is None:
            raise OSError(errno.ENODEV, "no volume is mounted and writable")
        target = root / "multitalk" / f"{self._name}.mp4"
        partial = target.with_suffix(".part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, partial)
            os.replace(partial, target)
        except OSError as error:
            with contextlib.suppress(OSError):  # do not fill the volume with half a video
                partial.unlink()
            log_event("volume_failed", self._job_id, logging.ERROR, error)
            raise
        return target

    def _send(self, message: dict[str, Any]) -> None:
        assert self._emit is not None
        self._sent += encoded_size(message)
        self._emit(message)


def safe_name(job_id: str) -> str:
    """Make a job's id usable as the name of a file or key."""
    return re.sub(r"[^\w-]", "_", job_id, flags=re.ASCII)[:100] or "job"


def _describe_clip(index: int, start: int, frames: int, part: int = 0) -> dict[str, Any]:
    return {"type": "clip", "clip": index, "part": part, "first_frame": start, "frames": frames}
