"""A video that continues another one: its first clip, the joint in the file, and the last frame."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from multitalk import GenerationRequest, MultiTalkPipeline
from multitalk.conditioning.continued import all_frames, last_frames, last_picture, shows_own_label
from multitalk.conditioning.timeline import AudioTimeline, clip_spans
from multitalk.errors import Cancelled, InvalidInput
from multitalk.marks.frames import FrameMarks
from multitalk.marks.label import Label
from multitalk.media.sound_reading import read_sound
from multitalk.media.source_video import read_video
from multitalk.media.video import VideoWriter
from multitalk.pipeline import clips as pipeline_clips
from tests.media.sound_files import tone

HEIGHT, WIDTH = 64, 96
FAST: dict[str, Any] = {"size": (HEIGHT, WIDTH), "steps": 2, "text_guidance": 1.0, "audio_guidance": 2.0}
SHORT = {"frames_per_clip": 13, "motion_frames": 5}  # 8 new frames per clip
MODELS = ("multitalk", "infinitetalk")


@pytest.fixture(scope="module")
def pipeline(baked: Path) -> MultiTalkPipeline:
    return MultiTalkPipeline.from_pretrained(baked, device="cpu", dtype=torch.float32)


def picture(seed: int = 0) -> Any:
    from PIL import Image

    pixels = np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def request_of(seconds: float, **fields: Any) -> GenerationRequest:
    return GenerationRequest(**{"audio": (tone(seconds), 16000), **FAST, **SHORT, **fields})


def write_lossless(path: Path, frames: np.ndarray, sound: np.ndarray | None = None) -> Path:
    """Write frames ``T H W 3`` and samples ``n`` at 16 kHz without any loss."""
    with av.open(str(path), "w", format="matroska") as file:
        video = file.add_stream("ffv1", rate=25)
        video.width, video.height, video.pix_fmt = frames.shape[2], frames.shape[1], "bgr0"
        audio = None if sound is None else file.add_stream("pcm_f32le", rate=16000, layout="mono")
        for image in frames:
            file.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        file.mux(video.encode(None))
        if audio is not None and sound is not None:
            frame = av.AudioFrame.from_ndarray(sound.astype(np.float32)[None], format="flt", layout="mono")
            frame.sample_rate = 16000
            file.mux(audio.encode(frame))
            file.mux(audio.encode(None))
    return path


@pytest.mark.parametrize("model", MODELS)
def test_the_first_clip_is_what_a_second_clip_would_be(model, pipeline, tmp_path, monkeypatch) -> None:
    """Given the same frames, sound and random numbers, the latents are the same."""
    windows: list[torch.Tensor] = []
    plain_windows, decode = AudioTimeline.windows, pipeline_clips.decode_clip

    def recorded(self: AudioTimeline, start: int) -> torch.Tensor:
        windows.append(plain_windows(self, start))
        return windows[-1]

    def rounded(*arguments: Any) -> Any:  # to the 256 levels of a file
        frames, last = decode(*arguments)
        return frames, (((last + 1) * 127.5).round() / 255 - 0.5) * 2

    monkeypatch.setattr(AudioTimeline, "windows", recorded)
    monkeypatch.setattr(pipeline_clips, "decode_clip", rounded)
    fields = {"image": picture(), "model": model, "color_correction": 0}  # colors have another reference
    whole = request_of(21 / 25, **fields)
    first, second = pipeline.stream(whole)
    source = write_lossless(tmp_path / "first.mkv", first.frames.numpy())

    make_sampling = pipeline_clips.make_sampling

    def after_first_clip(*arguments: Any) -> Any:
        """Draw the random numbers of the first clip."""
        sampling = make_sampling(*arguments)
        torch.randn(first.latents.shape, generator=sampling.generator)
        return sampling

    monkeypatch.setattr(pipeline_clips, "make_sampling", after_first_clip)
    monkeypatch.setattr(AudioTimeline, "windows", lambda self, start: windows[1])
    rest = request_of(8 / 25, continue_from=source, **fields)
    (continued,) = pipeline.stream(rest)
    assert torch.equal(continued.latents, second.latents)
    assert torch.equal(continued.frames, second.frames)
    assert (continued.start, continued.total_frames) == (second.start, second.total_frames) == (13, 21)


def test_the_model_hears_a_single_speaker_go_on(pipeline, tmp_path, monkeypatch) -> None:
    """The features of the two parts are those of the whole sound, up to its loudness."""
    kept: list[AudioTimeline] = []
    init = AudioTimeline.__init__

    def recorded(self: AudioTimeline, *arguments: Any) -> None:
        init(self, *arguments)
        kept.append(self)

    monkeypatch.setattr(AudioTimeline, "__init__", recorded)
    voice = tone(1.0)[:, 0] * np.linspace(0.5, 1, 16000, dtype=np.float32)
    frames = np.stack([np.asarray(picture(seed)) for seed in range(13)])
    source = write_lossless(tmp_path / "first.mkv", frames, voice[: 13 * 640])
    heard: list[np.ndarray] = []
    from multitalk.conditioning import job as job_module

    encode = job_module.encode_audio
    monkeypatch.setattr(
        job_module, "encode_audio", lambda encoder, track: (heard.append(track), encode(encoder, track))[1]
    )
    rest = GenerationRequest(continue_from=source, audio=(voice[13 * 640 :], 16000), **FAST, **SHORT)
    list(pipeline.stream(rest))
    assert kept[0].embeddings.shape[1] == 5 + 12
    expected = voice[8 * 640 :]
    assert len(heard[0]) == len(expected)
    assert np.corrcoef(heard[0], expected)[0, 1] > 0.98
    two = {"person1": (voice, 16000), "person2": (voice, 16000)}
    heard.clear()
    list(pipeline.stream(GenerationRequest(continue_from=source, audio=two, **FAST, **SHORT)))
    assert len(heard) == 2
    assert not any(track[: 5 * 640].any() for track in heard), "nobody knows who spoke"


def test_spans_of_a_continued_video() -> None:
    spans = clip_spans(20, 20, 13, 5, continues=True)
    assert [(span.start, span.skip, span.new_frames) for span in spans] == [(0, 5, 8), (8, 5, 8), (16, 5, 4)]


@pytest.fixture(scope="module")
def first(pipeline, tmp_path_factory) -> Path:
    """An H.264 file of 21 frames, made here."""
    path = tmp_path_factory.mktemp("continued") / "first.mp4"
    result = pipeline.generate(request_of(21 / 25, image=picture()), path)
    assert result.last_frame is not None
    assert result.last_frame.size == (WIDTH, HEIGHT)
    last = coarse(np.asarray(result.last_frame)[None])
    assert np.abs(last - coarse(frames_of(path)[-1:])).mean() < 2, "but for the encoding"
    return path


def frames_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


def coarse(frames: np.ndarray) -> np.ndarray:
    """Average frames ``T H W 3`` over blocks of 8 pixels: encoding changes single pixels of noise."""
    count, height, width = frames.shape[:3]
    return frames.reshape(count, height // 8, 8, width // 8, 8, 3).mean(axis=(2, 4))


def test_a_joined_file_starts_with_the_video_and_has_no_seam(first, pipeline, tmp_path) -> None:
    clips: list[Any] = []
    rest = request_of(16 / 25, continue_from=first)
    joined = pipeline.generate(rest, tmp_path / "joined.mp4", on_clip=clips.append)
    alone = pipeline.generate(request_of(16 / 25, continue_from=first, join=False), tmp_path / "alone.mp4")
    assert (joined.frames, alone.frames) == (37, 16)
    assert [(clip.start, len(clip.frames), clip.total_frames) for clip in clips] == [(21, 8, 37), (29, 8, 37)]
    assert np.asarray(joined.last_frame).tolist() == clips[-1].frames[-1].tolist()
    before, after, whole = (coarse(frames_of(path)) for path in (first, alone.path, joined.path))
    assert np.abs(whole[:21] - before).mean() < 2, "encoded once more"
    assert np.abs(whole[21:] - after).mean() < 2
    # the step over the joint is like the steps of the clips around it
    steps = np.abs(np.diff(whole, axis=0)).mean(axis=(1, 2, 3))
    assert steps[20] < 2 * steps[:20].max()

    sound = read_sound(joined.path)
    assert 0 <= sound.seconds - 37 / 25 < 2048 / sound.rate, "a whole number of AAC frames"
    loud = np.abs(sound.mono()).reshape(-1)
    joint = round(21 / 25 * sound.rate)
    jumps = np.abs(np.diff(sound.mono()))
    assert loud[joint - 800 : joint + 800].max() > 0.1, "not silent"
    assert jumps[joint - 200 : joint + 200].max() < 1.2 * jumps[: joint - 400].max(), "no click"
    assert read_video(joined.path).frames == 37


def test_a_joined_job_that_is_cancelled_before_its_first_clip_leaves_nothing(
    first, pipeline, tmp_path
) -> None:
    from threading import Event

    cancel = Event()

    def stop(progress: Any) -> None:
        if progress.stage == "denoise":
            cancel.set()

    with pytest.raises(Cancelled):
        pipeline.generate(
            request_of(0.5, continue_from=first),
            tmp_path / "out.mp4",
            on_progress=stop,
            cancel=cancel,
            keep_partial=True,
        )
    assert not list(tmp_path.iterdir())


def test_colors_are_those_of_the_video(first, pipeline, monkeypatch) -> None:
    """The last frame is the reference of the correction, which is on by default."""
    references: list[torch.Tensor] = []
    correction = pipeline_clips.ColorCorrection

    def recorded(reference: torch.Tensor, strength: float) -> Any:
        references.append(reference)
        assert strength == 1.0
        return correction(reference, strength)

    monkeypatch.setattr(pipeline_clips, "ColorCorrection", recorded)
    next(pipeline.stream(request_of(0.2, continue_from=first, image=picture(9), preset="quality")))
    expected = last_frames(read_video(first), 1, HEIGHT, WIDTH, lambda: None)[:, 0]
    assert torch.equal(references[0], expected)


def test_only_the_end_of_a_long_video_is_decoded(tmp_path, monkeypatch) -> None:
    """The frames are those of decoding the whole file, also at another frame rate."""
    from multitalk.media.video_decoding import VideoFrames
    from multitalk.media.video_file import Source

    path = tmp_path / "long.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=30, options={"g": "15", "crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(600):
            image = np.full((64, 64, 3), number % 256, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        file.mux(stream.encode(None))
    video = read_video(path)
    assert video.frames_at(25) == 500
    ends = last_frames(video, 9, 64, 64, lambda: None)
    whole = np.concatenate(list(all_frames(video, 64, 64, lambda: None)))
    assert len(whole) == 500
    assert np.array_equal(((ends + 1) * 127.5).round().permute(1, 2, 3, 0).byte().numpy(), whole[-9:])
    assert np.array_equal(np.asarray(video.last_picture), frames_of(path)[-1])
    with path.open("rb") as file:
        frames = VideoFrames(Source(file, "long.mp4", "continue_from"), start=19.6)
        assert frames.seconds == pytest.approx(588 / 30)
        assert frames.number < 60, "not decoded from the start"
        frames.close()


def test_the_size_is_that_of_the_video_and_another_one_is_told(first, pipeline, tmp_path) -> None:
    fields = {name: value for name, value in FAST.items() if name != "size"} | SHORT
    own = GenerationRequest(continue_from=first, audio=(tone(0.2), 16000), **fields)
    assert own.size_with(pipeline.preset_of(own)) == (HEIGHT, WIDTH)
    smaller = pipeline.generate(request_of(0.2, continue_from=first, size=(64, 64)), tmp_path / "small.mp4")
    assert (smaller.width, smaller.height) == (64, 64)
    assert "continue_from: the video is 96x64 and was scaled and cropped to 64x64." in smaller.warnings


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"motion_frames": 25, "frames_per_clip": 81}, "has 21 frames .* continues from 25. .* 21 or less"),
        ({"motion_frames": None, "frames_per_clip": 81, "model": "multitalk"}, "MultiTalk continues from 25"),
    ],
)
def test_a_video_shorter_than_the_motion_frames_is_refused(first, fields, words) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        GenerationRequest.checked({"continue_from": first, "audio": (tone(0.5), 16000), **fields})
    assert caught.value.field == "continue_from"


def test_the_models_frames_are_checked_when_it_is_chosen(first, pipeline) -> None:
    """21 frames are enough for InfiniteTalk, which these jobs do not use by default."""
    request = GenerationRequest(continue_from=first, audio=(tone(0.5), 16000), steps=1)
    with pytest.raises(InvalidInput, match="MultiTalk continues from 25"):
        next(pipeline.stream(request))


def test_estimates_count_the_motion_frames(first, pipeline) -> None:
    plain, continued = request_of(1.0, image=picture()), request_of(1.0, continue_from=first)
    ours, theirs = (pipeline.work_of(request, 1.0).amounts for request in (continued, plain))
    assert ours["denoise"] > theirs["denoise"], "a clip has 8 new frames instead of 13"
    assert ours["encode"] > theirs["encode"]


def test_small_presets_keep_their_size(first, tmp_path) -> None:
    from multitalk.request.presets import PRESETS

    large = write_lossless(tmp_path / "large.mkv", np.zeros((30, 480, 832, 3), np.uint8))
    fields = {"audio": (tone(0.5), 16000), "motion_frames": 5}
    of_large = GenerationRequest(continue_from=large, **fields)
    assert of_large.size_with(PRESETS["demo"]) == "160p"
    assert of_large.size_with(PRESETS["quality"]) == (480, 832)
    of_small = GenerationRequest(continue_from=first, **fields)
    assert of_small.size_with(PRESETS["demo"]) == (HEIGHT, WIDTH)
    huge = write_lossless(tmp_path / "huge.mkv", np.zeros((30, 1088, 1920, 3), np.uint8))
    odd = write_lossless(tmp_path / "odd.mkv", np.zeros((30, 100, 200, 3), np.uint8))
    for path in (huge, odd):
        assert GenerationRequest(continue_from=path, **fields).size_with(PRESETS["quality"]) == "480p"


LABEL = {"text": "AI", "corner": "bottom-right"}


def scene(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A frame that is brighter to the right."""
    return np.broadcast_to(np.linspace(120, 180, width)[:, None], (height, width, 3)).astype(np.uint8)


