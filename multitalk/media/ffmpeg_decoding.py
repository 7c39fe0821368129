"""Decoding audio with FFmpeg, packet by packet, so that one damaged packet does not end it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidInput
from .file_range import BinaryFile
from .sound import AAC_LAYOUTS
from .sound_builder import SoundBuilder

if TYPE_CHECKING:
    import av

# FFmpeg's names of formats that contain their audio. Playlists, for example, are excluded: they would make
# the decoder open other files.
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,asf,mpegts,mpeg,mp3,mp2,aac,ac3,eac3,flac,ogg,wav,w64,aiff,"
    "caf,amr,amrnb,amrwb,au,wv,ape,tta"
)
FLAC = "flac"
# Formats whose packets have timestamps; FFmpeg counts samples in the others.
TIMED = ("matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2", "mpegts", "flv", "asf", "ogg")
MATROSKA = TIMED[0]
SHORTEST_GAP = 0.1  # seconds; less is the inaccuracy of timestamps (FFmpeg's own filter has the same limit)
LONGEST_GAP = 60.0  # seconds; more is a clock that was set
LONGEST_PACKET = 2.0  # seconds
MAX_FAILURES = 100  # consecutive
MISSING_END = 1.0  # seconds by which the audio is shorter than the file says


def decode_with_ffmpeg(
    file: BinaryFile,
    sound: SoundBuilder,
    *,
    container_format: str | None = None,
    delay: int = 0,
    is_cut: bool = False,
) -> None:
    """Decode the first audio track whose format is supported.

    Args:
        file: A seekable binary file.
        sound: Where the audio is added.
        container_format: FFmpeg's name of the file's format, if it is known.
        delay: Samples at the start that are left out.
        is_cut: Whether the file is shorter than the sizes in it, so that its end may be missing.

    Raises:
        InvalidInput: The file has no such track, or its audio is too long.
        av.error.FFmpegError: The file cannot be opened.
    """
    import av

    # tags may be in another encoding than UTF-8
    options = {"format_whitelist": CONTAINERS}
    with av.open(file, "r", container_format, options=options, metadata_errors="replace") as container:
        if not container.streams.audio:
            raise InvalidInput(f"{sound.field} ({sound.name}) has no audio track.", sound.field)
        stream = next((each for each in container.streams.audio if each.codec_context is not None), None)
        if stream is None:
            raise InvalidInput(
                f"{sound.field} ({sound.name}) has an audio format that is not supported. Convert it to WAV, "
                "FLAC, MP3 or M4A.",
                sound.field,
            )
        if stream.codec_context.name == FLAC:  # without this, a damaged frame becomes noise
            stream.codec_context.options = {"err_detect": "crccheck+explode"}
        track = _Track(sound, container.format.name, delay)
        for packet in _packets(container, stream, sound):
            track.decode(packet)
            if sound.is_full:
                return
        track.finish()
        sound.is_incomplete |= _is_missing(container, stream, track.position, is_cut)


def _is_missing(container: Any, stream: Any, end: float, is_cut: bool) -> bool:
    """Whether the end of a track is missing, which was decoded up to `end` in seconds."""
    import av

    seconds = None
    if stream.duration is not None:
        seconds = float(stream.duration * stream.time_base)
    elif container.duration is not None and len(container.streams) == 1:
        seconds = container.duration / av.time_base
    if is_cut:
        return seconds is None or end < seconds - SHORTEST_GAP
    # damage that Matroska's reader jumps over
    return container.format.name == MATROSKA and seconds is not None and end < seconds - MISSING_END


def _packets(container: Any, stream: Any, sound: SoundBuilder) -> Iterator[av.Packet]:
    """Iterate over a track's packets; read on after those that cannot be read."""
    import av

    failures = 0
    while failures < MAX_FAILURES:
        try:
            for packet in container.demux(stream):
                failures = 0
                yield packet
            return
        except av.error.FFmpegError:
            failures += 1
            sound.is_damaged = True


