"""The conditions against the published reference within rounding or 3e-6 relative."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from multitalk.conditioning.audio import encode_audio, normalize_loudness, to_model_rate
from multitalk.conditioning.image import encode_image, prepare_image
from multitalk.conditioning.people import person_masks
from multitalk.conditioning.resolve import choose_size
from multitalk.conditioning.text import encode_prompts
from multitalk.conditioning.voices import arrange_model_tracks
from multitalk.media.sound_reading import read_sound
from multitalk.models.video_vae import decode_latents, encode_condition
from tests.numbers import assert_close

from .conftest import recorded

BOUND = 3e-6
# Of the loudest sample: resampling sums hundreds of products, and soxr without SIMD differs by 3 epsilons.
SOUND_EPSILONS = 8


def test_buckets(load_case):
    for case in load_case("buckets").info["cases"]:
        for size in ("480p", "720p"):
            assert list(choose_size(f"{size}-bucket", case["h"], case["w"])) == case[size]


def test_image_is_cut_as_the_reference_does(load_case, cases):
    image = Image.open(cases / "picture.png").convert("RGB")
    for size, expected in load_case("image_preprocess").tensors.items():
        height, width = map(int, size.split("x"))
        assert_close(prepare_image(image, height, width), expected[0, :, 0])


def test_person_masks_are_exact(load_case):
    case = load_case("person_masks")
    for index, mask in enumerate(case.info["cases"]):
        boxes = mask["person_boxes_row0_col0_row1_col1"]
        if boxes is not None:  # the reference's are rows and columns, ours x and y
            boxes = {person: (box[1], box[0], box[3], box[2]) for person, box in boxes.items()}
        ours = person_masks(*mask["source"], *mask["target"], boxes)
        assert torch.equal(ours, case.tensors[f"mask_{index}"]), "zeros and ones, which nothing rounds"


def test_text_encoder(load_case, pipeline, relative_error):
    case = load_case("text_encoder")
    components = pipeline.components
    prompts = case.info["prompts"]
    with torch.inference_mode():
        contexts = encode_prompts(components.text_encoder, components.tokenizer, prompts, 512)
    for index, context in enumerate(contexts):
        assert relative_error(context[0], case.tensors[f"context_{index}"]) < BOUND


def test_image_encoder(load_case, pipeline, relative_error):
    tensors = load_case("image_encoder").tensors
    with torch.inference_mode():
        features = encode_image(pipeline.components.image_encoder, tensors["image"][0, :, 0])
    assert relative_error(features, tensors["features"]) < BOUND


@pytest.mark.parametrize("name", ["speech_a", "speech_b", "speech_c", "stereo_44100"])
def test_audio_encoder(name, load_case, cases, pipeline, relative_error):
    tensors = load_case("audio").tensors
    sound = read_sound(cases / f"{name}.wav")
    waveform = normalize_loudness(to_model_rate(sound.mono(), sound.rate))
    assert_close(*recorded(waveform, tensors[f"{name}.waveform"]), SOUND_EPSILONS)
    components = pipeline.components
    with torch.inference_mode():
        embedding = encode_audio(components.audio_encoder, waveform)
    assert relative_error(embedding, tensors[f"{name}.embedding"]) < BOUND


@pytest.mark.parametrize(("kind", "turns"), [("para", "together"), ("add", "in_order")])
def test_two_voices_on_one_timeline(kind, turns, load_case, cases):
    case = load_case("audio")
    voices = [read_sound(cases / name) for name in case.info[kind]]
    for person, track in enumerate(arrange_model_tracks(voices, turns), start=1):
        assert_close(*recorded(track, case.tensors[f"{kind}.person{person}"]), SOUND_EPSILONS)


def test_vae(load_case, pipeline, relative_error):
    tensors = load_case("vae").tensors
    vae, video = pipeline.components.vae, tensors["video"]
    with torch.inference_mode():
        latents = encode_condition(vae, video, video.shape[1])
        assert relative_error(latents, tensors["latents"]) < BOUND
        steady = encode_condition(vae, video[:, :1], 81)
        assert relative_error(steady, tensors["first_frame_then_zeros_latents"]) < BOUND
        decoded = torch.cat(list(decode_latents(vae, tensors["latents"])), dim=1)
        assert relative_error(decoded, tensors["decoded"]) < BOUND


@pytest.mark.parametrize("known", [1, 25])
def test_the_memoised_zero_tail_is_bitwise_the_plain_encoding(known, load_case, pipeline):
    vae, video = pipeline.components.vae, load_case("vae").tensors["video"]
    frames = video.repeat(1, 3, 1, 1)[:, :known]
    with torch.inference_mode():
        latents = encode_condition(vae, frames, 81)
        padded = torch.cat((frames, torch.zeros(3, 81 - known, *frames.shape[2:])), dim=1)
        plain = vae.encode(padded[None]).latent_dist.mode()
        mean, std = (
            torch.tensor(values).view(1, -1, 1, 1, 1)
            for values in (vae.config.latents_mean, vae.config.latents_std)
        )
        torch.testing.assert_close(latents, ((plain - mean) * (1.0 / std))[0], rtol=0, atol=0)