def write_labeled(path: Path, settings: dict[str, Any], height: int = HEIGHT, width: int = WIDTH) -> Path:
    """A video of 21 frames with the label, and these settings in its metadata."""
    marks = FrameMarks(label=Label(**LABEL))
    tags = {"title": "MultiTalk", "comment": json.dumps(settings)}
    with VideoWriter(path, width, height, metadata=tags, frame_marks=marks) as writer:
        writer.write(np.stack([scene(height, width)] * 21))
    return path


@pytest.mark.parametrize(
    ("height", "width", "size"), [(HEIGHT, WIDTH, [HEIGHT, WIDTH]), (480, 832, "480p"), (160, 160, "160p")]
)
def test_the_model_does_not_see_the_label_of_a_video_made_here(height, width, size, tmp_path) -> None:
    video = read_video(write_labeled(tmp_path / "a.mp4", {"size": size, "label": LABEL}, height, width))
    left, top, right, bottom = Label(**LABEL).box(width, height)
    seen = last_frames(video, 5, height, width, lambda: None).permute(1, 2, 3, 0).numpy()
    seen = [(frame + 1) * 127.5 for frame in seen]
    for frame in (*seen, np.asarray(last_picture(video), np.float32)):
        assert np.abs(frame - scene(height, width)).max() < 20, "neither plate nor letters"
    shown = next(all_frames(video, height, width, lambda: None))[0]
    assert shown[top:bottom, left:right].mean() < 0.7 * scene(height, width)[top:bottom, left:right].mean()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"size": [HEIGHT, WIDTH], "label": None},
        {"size": [HEIGHT, WIDTH], "label": {"text": ["AI"]}},
        {"size": [HEIGHT, WIDTH], "label": {"text": "A label that is too long for these small frames"}},
        {"size": [HEIGHT * 2, WIDTH * 2], "label": LABEL},
        {"size": "480p", "label": LABEL},
        {"size": {"height": HEIGHT}, "label": LABEL},
        {"label": LABEL},
    ],
)
def test_frames_stay_as_they_are_without_a_known_label(settings, tmp_path) -> None:
    video = read_video(write_labeled(tmp_path / "a.mp4", settings))
    seen = last_frames(video, 1, HEIGHT, WIDTH, lambda: None)
    shown = np.asarray(video.last_picture)
    assert np.array_equal(((seen[:, 0] + 1) * 127.5).round().permute(1, 2, 0).byte().numpy(), shown)
    assert np.array_equal(np.asarray(last_picture(video)), shown)
    assert not shows_own_label(video, HEIGHT, WIDTH)


