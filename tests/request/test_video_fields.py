"""A video in place of the image: the request's fields about it, and the choice of the model."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from multitalk.cli.fields import check_complete, request_fields
from multitalk.cli.main import build_parser
from multitalk.conditioning.length import expected_seconds, limit_seconds, padded_seconds
from multitalk.conditioning.metadata import make_metadata
from multitalk.conditioning.resolve import resolve_settings
from multitalk.errors import InvalidInput
from multitalk.media.sound import Sound
from multitalk.media.source_video import Video, read_video
from multitalk.request.aliases import translate
from multitalk.request.build import build_request, read_json_fields
from multitalk.request.generation_request import GenerationRequest
from multitalk.request.infinitetalk_names import OWN_NAMES, ignored_fields
from multitalk.request.model_kinds import MODELS, choose_model
from multitalk.request.presets import PRESETS
from multitalk.ui.queue_limits import check_memory
from tests.media.sound_files import tone
from tests.media.video_files import video

VOICE = (tone(1.0), 16000)
LONG = (tone(40.0), 16000)
PICTURE = Image.new("RGB", (200, 100), "gray")
ALL = ("multitalk", "infinitetalk-single", "infinitetalk-multi")


@pytest.fixture(scope="module")
def source() -> Video:
    """A silent video of 2 seconds; it is read once."""
    return read_video(video(frames=60))


@pytest.fixture(scope="module")
def with_sound() -> Video:
    """A video of 2 seconds with a tone of 1 second."""
    return read_video(video(frames=60, sound=tone(1.0)[:, 0]))


def problem(**fields: Any) -> tuple[str | None, str]:
    with pytest.raises(InvalidInput) as caught:
        build_request({"audio": VOICE, **fields})
    return caught.value.field, str(caught.value)


def test_a_video_is_a_path_or_bytes_and_its_first_frame_is_the_picture(tmp_path: Path) -> None:
    content = video(frames=5)
    (tmp_path / "file").write_bytes(content)  # the name does not matter
    for each in (content, tmp_path / "file", str(tmp_path / "file")):
        request = GenerationRequest(video=each, audio=VOICE)
        assert request.image is None
        assert request.picture.size == (96, 64)
        assert request.video is not None
        assert request.video.frames == 5
    assert GenerationRequest(image=PICTURE, audio=VOICE).picture.size == PICTURE.size


def test_defaults(source: Video) -> None:
    request = GenerationRequest(video=source, audio=VOICE)
    assert (request.model, request.video_timing, request.video_end) == (None, "time", "hold")
    assert (request.length, request.source_volume, request.source_sound) == ("audio", 0.0, None)


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({}, "image", "Provide an image in image, or a video in video"),
        ({"image": PICTURE, "video": "x.mp4"}, "video", "image and video cannot be used together"),
        ({"video": "nowhere.mp4"}, "video", "file not found"),
        ({"image": PICTURE, "video_timing": "frame"}, "video_timing", "needs a video ('frame')"),
        ({"image": PICTURE, "video_end": "loop"}, "video_end", "needs a video"),
        ({"image": PICTURE, "length": "shortest"}, "length", "needs a video"),
        ({"image": PICTURE, "source_volume": 0.5}, "source_volume", "needs a video (0.5)"),
        ({"image": PICTURE, "scenes": True}, "scenes", "needs a video (True)"),
        ({"image": PICTURE, "scenes": 1}, "scenes", "must be true or false, not 1"),
        ({"image": PICTURE, "dub": "exact"}, "dub", "needs a video ('exact')"),
        ({"image": PICTURE, "strength": 0.5}, "strength", "needs a video (0.5)"),
        ({"image": PICTURE, "dub": "exactly"}, "dub", "one of free, exact, not 'exactly'"),
        ({"image": PICTURE, "strength": 0}, "strength", "above 0 and at most 1"),
        ({"image": PICTURE, "model": "sora"}, "model", "one of multitalk, infinitetalk, not 'sora'"),
        ({"image": PICTURE, "length": "long"}, "length", "one of audio, video, shortest, not 'long'"),
        ({"image": PICTURE, "source_volume": 2}, "source_volume", "from 0 to 1, not 2"),
    ],
)
def test_invalid_fields(fields: dict[str, Any], field: str, words: str) -> None:
    field_in_error, sentence = problem(**fields)
    assert field_in_error == field
    assert words in sentence
    assert sentence.endswith(".")


def test_what_does_not_fit_the_video(source: Video, monkeypatch: pytest.MonkeyPatch) -> None:
    field, sentence = problem(video=source, model="multitalk")
    assert (field, sentence) == (
        "model",
        "model 'multitalk' animates an image, not a video. Use infinitetalk, or an image.",
    )
    field, sentence = problem(video=source, strength=0.5)
    assert (field, sentence) == (
        "strength",
        "strength needs dub 'exact' (0.5). Set dub to 'exact', or remove strength.",
    )
    field, sentence = problem(video=source, source_volume=0.5)
    assert field == "source_volume"
    assert "no audio track" in sentence
    assert "x must be from 0 to 96" in problem(video=source, boxes={"person1": [0, 0, 97, 10]})[1]
    monkeypatch.setenv("MAX_AUDIO_SECONDS", "1.5")
    assert "video is 2.0 seconds long" in problem(video=source, length="video")[1]
    assert GenerationRequest(video=source, audio=VOICE, length="video", max_seconds=1).max_seconds == 1


def test_lengths(source: Video) -> None:
    def lengths(seconds: float, **fields: Any) -> tuple[float, float | None, float]:
        request = GenerationRequest(video=source, audio=VOICE, **fields)
        each = padded_seconds(request, seconds), limit_seconds(request), expected_seconds(request, seconds)
        return tuple(None if value is None else round(value, 2) for value in each)  # type: ignore[return-value]

    assert lengths(1.0) == (1.0, None, 1.0)
    assert lengths(1.0, length="video") == (2.0, 2.0, 2.0)
    assert lengths(3.0, length="video") == (3.0, 2.0, 2.0)
    assert lengths(1.0, length="shortest") == (1.0, 2.0, 1.0)
    assert lengths(3.0, length="shortest") == (3.0, 2.0, 2.0)
    assert lengths(1.0, length="video", max_seconds=1.5) == (1.5, 1.5, 1.5)
    assert lengths(3.0, max_seconds=0.5) == (3.0, 0.5, 0.5)


def test_the_videos_sound_is_read_if_it_is_kept(with_sound: Video) -> None:
    assert GenerationRequest(video=with_sound, audio=VOICE).source_sound is None
    kept = GenerationRequest(video=with_sound, audio=VOICE, source_volume=0.5).source_sound
    assert isinstance(kept, Sound)
    assert kept.seconds == pytest.approx(1.0, abs=0.1)


def test_the_model_that_fits(source: Video) -> None:
    def chosen(layers: tuple[str, ...] = ALL, seconds: float = 1.0, **fields: Any) -> str:
        request = GenerationRequest(**{"image": PICTURE, "audio": VOICE, **fields})
        kind = choose_model(request, seconds, layers)
        return kind.audio_layers[request.people]

    two = {"audio": {"person1": VOICE, "person2": VOICE}}
    dub: dict[str, Any] = {"image": None, "video": source}
    assert chosen() == chosen(seconds=30.0) == "multitalk"
    assert chosen(seconds=30.04) == "infinitetalk-single"
    assert chosen(seconds=30.04, **two) == "infinitetalk-multi"
    assert chosen(**dub) == "infinitetalk-single"
    assert chosen(**dub, **two) == "infinitetalk-multi"
    assert chosen(model="infinitetalk") == "infinitetalk-single"
    assert chosen(model="multitalk", seconds=99) == "multitalk"
    assert chosen(ALL[:1], seconds=99) == "multitalk"
    assert chosen(ALL[1:]) == "infinitetalk-single"
    assert chosen((ALL[1], ALL[0]), **two) == "multitalk"
    for layers, fields, field, words in (
        (ALL[:1], dub, "video", "video needs InfiniteTalk"),
        (ALL[:1], {"model": "infinitetalk"}, "model", "lack infinitetalk-single"),
        (
            ALL[:2],
            {"model": "infinitetalk", **two},
            "model",
            "infinitetalk-multi, its audio layers for",
        ),
        (ALL[1:2], two, "audio", "no audio layers for several voices (infinitetalk-single)"),
        (ALL[1:], {"model": "multitalk"}, "model", "they have infinitetalk-single, infinitetalk-multi"),
    ):
        with pytest.raises(InvalidInput) as caught:
            chosen(layers, **fields)
        assert caught.value.field == field
        assert words in str(caught.value)


def test_each_model_has_its_own_defaults(source: Video) -> None:
    request = GenerationRequest(image=Image.new("RGB", (64, 64)), audio=VOICE)
    quality, demo = PRESETS["quality"], PRESETS["demo"]
    defaults = {
        name: (
            kind.motion_frames_of(request),
            *(kind.color_correction_of(request, quality, n) for n in (1, 2)),
        )
        for name, kind in MODELS.items()
    }
    assert defaults == {"multitalk": (25, 0.0, 1.0), "infinitetalk": (9, 1.0, 1.0)}
    dub = GenerationRequest(video=source, audio=VOICE)
    for no_correction in ((dub, quality), (request, demo)):  # the first frame may be dark; a mouth would fade
        assert {kind.color_correction_of(*no_correction, 2) for kind in MODELS.values()} == {0.0}
    changed = GenerationRequest(video=source, audio=VOICE, motion_frames=5, color_correction=0.5)
    for kind in MODELS.values():
        assert (kind.motion_frames_of(changed), kind.color_correction_of(changed, demo, 2)) == (5, 0.5)
    short = GenerationRequest(video=source, audio=VOICE, frames_per_clip=9)
    assert {kind.motion_frames_of(short) for kind in MODELS.values()} == {5}


@pytest.mark.parametrize(
    ("preset", "size", "settings"),
    [
        ("quality", (480, 832), (40, 7.0, 5.0, 4.0)),
        ("quality", (720, 1280), (40, 11.0, 5.0, 4.0)),
        ("fusionx", (480, 832), (8, 2.0, 1.0, 2.0)),
        ("lightx2v", (720, 1280), (4, 2.0, 1.0, 2.0)),
    ],
)
def test_presets_have_the_settings_that_infinitetalk_is_used_with(preset, size, settings, source) -> None:
    request = GenerationRequest(video=source, audio=VOICE, preset=preset, size=size)
    sampling = resolve_settings(request, PRESETS[preset]).sampling
    values = (sampling.steps, sampling.shift, sampling.text_guidance, sampling.audio_guidance)
    assert values == settings


def test_a_files_settings_name_the_model_and_what_was_done_with_the_video(source: Video) -> None:
    request = GenerationRequest(video=source, audio=VOICE, length="shortest")
    sampling = resolve_settings(request, PRESETS["quality"]).sampling
    comment = make_metadata(request, PRESETS["quality"], MODELS["infinitetalk"], sampling, 1, 1)["comment"]
    for part in ('"model": "infinitetalk"', '"motion_frames": 9', '"length": "shortest"'):
        assert part in comment


def test_on_the_command_line_and_in_json_files(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(video(frames=5))
    (tmp_path / "job.json").write_text('{"video": "clip.mp4", "video_end": "loop"}')
    fields = read_json_fields(tmp_path / "job.json")
    assert fields["video"] == str(tmp_path / "clip.mp4")

    def parsed(*argv: str) -> dict[str, Any]:
        return request_fields(build_parser().parse_args(["generate", "-o", "x.mp4", *argv]))

    options = [
        "--video",
        "a.mp4",
        "--audio",
        "b.wav",
        "--set",
        "video_timing=frame",
        "--set",
        "source_volume=0.3",
        "--scenes",
    ]
    fields = parsed(*options)
    check_complete(fields)
    assert fields == {"video": "a.mp4", "audio": "b.wav", "video_timing": "frame", "source_volume": 0.3} | {
        "scenes": True
    }
    assert "scenes" not in parsed("--video", "a.mp4")
    assert parsed("--no-scenes")["scenes"] is False
    job = str(tmp_path / "job.json")
    assert "video" not in parsed("--request", job, "--image", "face.png")
    with pytest.raises(InvalidInput, match=r"Add --image FILE, or --video FILE\.$"):
        check_complete(parsed("--audio", "b.wav"))


@pytest.mark.parametrize(
    ("job", "fields"),
    [
        (
            {
                "input_type": "image",
                "person_count": "single",
                "image_url": "u",
                "wav_url": "a",
                "prompt": "p",
            },
            {"image": "u", "audio": {"person1": "a"}, "prompt": "p", "size": (512, 512)},
        ),
        (
            {"input_type": "image", "person_count": "multi", "image_base64": "i", "wav_path": "a"}
            | {"wav_path_2": "b", "width": 640, "height": 361},
            {"image": "i", "audio": {"person1": "a", "person2": "b"}, "size": (368, 640)},
        ),
        (
            {"input_type": "video", "video_path": "v", "image_path": "", "wav_base64": "a", "max_frame": 50},
            {"video": "v", "audio": {"person1": "a"}, "size": (512, 512), "max_seconds": 2.0},
        ),
        (
            {"input_type": "video", "person_count": "multi", "video_url": "v", "wav_url": "a"}
            | {"force_offload": False, "network_volume": True, "size": "480p"},
            {"video": "v", "audio": {"person1": "a", "person2": "a"}, "size": "480p"},
        ),
    ],
)
def test_jobs_of_the_known_infinitetalk_worker(job: dict[str, Any], fields: dict[str, Any]) -> None:
    assert translate(job) == {"model": "infinitetalk", **fields}


@pytest.mark.parametrize(
    ("job", "field", "words"),
    [
        ({"image_url": "u", "image_path": "p"}, "image", "image_path and image_url set the same file"),
        (
            {"wav_url_2": "u", "wav_base64_2": "p", "person_count": "multi"},
            "audio",
            "wav_url_2 and wav_base64_2",
        ),
        ({"input_type": "text"}, "input_type", "one of image, video, not 'text'"),
        ({"person_count": 2}, "person_count", "one of single, multi, not 2"),
        ({"max_frame": 0}, "max_seconds", "max_frame must be a whole number"),
        ({"image_url": "u", "image": "i"}, "image", "image and image_url set the same field"),
        (
            {"video_url": "u", "video": "v", "input_type": "video"},
            "video",
            "video and video_url set the same field",
        ),
        ({"wav_url": "u", "audio": "v"}, "audio", "audio and wav_url set the same field"),
        ({"wav_url": "u", "audio_paths": {"person1": "v"}}, "audio", "audio_paths and wav_url set the same"),
        ({"max_frame": 50, "max_seconds": 2}, "max_seconds", "max_seconds and max_frame set the same"),
        ({"image_url": "u", "size": "480p", "width": 512}, "size", "size and width set the same field"),
        (
            {"wav_url_2": "u", "person_count": "multi"},
            "wav_url_2",
            "wav_url_2 is set, but the first voice is missing. A single voice is wav_path, wav_url or wav_b",
        ),
        ({"wav_url_2": "u"}, "wav_url_2", "the first voice is missing"),
    ],
)
def test_invalid_jobs_of_that_worker(job: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        translate(job)
    assert caught.value.field == field
    assert words in str(caught.value)


def test_sides_of_any_size_are_rounded_as_in_that_worker() -> None:
    job = {"image_url": "u", "wav_url": "a", "width": 64}
    for side, rounded in ((361, 368), (72, 64), (88, 96), ("361", 368), (360.9, 368), ("", 512)):
        assert translate(job | {"height": side})["size"] == (rounded, 64)
    for side in (10**400, "many", True, math.inf):
        with pytest.raises(InvalidInput, match="height must be a whole number from 64 to 2048"):
            translate(job | {"height": side})


@pytest.mark.parametrize(
    ("job", "ignored"),
    [
        ({"image_url": "i", "wav_url": "a"}, []),
        ({"image_url": "i", "video_path": "", "wav_url": "a", "wav_url_2": None}, []),
        ({"image": "i", "audio_paths": {}}, []),
        ({"video_path": "v", "wav_url": "a"}, []),  # of one file, the type is plain
        (
            {"input_type": "video", "video_url": "v", "image_base64": "i", "wav_url": "a"},
            ["image_base64 was ignored, because input_type is 'video'."],
        ),
        (
            {"video_url": "v", "image_path": "i", "wav_url": "a"},
            ["video_url was ignored, because input_type is 'image'."],
        ),
        (
            {"image_url": "i", "wav_url": "a", "wav_path_2": "b", "person_count": "single"},
            ["wav_path_2 was ignored, because person_count is 'single'. Set it to 'multi'."],
        ),
        ({"image_url": "i", "wav_url": "a", "wav_path_2": "b", "person_count": "multi"}, []),
    ],
)
def test_files_that_contradict_another_field_are_ignored_with_a_warning(
    job: dict[str, Any], ignored: list[str]
) -> None:
    assert ignored_fields(job) == ignored
    translated = translate(job)
    assert ("video" in translated) is (job.get("input_type") == "video" or "image" not in str(job))


def test_a_second_voice_beside_a_text() -> None:
    job = {"image_url": "i", "speech": "Hello", "wav_url_2": "b", "person_count": "multi"}
    assert translate(job)["audio"] == {"person2": "b"}


def test_a_json_file_with_contents(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    path.write_text(json.dumps({"image": "x" * 300, "audio": "y" * 5000}))
    assert read_json_fields(path) == {"image": "x" * 300, "audio": "y" * 5000}


@pytest.mark.parametrize("share", [0.7, 2.0])  # one that JSON still reads, one that it does not
def test_a_json_file_nested_too_deeply(tmp_path: Path, share: float) -> None:
    path = tmp_path / "job.json"
    levels = int(share * sys.getrecursionlimit())  # libraries raise it
    path.write_text('{"lora": ' + levels * "[" + levels * "]" + "}")
    with pytest.raises(InvalidInput, match=r"job\.json' cannot be read: it is nested too deeply"):
        read_json_fields(path)


def test_every_name_of_that_worker_is_known() -> None:
    files = {f"{kind}_{form}" for kind in ("image", "video", "wav") for form in ("path", "url", "base64")}
    files |= {f"wav_{form}_2" for form in ("path", "url", "base64")}
    assert {*OWN_NAMES, "image_path"} == files | {"input_type", "person_count", "max_frame"}


def test_a_sound_of_a_video_is_in_time_with_its_frames() -> None:
    from multitalk.media.mix import repeated, shifted, with_background

    sound = Sound(np.ones((100, 1), np.float32), 100)
    assert shifted(sound, 0.5).samples[:, 0].tolist() == [0.0] * 50 + [1.0] * 100
    assert len(shifted(sound, -0.25).samples) == 75
    looped = repeated(sound, 1.5, 3.2).samples[:, 0]
    assert looped.tolist() == ([1.0] * 100 + [0.0] * 50) * 2 + [1.0] * 20
    voices = Sound(np.full((16000, 1), 0.25, np.float32), 16000)
    loud = Sound(np.full((32000, 2), 0.5, np.float32), 16000)
    mixed = with_background(voices, loud, 0.5, 1.0)
    assert mixed.samples.shape == (16000, 2)
    np.testing.assert_allclose(mixed.samples, 0.5)


def test_the_size_of_a_continued_video_needs_no_decoding() -> None:
    """A worker logs it, and the page's queue counts it: a video may have one key frame and hours."""
    request = GenerationRequest(continue_from=video(frames=30), audio=(tone(1.0), 16000))
    assert request.continue_from is not None
    assert request.picture_size == request.continue_from.picture.size
    check_memory([], request, 10**9)
    assert "last_picture" not in vars(request.continue_from)
    assert request.picture.size == request.picture_size
