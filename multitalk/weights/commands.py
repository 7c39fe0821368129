"""The commands that make weights: ``bake`` and ``verify``, of the command line and of the image's build."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from ..errors import InvalidInput

PRECISIONS = ("float32", "bf16", "fp8", "int8")


def add_bake(parser: argparse.ArgumentParser) -> None:
    """Options of ``bake``."""
    parser.add_argument("--from", dest="source", metavar="RAW_DIR", required=True, help="the published files")
    parser.add_argument("--to", dest="target", metavar="BAKED_DIR", required=True, help="the folder to write")
    parser.add_argument("--precision", choices=PRECISIONS, default="bf16", help="of the weights (bf16)")
    parser.add_argument(
        "--lora",
        metavar="NAME_OR_FILE[:SCALE]",
        action="append",
        default=[],
        help="merge a preset's LoRA, or a file's, into the weights (repeatable)",
    )
    parser.add_argument("--transformer-source", choices=("published", "int8", "int8-fusionx"))
    parser.add_argument("--text-encoder-source", choices=("published", "int8"))
    parser.add_argument("--default-preset", metavar="NAME", help="what jobs run with that name no preset")
    parser.add_argument("--overwrite", action="store_true", help="replace a baked folder that is there")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.set_defaults(command=bake_command)


def add_verify(parser: argparse.ArgumentParser) -> None:
    """Options of ``verify``."""
    parser.add_argument("folder", metavar="BAKED_DIR")
    parser.set_defaults(command=verify_command)


def bake_command(args: argparse.Namespace) -> int:
    """Converts the published files into a baked folder."""
    from ..presets import PRESETS
    from ..progress_display import ProgressDisplay
    from ..request_checks import check_choice

    loras = [lora_option(text) for text in args.lora]
    if args.default_preset is not None:
        check_choice(args.default_preset, "--default-preset", PRESETS)

    from .bake import bake

    with ProgressDisplay(sys.stderr, quiet=args.quiet) as display:
        manifest = bake(
            args.source,
            args.target,
            precision=args.precision,
            loras=loras,
            transformer_source=args.transformer_source,
            text_encoder_source=args.text_encoder_source,
            progress=display.show,
            overwrite=args.overwrite,
            default_preset=args.default_preset,
        )
    size = sum(record.size for record in manifest.files.values())
    print(f"{args.target}: {len(manifest.files)} files, {size / 1e9:.2f} GB, {args.precision}")
    return 0


def lora_option(text: str) -> tuple[str, float]:
    """``NAME_OR_FILE[:SCALE]`` as (name or file, scale).

    Raises:
        InvalidInput: The scale is no finite number.
    """
    name, colon, scale = text.rpartition(":")
    try:
        number = float(scale) if colon else 1.0
    except ValueError:  # a colon of the file's own name
        return text, 1.0
    if not math.isfinite(number):
        raise InvalidInput(f"--lora is {text[:80]!r}, but its scale must be a finite number.", "lora")
    return name if colon else text, number


def verify_command(args: argparse.Namespace) -> int:
    """Checks a baked folder's files against its manifest, every byte of them."""
    from .manifest import Manifest
    from .verify import verify

    problems = verify(args.folder)
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 1
    print(f"{len(Manifest.read(Path(args.folder)).files)} files verified")
    return 0
