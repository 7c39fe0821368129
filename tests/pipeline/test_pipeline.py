"""The pipeline on a small random checkpoint: its public behavior, and cases without reference numbers."""

from __future__ import annotations

import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from safetensors.torch import save

from multitalk import GenerationRequest, MultiTalkPipeline, Progress
from multitalk.bake.bake import bake
from multitalk.errors import Cancelled, InvalidInput, WeightsError
from multitalk.media.background import BackgroundWriter
from multitalk.media.sound_reading import read_sound
from multitalk.media.video import VideoWriter
from multitalk.models.vae_stages import latent_frames
from multitalk.pipeline.clips import make_sampling
from multitalk.sampling.cache import computed_steps
from multitalk.sampling.denoise import ClipSampling
from tests.small_checkpoint import FUSIONX, make_small_checkpoint

FAST = {"size": (64, 64), "steps": 2, "text_guidance": 1.0, "audio_guidance": 2.0}


@pytest.fixture(scope="module")
def baked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pipeline")
    bake(make_small_checkpoint(folder / "published"), folder / "baked", precision="float32")
    return folder / "baked"


@pytest.fixture(scope="module")
def pipeline(baked: Path) -> MultiTalkPipeline:
    return MultiTalkPipeline.from_pretrained(baked, device="cpu", dtype=torch.float32)


@pytest.fixture
def picture() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def voice(seconds: float, rate: int = 16000, seed: int = 0) -> tuple[np.ndarray, int]:
    noise = np.random.default_rng(seed).normal(0, 0.1, round(seconds * rate))
    return noise.astype(np.float32), rate


@pytest.fixture
def count_calls(pipeline, monkeypatch) -> Callable[[], list[bool]]:
    """A function that returns the model calls so far: for each, whether its blocks were computed."""
    calls: list[bool] = []
    forward = pipeline.components.transformer.forward

    def counted(*args, **kwargs):
        calls.append(kwargs.get("block_residual") is None)
        return forward(*args, **kwargs)

    monkeypatch.setattr(pipeline.components.transformer, "forward", counted)
    return lambda: calls


def test_stream_yields_each_clip_when_it_is_decoded(pipeline, picture):
    seen: list[Progress] = []
    request = GenerationRequest(image=picture, audio=voice(6.0), **FAST)
    clips = pipeline.stream(request, on_progress=seen.append)
    first = next(clips)
    assert first.index == 0
    assert first.frames.shape == (81, 64, 64, 3)
    assert first.frames.dtype == torch.uint8
    assert first.latents.shape == (16, 21, 8, 8)
    assert max(progress.clip for progress in seen) == 0, "the second clip has not started"
    assert not torch.is_inference_mode_enabled(), "inference mode does not reach the caller"
    rest = list(clips)
    assert [clip.frames.shape[0] for clip in rest] == [56, 13]
    assert [clip.index for clip in rest] == [1, 2]
    assert [(clip.start, clip.total_frames) for clip in (first, *rest)] == [(0, 150), (81, 150), (137, 150)]
    sounds = [clip.sound.samples for clip in (first, *rest)]
    assert np.array_equal(np.concatenate(sounds)[:, 0], voice(6.0)[0]), "each clip has its part of the audio"


def test_a_prompt_changes_at_its_clip(pipeline, picture):
    """The second clip's new frames start at 3.24 s, the third's at 5.48 s."""

    def latents(prompt):
        request = GenerationRequest(image=picture, audio=voice(6.0), prompt=prompt, **FAST)
        return [clip.latents for clip in pipeline.stream(request)]

    plain, other = latents("a calm man"), latents("she laughs loudly")
    timed = latents([{"from": 0, "text": "a calm man"}, {"from": 3.3, "text": "she laughs loudly"}])
    assert [torch.equal(*pair) for pair in zip(plain, timed, strict=True)] == [True, True, False]
    by_clip = latents("a calm man | she laughs loudly")
    assert [torch.equal(*pair) for pair in zip(plain, by_clip, strict=True)] == [True, False, False]
    assert torch.equal(latents("she laughs loudly | she laughs loudly")[2], other[2])


