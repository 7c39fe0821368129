"""What precisions cost in exactness: ``python -m benchmarks.precision [--weights BAKED_DIR] [--size H W]``.

A job with one person and one with two are run, and what their model calls were given is kept. The same calls
are then made in other precisions, with activations in bfloat16. Errors are relative (L2) to float32.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from multitalk import MultiTalkPipeline
from multitalk.models.quantized import QUANTIZED_LINEARS, QuantizedLinear
from multitalk.models.transformer import MultiTalkTransformer
from multitalk.weights.folders import EMBEDDED_FOLDER
from multitalk.weights.store import WeightsFolder, load_part

from .recorded_calls import Call, Recording, record

# Kinds of layers by their names.
CLASSES = {
    "self-attention": r"blocks\.\d+\.attn1\.",
    "text and image attention": r"blocks\.\d+\.attn2\.",
    "audio attention": r"blocks\.\d+\.audio_attn\.",
    "feed-forward": r"blocks\.\d+\.ffn\.",
    "text embedder": r"condition_embedder\.text_embedder\.",
    "image embedder": r"condition_embedder\.image_embedder\.",
    "time path": r"condition_embedder\.time_",
    "audio projection": r"audio_projection\.",
    "output layer": r"proj_out",
}
IN_BLOCKS = tuple(CLASSES)[:4]


@dataclass(frozen=True)
class Variant:
    """A way to run the model: precision of the layers, and what multiplies (None: dequantized)."""

    name: str
    quantization: str | None
    matmul: str | None = None


VARIANTS = (
    Variant("bf16", None),
    Variant("int8", "int8"),
    Variant("int8 x int8", "int8", "int8"),
    Variant("fp8", "fp8"),
    Variant("fp8 x fp8", "fp8", "fp8"),
)


def relative_error(value: torch.Tensor, expected: torch.Tensor) -> float:
    return float((value.double() - expected.double()).norm() / expected.double().norm())


def load_variant(folder: WeightsFolder, part: str, variant: Variant, rows: int) -> Any:
    """Load a part in bfloat16 and a precision; layers with at least so many rows multiply in 8 bits."""
    model = load_part(folder, part, "cpu", torch.bfloat16, variant.quantization)
    for layer in model.modules():
        if isinstance(layer, QuantizedLinear):
            layer.matmul, layer.minimal_rows = variant.matmul, rows
    return model


def linears(model: nn.Module) -> dict[str, Any]:
    return {name: layer for name, layer in model.named_modules() if hasattr(layer, "in_features")}


def outputs_of_layers(
    model: nn.Module, call: Any
) -> tuple[dict[str, tuple[torch.Tensor, torch.Tensor]], torch.Tensor]:
    """Inputs and outputs of all linear layers in one call, and the call's result."""
    seen: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def keep(name: str) -> Any:
        def hook(layer: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            seen[name] = (args[0], output)

        return hook

    handles = [layer.register_forward_hook(keep(name)) for name, layer in linears(model).items()]
    result = call(model)
    for handle in handles:
        handle.remove()
    return seen, result


def layer_errors(
    seen: dict[str, tuple[torch.Tensor, torch.Tensor]], model: nn.Module, pattern: str
) -> list[float]:
    """Errors of the layers whose names fit, each with the inputs of the float32 layer."""
    layers = linears(model)
    return [
        relative_error(layers[name](inputs.to(torch.bfloat16)).float(), expected)
        for name, (inputs, expected) in seen.items()
        if re.match(pattern, name) and (layers[name].weight.dtype != torch.float32)
    ]


def table(title: str, header: list[str], rows: Iterator[list[str]]) -> None:
    print(f"\n{title}\n")
    print(f"| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def percent(value: float) -> str:
    return f"{100 * value:.2f} %"


def measure_variants(folder: WeightsFolder, exact: MultiTalkTransformer, calls: list[Call]) -> None:
    """Errors per kind of layer, and of whole model calls."""
    seen, _ = outputs_of_layers(exact, calls[-1].run)
    expected = [call.run(exact) for call in calls]
    rows: dict[str, list[str]] = {name: [] for name in (*IN_BLOCKS, "layer, worst", *(c.name for c in calls))}
    for variant in VARIANTS:
        model = load_variant(folder, "transformer", variant, rows=calls[0].tokens)
        worst = 0.0
        for kind in IN_BLOCKS:
            errors = layer_errors(seen, model, CLASSES[kind])
            rows[kind].append(percent(sum(errors) / len(errors)))
            worst = max(worst, *errors)
        rows["layer, worst"].append(percent(worst))
        for call, answer in zip(calls, expected, strict=True):
            rows[call.name].append(percent(relative_error(call.run(model), answer)))
    names = ["transformer", *(variant.name for variant in VARIANTS)]
    table("Layers of the blocks (mean), and whole model calls", names, ([k, *v] for k, v in rows.items()))


def measure_text_encoder(folder: WeightsFolder, recording: Recording) -> None:
    exact = load_part(folder, "text_encoder", "cpu", torch.float32)
    rows: dict[str, list[str]] = {"attention": [], "feed-forward": [], "encoded prompt": []}
    variants = VARIANTS[:2]
    seen, expected = outputs_of_layers(exact, recording.prompt.run)
    for variant in variants:
        model = load_variant(folder, "text_encoder", variant, rows=0)
        for kind, pattern in (("attention", r".*SelfAttention"), ("feed-forward", r".*DenseReluDense")):
            errors = layer_errors(seen, model, pattern)
            rows[kind].append(percent(sum(errors) / len(errors)))
        rows["encoded prompt"].append(percent(relative_error(recording.prompt.run(model), expected)))
    names = ["text encoder", *(variant.name for variant in variants)]
    table("The text encoder", names, ([k, *v] for k, v in rows.items()))


def measure_sensitivity(exact: MultiTalkTransformer, calls: list[Call]) -> None:
    """One kind of layer quantized at a time, everything else in float32: the error of a model call."""
    expected = [call.run(exact) for call in calls]
    shares = parameter_shares()

    def rows() -> Iterator[list[str]]:
        for kind, pattern in CLASSES.items():
            row = [kind, f"{100 * shares[kind]:.2f} %"]
            chosen = [layer for name, layer in linears(exact).items() if re.match(pattern, name)]
            for precision in ("int8", "fp8"):
                kept = [layer.weight.data for layer in chosen]
                for layer in chosen:
                    weight, scale = QUANTIZED_LINEARS[precision].quantize(layer.weight)
                    layer.weight.data = weight.float() * scale
                errors = [
                    relative_error(call.run(exact), answer)
                    for call, answer in zip(calls, expected, strict=True)
                ]
                for layer, weight in zip(chosen, kept, strict=True):
                    layer.weight.data = weight
                row += [percent(sum(errors) / len(errors)), percent(max(errors))]
            yield row

    header = ["weights quantized", "share at 18.9 B", "int8, mean", "int8, worst", "fp8, mean", "fp8, worst"]
    table("One kind of layer at a time, all else in float32: error of a model call", header, rows())


def parameter_shares() -> dict[str, float]:
    """Each kind's share of the published model's parameters."""
    with torch.device("meta"):
        model = MultiTalkTransformer(num_layers=40)
    total = sum(parameter.numel() for parameter in model.parameters())
    return {
        kind: sum(layer.weight.numel() for name, layer in linears(model).items() if re.match(pattern, name))
        / total
        for kind, pattern in CLASSES.items()
    }


def main(arguments: list[str] | None = None) -> int:
    """Print the tables; returns the exit status."""
    parser = argparse.ArgumentParser(prog="precision", description=__doc__)
    parser.add_argument("--weights", type=Path, default=EMBEDDED_FOLDER, help="a baked folder, unquantized")
    parser.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="of the video")
    options = parser.parse_args(arguments)
    pipeline = MultiTalkPipeline.from_pretrained(options.weights, device="cpu", dtype=torch.float32)
    print(f"torch {torch.__version__}, {pipeline.folder.manifest.name}")
    recording = record(pipeline, tuple(options.size) if options.size else "160p")
    with torch.inference_mode():
        exact = pipeline.components.transformer
        measure_variants(pipeline.folder, exact, recording.calls)
        measure_text_encoder(pipeline.folder, recording)
        measure_sensitivity(exact, recording.calls)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
