"""The benchmark on small networks on a CPU, and what it counts."""

from __future__ import annotations

import json
from itertools import product
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from multitalk.bench.floor import Counter
from multitalk.bench.job import (
    BenchOptions,
    add_lora,
    bench_plan,
    bench_workload,
    make_pipeline,
    make_request,
    sizes_of,
)
from multitalk.bench.measure import _count_computed
from multitalk.bench.networks import SCALES, make_text_encoder, make_transformer, make_vae
from multitalk.cli.main import main
from multitalk.conditioning.resolve import resolve_settings
from multitalk.pipeline.clips import make_sampling
from multitalk.request.presets import PRESETS
from multitalk.runtime.sizes import PUBLISHED

TINY = ("--scale", "tiny", "--size", "64", "64", "--frames", "9", "--device", "cpu")


@pytest.fixture(scope="module", autouse=True)
def small_peaks():
    from multitalk.bench import floor

    patch = pytest.MonkeyPatch()
    for name, value in (("SIDE", 64), ("COPY", 1 << 16), ("REPEATS", 1)):
        patch.setitem(getattr(floor, name), "cpu", value)
    yield
    patch.undo()


def test_a_run_measures_every_stage_and_two_are_compared(tmp_path, capsys):
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    assert main(["bench", *TINY, "--steps", "2", "--output", str(first)]) == 0
    printed = capsys.readouterr().out
    result = json.loads(first.read_text())
    stages = {stage["stage"]: stage for stage in result["stages"]}
    assert set(stages) == {"text", "audio", "image", "encode", "denoise", "decode", "video"}
    for name in ("text", "audio", "encode", "denoise", "decode"):
        assert stages[name]["seconds"] > 0
        assert stages[name]["operations"] > 0
        assert stages[name]["bytes"] > 0
        assert name in printed
    assert sum(stage["seconds"] for stage in result["stages"]) <= result["seconds"]
    assert result["ceilings"]["matmul"]["float32"] > 0
    assert result["seconds"] > 0

    options = ("--people", "2", "--clips", "2", "--preset", "quality", "--steps", "7", "--teacache", "0.2")
    more = ("--precision", "int8", "--batch-branches")
    assert main(["bench", *TINY, *options, *more, "--output", str(second)]) == 0
    printed = capsys.readouterr().out
    later = json.loads(second.read_text())
    assert later["plan"]["transformer_precision"] == "int8"
    assert later["steps"]["computed"] < later["steps"]["all"] == 7, "TeaCache skips something"
    assert " computed" in printed

    assert main(["bench", "--compare", str(first), str(second)]) == 0
    compared = capsys.readouterr().out
    assert "denoise" in compared
    assert "different people: 1 and 2" in compared


def test_what_is_no_result_is_refused(tmp_path, capsys):
    (tmp_path / "a.json").write_text("{}")
    assert main(["bench", "--compare", str(tmp_path / "a.json"), str(tmp_path / "a.json")]) == 2
    assert "is not a result of multitalk bench" in capsys.readouterr().err


def test_operations_are_counted():
    generator = torch.Generator().manual_seed(0)
    tokens, weight = torch.randn(3, 5, 8, generator=generator), torch.randn(6, 8, generator=generator)
    with torch.inference_mode(), Counter() as counter:
        F.linear(tokens, weight)
    assert counter.work.operations == 2 * 3 * 5 * 8 * 6
    assert counter.work.bytes == 4 * (3 * 5 * 8 + 6 * 8 + 3 * 5 * 6)
    with torch.inference_mode(), Counter() as counter:
        F.scaled_dot_product_attention(*(torch.randn(2, 4, 10, 16) for _ in range(3)))
    assert counter.work.operations == 2 * (2 * 4 * 10 * 10 * 16) * 2
    with torch.inference_mode(), Counter() as counter:
        F.conv3d(torch.randn(1, 4, 5, 6, 7), torch.randn(8, 4, 3, 3, 3))
    assert counter.work.operations == 2 * (8 * 3 * 4 * 5) * (4 * 27)
    with torch.inference_mode(), Counter() as counter:
        tokens.transpose(0, 1).flatten()[1:].view(-1)
        assert counter.work.operations == 0


@pytest.mark.parametrize("precision", [None, "int8", "fp8"])
def test_random_networks_give_finite_numbers(precision):
    scale = SCALES["tiny"]
    transformer = make_transformer(scale, precision=precision)
    with torch.inference_mode():
        text = make_text_encoder(scale, precision=precision and "int8")(input_ids=torch.tensor([[4, 5, 1]]))
        output = transformer(
            torch.randn(1, 36, 2, 4, 4),
            torch.tensor([900.0]),
            transformer.project_text(text.last_hidden_state),
            transformer.project_image(torch.randn(1, 257, scale.image_dim)),
            transformer.project_audio(torch.randn(1, 5, 5, scale.audio_layers, scale.audio_dim)),
        )
        frames = make_vae(scale).decode(torch.randn(1, 16, 1, 4, 4)).sample
    assert output.isfinite().all()
    assert output.std() > 0.01
    assert frames.isfinite().all()


def test_half_precision_networks_keep_what_the_real_ones_keep():
    transformer = make_transformer(SCALES["tiny"], dtype=torch.bfloat16)
    dtypes = {name: parameter.dtype for name, parameter in transformer.named_parameters()}
    assert dtypes["blocks.0.attn1.to_q.weight"] == torch.bfloat16
    assert dtypes["condition_embedder.time_proj.weight"] == torch.float32