def test_three_voices_move_three_people(pipeline, picture, tmp_path):
    """A third voice changes the video, and the result says that the weights do not know it."""
    audio = {f"person{number}": voice(0.5, seed=number) for number in (1, 2, 3)}
    boxes = {f"person{number}": (20 * number - 5, 0, 20 * number + 14, 60) for number in (1, 2, 3)}
    two = {person: audio[person] for person in ("person1", "person2")}
    [three] = [
        clip.latents
        for clip in pipeline.stream(GenerationRequest(image=picture, audio=audio, boxes=boxes, **FAST))
    ]
    request = GenerationRequest(image=picture, audio=two, boxes=boxes, **FAST)
    [silent] = [clip.latents for clip in pipeline.stream(request)]
    assert three.isfinite().all()
    assert not torch.equal(three, silent)
    result = pipeline.generate(request, tmp_path / "three.mp4")
    assert any("trained with up to two people" in warning for warning in result.warnings)


def test_progress_increases_and_estimates_the_time_left(pipeline, picture):
    seen: list[Progress] = []
    request = GenerationRequest(image=picture, audio=voice(6.0), **FAST)
    for _ in pipeline.stream(request, on_progress=seen.append):
        pass
    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert {"text", "audio", "image", "encode", "denoise", "decode", "done"} <= {
        progress.stage for progress in seen
    }
    assert all(progress.eta is not None and progress.eta >= 0 for progress in seen if progress.fraction > 0)
    assert {progress.clips for progress in seen} == {0, 3}
    assert [p.step for p in seen if p.stage == "denoise" and p.clip == 1][-1] == 2
    encoded = [progress for progress in seen if progress.stage == "encode" and progress.clip == 1]
    assert len(encoded) > latent_frames(FAST.get("frames_per_clip", 81)), "each chunk of frames is reported"