class _Track:
    """One track while it is decoded.

    Args:
        sound: Where the audio is added.
        container_format: FFmpeg's name of the file's format.
        delay: Samples at the start that are left out.
    """

    def __init__(self, sound: SoundBuilder, container_format: str, delay: int) -> None:
        self._sound, self._format, self._delay = sound, container_format, delay
        self._origin: float | None = None  # timestamp of the first sample
        self._to_float = _ToFloat()
        self._played = 0.0
        self._lost = 0.0  # seconds of the packets that failed since the last frame

    @property
    def position(self) -> float:
        """Where the audio so far ends, in seconds on the clock of the file."""
        return (self._origin or 0.0) + self._played

    def decode(self, packet: av.Packet) -> None:
        """Decode a packet; one that cannot be decoded becomes silence once another one follows."""
        import av

        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            seconds = float((packet.duration or 0) * (packet.time_base or 0))
            self._lost += min(max(seconds, 1e-3), LONGEST_PACKET)
            return
        if self._format == FLAC and packet.pts is not None:
            # frames are numbered, and the decoder drops damaged ones without an error
            self._sound.skipped += self._catch_up(float(packet.pts * packet.time_base), 1e-3)
        for frame in frames:
            self._sound.is_damaged |= frame.is_corrupt
            self._add(frame)

    def finish(self) -> None:
        """End the track: if the last packet could not be decoded, the end of the file is missing."""
        self._sound.is_incomplete |= self._lost > 0

    def _add(self, frame: Any) -> None:
        samples = self._to_float.convert(frame)
        if self._lost:
            self._sound.skipped += self._lost
            self._wait(self._lost)
            self._lost = 0.0
        if self._format in TIMED and frame.pts is not None:
            self._catch_up(float(frame.pts * frame.time_base), SHORTEST_GAP)
        self._played += len(samples) / frame.sample_rate
        left_out = min(self._delay, len(samples))
        self._delay -= left_out
        if left_out < len(samples):
            self._sound.add(samples[left_out:], frame.sample_rate)

    def _catch_up(self, time: float, shortest: float) -> float:
        """Add silence up to a timestamp, unless the gap is too short or too long; return its length."""
        if self._origin is None:
            self._origin = time
        gap = time - self.position
        if shortest < gap <= LONGEST_GAP:
            self._wait(gap)
            return gap
        if abs(gap) > shortest:
            self._origin += gap
        return 0.0

    def _wait(self, seconds: float) -> None:
        if self._played:  # nothing is added before the first sample
            self._played += seconds
            self._sound.add_silence(seconds)


class _ToFloat:
    """Converts frames of any sample format to samples ``[n, channels]``, float32, full scale at 1.

    FFmpeg interleaves the channels, because PyAV cannot read frames with 8 or more separate channels.
    """

    def __init__(self) -> None:
        self._format: tuple[int, str, str] | None = None
        self._resampler: Any = None

    def convert(self, frame: Any) -> np.ndarray:
        """Convert a frame; its sample rate and channels may differ from those of the one before."""
        import av

        if self._format != (frame.sample_rate, frame.layout.name, frame.format.name):
            self._format = frame.sample_rate, frame.layout.name, frame.format.name
            self._resampler = av.AudioResampler(format="flt")
        channels = frame.layout.nb_channels
        parts = [part.to_ndarray().reshape(-1, channels) for part in self._resampler.resample(frame)]
        return parts[0] if len(parts) == 1 else np.concatenate([np.zeros((0, channels), np.float32), *parts])


def to_stereo(samples: np.ndarray) -> np.ndarray:
    """Mix samples of more than two channels to two, as FFmpeg does.

    Args:
        samples: float32 ``[n, channels]``, in the order of WAV files.
    """
    import av

    layout = AAC_LAYOUTS.get(samples.shape[1])
    if layout is None:  # the channels are unknown
        return np.ascontiguousarray(samples[:, :2])
    frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="flt", layout=layout)
    frame.sample_rate = 48_000  # not converted
    mixed = av.AudioResampler(format="flt", layout="stereo").resample(frame)
    return np.concatenate([part.to_ndarray().reshape(-1, 2) for part in mixed])