def test_the_real_scale_is_the_published_model():
    sizes = sizes_of(SCALES["real"])
    assert sizes == PUBLISHED
    assert SCALES["real"].cut(2).layers == 2
    assert SCALES["real"].cut(2).text_layers == 2


def test_the_job_has_the_clips_that_were_asked_for():
    request = make_request(BenchOptions(scale="tiny", height=64, width=64, frames=9, clips=3))
    assert request.motion_frames == 5
    assert request.audio["person1"].seconds == (9 + 2 * 4) / 25


@pytest.mark.slow
def test_the_gpu_script_runs_all_its_parts(tmp_path, capsys):
    """On a CPU with small networks: only that it runs is checked."""
    from benchmarks.gpu import CLIPS
    from benchmarks.gpu import main as measure_gpu
    from benchmarks.model_calls import HOW, PRECISIONS

    output = tmp_path / "gpu.json"
    assert measure_gpu(["--tiny", "--output", str(output)]) == 0
    rows = json.loads(output.read_text())["rows"]
    assert [row for row in rows if "error" in row] == []
    calls = [row for row in rows if "how" in row]
    assert {(row["precision"], row["how"]) for row in calls} == set(product(PRECISIONS, HOW))
    assert all(row["floor"] > 0 for row in calls if row["how"] != "two people")
    assert {row["name"] for row in rows if row["part"] == "clips"} == {name for name, _ in CLIPS}
    assert {row["precision"] for row in rows if row["part"] == "caps"} == {"int8", "bf16"}
    parts = [row["part"] for row in rows]
    assert parts[:10] == [*["calls"] * 7, "clips", *["caps"] * 2], "the most valuable rows first"
    assert "GB claimed" in capsys.readouterr().out


def test_the_gpu_script_ends_in_time_and_survives_failures(tmp_path, capsys, monkeypatch):
    from benchmarks import gpu

    output = tmp_path / "gpu.json"
    seconds = iter([0.0, *[0.0] * 6, *[10.0] * 200])  # before each measurement
    monkeypatch.setattr(gpu.time, "monotonic", lambda: next(seconds))

    def failing(calls, precision, *arguments):
        raise RuntimeError(f"no kernel for {precision}\nand a trace")

    monkeypatch.setattr(gpu.ModelCalls, "measure", failing)
    assert gpu.main(["--tiny", "--seconds", "5", "--precisions", "int8", "--output", str(output)]) == 0
    rows = json.loads(output.read_text())["rows"]
    assert rows[1]["error"] == "RuntimeError: no kernel for int8"
    assert {row.get("precision", "int8") for row in rows} == {"int8"}
    assert rows[-1]["error"] == "not measured: the time was over"
    assert "not measured" in capsys.readouterr().out


@pytest.mark.slow
def test_the_correctness_script_compares_and_reports(tmp_path, capsys, monkeypatch):
    """On a CPU with itself: the jobs agree to the last bit, and a wrong backend is found."""
    from benchmarks import gpu_correctness

    output = tmp_path / "checks.json"
    assert gpu_correctness.main(["--cpu", "--output", str(output)]) == 0
    rows = json.loads(output.read_text())
    assert len([row for row in rows if row["name"].startswith("job") and row["error"] == 0]) == 5
    monkeypatch.setattr(gpu_correctness, "JOBS", ())
    monkeypatch.setattr(gpu_correctness, "color_error", lambda device: 1.0)
    assert gpu_correctness.main(["--cpu", "--output", str(output)]) == 1
    assert "FAILED  color correction" in capsys.readouterr().out
    assert [row["name"] for row in json.loads(output.read_text()) if not row["passed"]] == [
        "color correction"
    ]


def test_the_gpu_script_needs_a_gpu(tmp_path, capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    from benchmarks.gpu import main as measure_gpu

    assert measure_gpu(["--output", str(tmp_path / "gpu.json")]) == 1
    assert "no GPU found" in capsys.readouterr().err


def test_the_planner_gets_the_workload_of_the_pipeline():
    job = bench_workload(BenchOptions(height=720, width=1280, frames=9, preset="quality", cache="magcache"))
    assert (job.height, job.width, job.frames, job.branches, job.calls) == (720, 1280, 9, 3, 120)
    assert job.keeps_residuals


def test_steps_that_teacache_skips_are_counted_for_each_size(tmp_path):
    """Shift and coefficients differ between 480p and 720p."""
    counts = {}
    for side in (64, 864):
        options = BenchOptions(
            scale="tiny", height=side, width=side, frames=5, preset="quality", teacache=0.3, device="cpu"
        )
        pipeline = make_pipeline(options, bench_plan(options), tmp_path)
        request = make_request(options)
        settings = resolve_settings(request, PRESETS["quality"])
        outline = SimpleNamespace(strength=None, color_correction=0.0)
        job = SimpleNamespace(settings=settings, seed=0, image=torch.zeros(3, 2, 2), outline=outline)
        with torch.inference_mode():
            expected = make_sampling(
                request, job, pipeline.components.transformer, torch.device("cpu")
            ).computed
        counts[settings.resolution] = _count_computed(pipeline, request, settings.sampling.steps)
        assert counts[settings.resolution] == sum(expected)
    assert set(counts) == {"480p", "720p"}


def test_a_lora_is_placed_where_streamed_blocks_compute():
    transformer = make_transformer(SCALES["tiny"], "cpu", torch.float32, None)
    add_lora(transformer, 2, torch.device("meta"))
    placed = {name: buffer.device.type for name, buffer in transformer.named_buffers() if "lora_" in name}
    assert placed
    assert set(placed.values()) == {"meta"}
    assert all(parameter.device.type == "cpu" for parameter in transformer.parameters())