@pytest.mark.parametrize("after", [1, 3, 4])
def test_cancel_stops_within_one_model_call(after, pipeline, picture, count_calls, tmp_path):
    cancel = threading.Event()

    class AfterSomeCalls:
        def is_set(self) -> bool:
            return len(count_calls()) >= after

    request = GenerationRequest(image=picture, audio=voice(6.0), **FAST)
    with pytest.raises(Cancelled):
        pipeline.generate(request, tmp_path / "out.mp4", cancel=AfterSomeCalls())
    assert len(count_calls()) == after
    assert list(tmp_path.iterdir()) == [], "a cancelled job leaves no file"
    pipeline.generate(request, tmp_path / "out.mp4", cancel=cancel)
    assert (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("keep_partial", [False, True])
def test_frames_that_wait_for_the_encoder_are_dropped_with_the_job(
    keep_partial, pipeline, picture, tmp_path, monkeypatch
):
    started, cancel, stopped, written = threading.Event(), threading.Event(), [], []

    class WatchedBackground(BackgroundWriter):
        def __init__(self, writer):
            super().__init__(writer)
            stopped.append(self._stopped)

    class BusyWriter(VideoWriter):
        """Encodes its first frames until the job is cancelled, and its frames are dropped unless kept."""

        def write(self, frames):
            if not written:
                started.set()
                assert cancel.wait(60)
                assert keep_partial or stopped[0].wait(60)
            written.append(len(frames))
            super().write(frames)

    def cancel_it(clip):
        assert started.wait(60)  # the encoder must be busy
        cancel.set()

    monkeypatch.setattr("multitalk.media.video.VideoWriter", BusyWriter)
    monkeypatch.setattr("multitalk.media.background.BackgroundWriter", WatchedBackground)
    request = GenerationRequest(image=picture, audio=voice(6.0), **FAST)
    arguments = {"cancel": cancel, "on_clip": cancel_it, "keep_partial": keep_partial}
    if keep_partial:
        result = pipeline.generate(request, tmp_path / "out.mp4", **arguments)
        assert (result.frames, result.complete) == (81, False)
    else:
        with pytest.raises(Cancelled):
            pipeline.generate(request, tmp_path / "out.mp4", **arguments)
        assert written == [1]
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("streamed", [False, True])
def test_a_clip_is_not_kept_while_the_next_is_made(streamed, pipeline, picture, tmp_path):
    clips: list[weakref.ref] = []
    alive: list[bool] = []

    def watch(progress: Progress) -> None:
        if progress.stage == "denoise" and progress.clip > 0:
            alive.append(any(clip() is not None for clip in clips))

    request = GenerationRequest(image=picture, audio=voice(6.0), **FAST)
    if streamed:
        for clip in pipeline.stream(request, watch):
            clips.append(weakref.ref(clip))
            del clip
    else:
        pipeline.generate(
            request, tmp_path / "out.mp4", watch, on_clip=lambda clip: clips.append(weakref.ref(clip))
        )
    assert len(clips) == 3
    assert alive
    assert not any(alive)


@pytest.mark.parametrize(("seconds", "frames"), [(0.2, 5), (0.5, 13), (3.2, 80), (3.27, 81)])
def test_every_length_of_sound_gives_video_for_all_of_it(seconds, frames, pipeline, picture):
    request = GenerationRequest(
        image=picture, audio=voice(seconds), **{**FAST, "audio_guidance": 1.0, "steps": 1}
    )
    shown = sum(clip.frames.shape[0] for clip in pipeline.stream(request))
    assert shown == frames
    assert abs(shown / 25 - seconds) <= 1 / 25


@pytest.mark.parametrize(
    ("text", "audio", "calls"), [(1.0, 1.0, 1), (1.0, 2.0, 2), (5.0, 1.0, 2), (5.0, 4.0, 3)]
)
def test_calls_per_step(text, audio, calls, pipeline, picture, count_calls):
    settings = {**FAST, "text_guidance": text, "audio_guidance": audio}
    list(pipeline.stream(GenerationRequest(image=picture, audio=voice(1.0), **settings)))
    assert len(count_calls()) == calls * FAST["steps"]


def test_teacache_keeps_a_state_per_branch_and_starts_anew_with_every_clip(pipeline, picture, count_calls):
    """With two calls per step and several clips, every branch of every clip skips the same steps."""
    request = GenerationRequest(
        image=picture,
        audio=voice(0.32),
        teacache=3e5,  # random weights change the time modulation a thousand times as much
        frames_per_clip=5,
        motion_frames=1,
        **{**FAST, "steps": 10},
    )
    clips = list(pipeline.stream(request))
    steps = _teacache_steps(pipeline, request)
    assert len(clips) == 2
    assert not all(steps)
    assert any(steps[5:])
    assert count_calls() == [computed for _ in clips for computed in steps for _branch in range(2)]


def test_teacache_depends_on_the_resolution(pipeline, picture):
    settings = {**FAST, "steps": 10, "size": (640, 976)}
    request = GenerationRequest(image=picture, audio=voice(0.2), teacache=1e4, **settings)
    job = _job(pipeline, request)
    assert job.settings.resolution == "720p"
    with torch.inference_mode():
        sampling = _sampling(pipeline, request, job)
        modulations = pipeline.components.transformer.time_embedding(sampling.timesteps[:-1])[1]
    assert sampling.computed == computed_steps(modulations, 1e4, "720p")
    assert sampling.computed != computed_steps(modulations, 1e4, "480p")


def _sampling(pipeline, request, job) -> ClipSampling:
    return make_sampling(request, job, pipeline.components.transformer, pipeline.plan.device)


def _teacache_steps(pipeline, request) -> list[bool]:
    timesteps = _sampling(pipeline, request, _job(pipeline, request)).timesteps
    with torch.inference_mode():
        modulations = pipeline.components.transformer.time_embedding(timesteps[:-1])[1]
    return computed_steps(modulations, request.teacache, "480p")


def _job(pipeline, request):
    from multitalk.conditioning.job import prepare_job
    from multitalk.conditioning.outline import outline_job
    from multitalk.pipeline.progress import JobMonitor

    monitor = JobMonitor(None, None)
    outline = outline_job(request, pipeline.preset_of(request), ["multitalk"], monitor)
    with torch.inference_mode():
        return prepare_job(request, outline, pipeline.components, monitor)


def test_a_seed_gives_the_same_video_and_minus_one_draws_one(pipeline, picture):
    request = GenerationRequest(image=picture, audio=voice(0.5), seed=5, **FAST)
    first, second = (next(pipeline.stream(request)) for _ in range(2))
    assert torch.equal(first.latents, second.latents)
    drawn = GenerationRequest(image=picture, audio=voice(0.5), seed=-1, **FAST)
    clip = next(pipeline.stream(drawn))
    again = GenerationRequest(image=picture, audio=voice(0.5), seed=clip.seed, **FAST)
    assert torch.equal(next(pipeline.stream(again)).latents, clip.latents)


def test_two_voices_of_unequal_length_and_a_silent_one(pipeline, picture):
    silent = (np.zeros(8000, np.float32), 16000)
    request = GenerationRequest(image=picture, audio={"person1": voice(1.0), "person2": silent}, **FAST)
    assert sum(clip.frames.shape[0] for clip in pipeline.stream(request)) == 25
    in_order = GenerationRequest(
        image=picture, audio={"person1": voice(1.0), "person2": voice(0.6, seed=1)}, turns="add", **FAST
    )
    assert sum(clip.frames.shape[0] for clip in pipeline.stream(in_order)) == 40


def test_text_instead_of_audio(pipeline, picture, tmp_path):
    request = GenerationRequest(
        image=picture, speech={"text": "(s1) Hello. (s2) Hi!"}, **{**FAST, "steps": 1}
    )
    result = pipeline.generate(request, tmp_path / "spoken.mp4")
    assert result.seconds > 0.5
    mixed = GenerationRequest(
        image=picture, audio={"person1": voice(0.5)}, speech="Good morning", **{**FAST, "steps": 1}
    )
    assert pipeline.generate(mixed, tmp_path / "mixed.mp4").frames > 12


def test_an_unknown_voice_is_refused_before_any_model_runs(pipeline, picture, count_calls):
    request = GenerationRequest(
        image=picture, speech={"text": "Hello", "voices": {"person1": "nobody"}}, **FAST
    )
    stages: list[str] = []
    with pytest.raises(InvalidInput, match="nobody"):
        list(pipeline.stream(request, on_progress=lambda progress: stages.append(progress.stage)))
    assert set(stages) == {"speech"}


EDGES = {"person1": (0, 100, 300, 400), "person2": (2700, 100, 3000, 400)}
MIDDLE = (1400, 100, 1600, 400)


@pytest.mark.parametrize(
    ("size", "boxes", "sentence"),
    [
        ("480p", EDGES, "person1 is outside the picture after cropping to 1264x320, .* Choose"),
        (
            (480, 480),
            {"person1": MIDDLE, "person2": EDGES["person2"]},
            "person2 is outside .* 480x480, .* Choose",
        ),
        (
            "480p",
            {"person1": MIDDLE, "person2": (2001, 201, 2006, 206)},
            "person2 is outside .* a larger one",
        ),
        ((64, 2048), {"person1": (0, 0, 3000, 100), "person2": MIDDLE}, "person1 is outside .* 2048x64"),
    ],
)
def test_a_person_outside_the_video_is_refused_before_any_model_runs(size, boxes, sentence, pipeline):
    voices = {"person1": voice(0.5), "person2": voice(0.5, seed=1)}
    request = GenerationRequest(image=Image.new("RGB", (3000, 500)), audio=voices, boxes=boxes, size=size)

    def fail(progress: Progress) -> None:
        raise AssertionError(f"{progress.stage} has started")

    with pytest.raises(InvalidInput, match=sentence) as refused:
        next(pipeline.stream(request, on_progress=fail))
    assert refused.value.field == "boxes"


def test_people_who_are_partly_cut_off_are_accepted(pipeline):
    voices = {"person1": voice(0.2), "person2": voice(0.2, seed=1)}
    boxes = {"person1": (0, 0, 1300, 500), "person2": (1600, 0, 3000, 500)}
    request = GenerationRequest(
        image=Image.new("RGB", (3000, 500)), audio=voices, boxes=boxes, **{**FAST, "size": (64, 64)}
    )
    masks = _job(pipeline, request).person_masks
    assert masks.shape == (3, 16)
    assert masks.any(dim=1).all()


def test_a_presets_lora_is_active_for_its_job_only(pipeline, picture):
    short = {"image": picture, "audio": voice(0.4), **FAST}
    plain = next(pipeline.stream(GenerationRequest(preset="quality", **short))).latents
    tuned = next(pipeline.stream(GenerationRequest(preset="fusionx", shift=7.0, **short))).latents
    again = next(pipeline.stream(GenerationRequest(preset="quality", **short))).latents
    assert not torch.allclose(plain, tuned, rtol=1e-3, atol=1e-3)
    assert torch.equal(plain, again)


def test_an_unusable_lora_of_the_request_is_an_invalid_input(baked, pipeline, picture, tmp_path):
    path = tmp_path / "own.safetensors"
    request = {"image": picture, "audio": voice(0.4), **FAST}
    damaged = (baked / "loras" / FUSIONX).read_bytes()[:-1]
    other = save({"diffusion_model.blocks.99.norm3.diff_b": torch.ones(3)})
    for content, words in ((b"no tensors", "cannot be read"), (damaged, "bytes"), (other, "another model")):
        path.write_bytes(content)
        with pytest.raises(InvalidInput, match=words) as error:
            next(pipeline.stream(GenerationRequest(lora=path, preset="fusionx", **request)))
        assert error.value.field == "lora"
    next(pipeline.stream(GenerationRequest(preset="quality", **request)))


def test_a_damaged_lora_of_the_weights_is_a_weights_error(baked, pipeline, picture):
    path = baked / "loras" / FUSIONX
    content = path.read_bytes()
    request = GenerationRequest(image=picture, audio=voice(0.4), preset="fusionx", **FAST)
    path.write_bytes(content[:-1])
    try:
        with pytest.raises(WeightsError, match="bytes, but must have"):
            next(pipeline.stream(request))
    finally:
        path.write_bytes(content)


def test_an_incomplete_weights_folder_is_refused_by_file_name(baked, tmp_path):
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(baked, broken)
    missing = next(broken.glob("vae/*.safetensors"))
    missing.unlink()
    with pytest.raises(WeightsError, match=missing.name):
        MultiTalkPipeline.from_pretrained(broken, device="cpu")


def test_the_file_has_the_users_audio_and_the_length_of_the_video(pipeline, picture, tmp_path):
    import av

    rate, seconds = 44100, 1.3
    stereo = np.random.default_rng(1).normal(0, 0.1, (round(rate * seconds), 2)).astype(np.float32)
    soundfile.write(tmp_path / "voice.wav", stereo, rate)
    request = GenerationRequest(image=picture, audio=tmp_path / "voice.wav", **FAST)
    result = pipeline.generate(request, tmp_path / "out.mp4")
    with av.open(result.path) as file:
        video, sound = file.streams.video[0], file.streams.audio[0]
        assert (video.codec_context.name, video.codec_context.pix_fmt, video.average_rate) == (
            "h264",
            "yuv420p",
            25,
        )
        assert (sound.rate, sound.channels) == (rate, 2)
        assert sum(1 for _ in file.decode(video)) == result.frames
    assert abs(result.seconds - seconds) <= 1 / 25
    assert abs(read_sound(result.path).seconds - seconds) < 0.05


PEAK_MEMORY = """
import sys
import numpy as np
from PIL import Image
from multitalk.patches.imports import narrow_diffusers
with narrow_diffusers():  # as the commands do
    from multitalk import GenerationRequest, MultiTalkPipeline
from multitalk.runtime.process_memory import peak_memory, return_large_blocks

return_large_blocks()  # as the front ends do
folder, out, *lengths = sys.argv[1:]
pipeline = MultiTalkPipeline.from_pretrained(folder, device="cpu")
for seconds in map(int, lengths):
    sound = np.random.default_rng(0).normal(0, 0.1, seconds * 16000).astype(np.float32)
    request = GenerationRequest(
        image=Image.new("RGB", (192, 128), "teal"), audio=(sound, 16000), size=(128, 192), steps=1,
        text_guidance=1.0, audio_guidance=1.0, mark=False,  # signing has buffers
    )
    result = pipeline.generate(request, out)
    print(result.frames, peak_memory())
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_of_the_video(baked, tmp_path):
    short, long = 4, 20  # two clips, and eight
    run = subprocess.run(
        [sys.executable, "-c", PEAK_MEMORY, str(baked), str(tmp_path / "out.mp4"), str(short), str(long)],
        capture_output=True,
        text=True,
        check=True,
    )
    frames, peaks = zip(*(map(int, line.split()) for line in run.stdout.splitlines()[-2:]), strict=True)
    assert frames == (25 * short, 25 * long)
    more_frames = (frames[1] - frames[0]) * 128 * 192 * 3  # in bytes, as they are encoded
    assert peaks[1] - peaks[0] < more_frames
