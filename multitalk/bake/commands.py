"""The commands that make weights: ``bake`` and ``verify``, of the command line and of the image's build."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path

from ..errors import InvalidInput
from .catalogue import PRESETS
from .choices import TEXT_ENCODER_SOURCES
from .options import add_selection, selection_of

OnProgress = Callable[[str, float], None]


def add_bake(parser: argparse.ArgumentParser) -> None:
    """Options of ``bake``."""
    parser.add_argument("--from", dest="source", metavar="RAW_DIR", required=True, help="the published files")
    parser.add_argument("--to", dest="target", metavar="BAKED_DIR", required=True, help="the folder to write")
    add_selection(parser)
    parser.add_argument(
        "--lora",
        metavar="NAME_OR_FILE[:SCALE]",
        action="append",
        default=[],
        help="merge a preset's LoRA, or a file's, into the weights (repeatable)",
    )
    parser.add_argument(
        "--text-encoder-source", choices=TEXT_ENCODER_SOURCES, help="form of the text encoder to read"
    )
    parser.add_argument(
        "--as-fetched",
        action="store_true",
        help="read what fetch brings with the same options, whatever else lies in RAW_DIR",
    )
    parser.add_argument(
        "--check", action="store_true", help="read back what was written before it gets its name"
    )
    parser.add_argument(
        "--shard-gb", metavar="N", type=float, default=5.0, help="largest weights file, in 10^9 bytes (5)"
    )
    parser.add_argument("--default-preset", metavar="NAME", help="preset of requests that name none")
    parser.add_argument("--overwrite", action="store_true", help="replace a baked folder that is there")
    parser.set_defaults(command=bake_command)


def add_verify(parser: argparse.ArgumentParser) -> None:
    """Options of ``verify``."""
    parser.add_argument("folder", metavar="BAKED_DIR")
    parser.set_defaults(command=verify_command)


def bake_command(args: argparse.Namespace, progress: OnProgress | None = None) -> int:
    """Convert the published files into a baked folder."""
    loras = [lora_option(text) for text in args.lora]
    if args.default_preset is not None and args.default_preset not in PRESETS:
        raise InvalidInput(
            f"--default-preset is {args.default_preset[:80]!r}, but must be one of {', '.join(PRESETS)}.",
            "preset",
        )
    if not args.as_fetched and (args.preset or args.no_speech):
        raise InvalidInput(
            "--preset and --no-speech choose among what fetch brings: add --as-fetched.", "preset"
        )

    if not args.shard_gb > 0:
        raise InvalidInput(f"--shard-gb is {args.shard_gb:g}, but must be above 0.", "shard-gb")

    from .bake import bake

    manifest = bake(
        args.source,
        args.target,
        precision=args.precision,
        loras=loras,
        transformer_source=args.transformer_source,
        text_encoder_source=args.text_encoder_source,
        progress=progress,
        overwrite=args.overwrite,
        default_preset=args.default_preset,
        max_shard_bytes=args.shard_gb * 1e9,
        selection=selection_of(args) if args.as_fetched else None,
        check=args.check,
    )
    size = sum(record.size for record in manifest.files.values())
    checked = ", verified" if args.check else ""
    print(f"{args.target}: {len(manifest.files)} files, {size / 1e9:.2f} GB, {args.precision}{checked}")
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
    from ..weights.manifest import Manifest
    from ..weights.verify import verify

    problems = verify(args.folder)
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 1
    print(f"{len(Manifest.read(Path(args.folder)).files)} files verified")
    return 0