def test_a_label_that_is_cropped_away_is_not_shown(tmp_path) -> None:
    video = read_video(write_labeled(tmp_path / "a.mp4", {"size": [HEIGHT, WIDTH], "label": LABEL}))
    assert shows_own_label(video, HEIGHT, WIDTH)
    assert shows_own_label(video, 2 * HEIGHT, 2 * WIDTH)
    assert not shows_own_label(video, 64, 64)


def test_the_old_part_of_a_joined_video_has_one_label(pipeline, tmp_path) -> None:
    source = write_labeled(tmp_path / "a.mp4", {"size": [HEIGHT, WIDTH], "label": LABEL})
    request = request_of(0.3, continue_from=source, label=LABEL)
    joined = frames_of(pipeline.generate(request, tmp_path / "joined.mp4").path)
    left, top, right, bottom = Label(**LABEL).box(WIDTH, HEIGHT)
    before, plate = frames_of(source), (slice(None), slice(top, bottom), slice(left, right))
    assert abs(float(joined[:21][plate].mean()) - float(before[plate].mean())) < 5
    new = pipeline.generate(request_of(0.3, continue_from=source), tmp_path / "plain.mp4")
    plain = frames_of(new.path)[21:][plate]
    assert joined[21:][plate].mean() < 0.8 * plain.mean(), "the new part has one, too"
    unlabeled = write_lossless(tmp_path / "b.mkv", np.stack([scene()] * 21))
    request = request_of(0.3, continue_from=unlabeled, label=LABEL)
    both = frames_of(pipeline.generate(request, tmp_path / "both.mp4").path)
    assert both[:21][plate].mean() < 0.7 * scene()[plate[1:]].mean()
