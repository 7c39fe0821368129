"""The training scripts: drawings and voices are reproducible, and an interrupted run resumes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from demo_training import (
    audio_encoder,
    batches,
    clips,
    decoder,
    dub_clips,
    infinitetalk,
    infinitetalk_export,
    progress,
    transformer,
    vae,
)
from demo_training.drawing import still
from demo_training.export import export
from demo_training.scenes import HELD_OUT_SEED, make_scene
from demo_training.speech import HELD_OUT_VOICES, TRAINING_VOICES, make_random_track
from demo_training.vae import held_out_psnr
from multitalk import GenerationRequest, MultiTalkPipeline
from multitalk.weights.folders import audio_layers_part, part_files
from multitalk.weights.verify import verify
from tests.demo.paths import EXAMPLES


def test_a_scene_is_the_same_at_every_size():
    small, large = (still(make_scene(7, 2, height)).astype(float) for height in (160, 320))
    halved = large.reshape(160, 2, 240, 2, 3).mean((1, 3))
    assert np.abs(small - halved).mean() < 3


def test_lips_differ_from_the_skin():
    for seed in range(HELD_OUT_SEED, HELD_OUT_SEED + 20):
        scene = make_scene(seed)
        left, top, right, bottom = scene.faces[0].mouth_box
        mouth = still(scene)[top:bottom, left:right].reshape(-1, 3).astype(float)
        contrast = np.abs(mouth - np.array(scene.faces[0].skin)).sum(1)
        assert (contrast > 120).mean() > 0.05


def test_voices_are_reproducible_and_some_are_held_out():
    first, again = make_random_track(3, 2.0), make_random_track(3, 2.0)
    np.testing.assert_array_equal(first.samples, again.samples)
    assert first.opening.max() > 0.5
    assert not set(HELD_OUT_VOICES) & set(TRAINING_VOICES)


class Stopped(Exception):
    """Interrupts a run."""


@pytest.fixture
def stop_once(monkeypatch):
    """Interrupts the next training in its second step, before the checkpoint, once."""

    def arm() -> None:
        counted = progress.Log.add

        def add(self, step, **values):
            counted(self, step, **values)
            if step == 2:
                monkeypatch.setattr(progress.Log, "add", counted)
                raise Stopped

        monkeypatch.setattr(progress.Log, "add", add)

    return arm


@pytest.mark.slow
def test_all_steps_resume_after_an_interruption_and_make_a_video(tmp_path, monkeypatch, stop_once):
    """Every step of `make demo-weights`, tiny; each resumes once and ends with the same state as without."""
    monkeypatch.setattr(progress, "CHECKPOINT_EVERY", 1)
    monkeypatch.setattr(progress, "BACKUP", None)
    monkeypatch.setattr(clips, "SHARD", 2)
    monkeypatch.setattr(batches, "BATCH_SIZES", dict.fromkeys(clips.KINDS, 1))
    # crops of half the side or less, in a quarter of the time
    monkeypatch.setattr(vae, "CROP", 32)
    monkeypatch.setattr(decoder, "LENGTHS", dict.fromkeys(decoder.LENGTHS, 32))
    # measuring whole held-out clips after every second step would take most of the time
    for training in (vae, decoder):
        monkeypatch.setattr(training, "held_out_psnr", lambda model, frames=5: held_out_psnr(model, 1, 5))
    weights = tmp_path / "weights"
    steps = {
        "audio_encoder": lambda: audio_encoder.train(2, 2, 1e-3),
        "vae": lambda: vae.train(2, 0.5, 1e-3),
        "decoder": lambda: decoder.train(2, 1e-3),
        "transformer": lambda: transformer.train(2, 1e-3),
        "infinitetalk": lambda: infinitetalk.train(2, 1e-3, weights),
    }
    setting = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed
    before = setting()
    for name, train in steps.items():
        monkeypatch.setattr(progress, "WORK", tmp_path / "stopped")
        if name == "transformer":
            clips.make_shards(0, 1, 1)
        if name == "infinitetalk":
            export(weights)
            monkeypatch.setattr(clips, "SHARD", 1)
            dub_clips.make_shards(0, 2, 1, weights)
        torch.manual_seed(0)
        stop_once()
        with pytest.raises(Stopped):
            train()
        assert progress.load(name)["step"] == 1
        torch.manual_seed(0)
        train()
        stopped = progress.load(name)
        _copy_inputs(tmp_path / "stopped", tmp_path / "uninterrupted", name)
        monkeypatch.setattr(progress, "WORK", tmp_path / "uninterrupted")
        torch.manual_seed(0)
        train()
        uninterrupted = progress.load(name)
        assert stopped["step"] == uninterrupted["step"] == 2
        torch.testing.assert_close(stopped, uninterrupted, rtol=0, atol=0)
        assert setting() == before, "the setting is global"

    monkeypatch.setattr(progress, "WORK", tmp_path / "stopped")
    before_layers = load_file(weights / "transformer" / "diffusion_pytorch_model.safetensors")
    infinitetalk_export.export(weights)
    assert not list(verify(weights))
    [file] = part_files(weights, audio_layers_part("infinitetalk-single"))
    layers = load_file(file)
    assert set(layers) == {name for name in before_layers if infinitetalk.is_audio_layer(name)}
    assert all(layers[name].shape == before_layers[name].shape for name in layers)
    assert any(not torch.equal(layers[name], before_layers[name]) for name in layers), "they were trained"
    pipeline = MultiTalkPipeline.from_pretrained(weights, device="cpu")
    for source in ({"image": EXAMPLES / "one_person.png"}, {"video": EXAMPLES / "talking.mp4"}):
        request = GenerationRequest(**source, audio=EXAMPLES / "one_person.wav", steps=1, max_seconds=0.2)
        assert pipeline.generate(request, tmp_path / "out.mp4").frames == 5


def _copy_inputs(stopped: Path, uninterrupted: Path, name: str) -> None:
    """Copy the inputs of a step to the uninterrupted run."""
    uninterrupted.mkdir(exist_ok=True)
    for source in stopped.glob("*.pt"):
        if source.stem != name:
            (uninterrupted / source.name).write_bytes(source.read_bytes())
    for folder in (clips.FOLDER, dub_clips.FOLDER):
        if (stopped / folder).exists():
            shutil.copytree(stopped / folder, uninterrupted / folder, dirs_exist_ok=True)
