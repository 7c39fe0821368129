"""The options that say which published files are used: the same for the fetch and for the bake after it."""

from __future__ import annotations

import argparse

from .catalogue import LORA_PRESETS, Selection, select
from .choices import PRECISIONS, TRANSFORMER_SOURCES


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add them."""
    parser.add_argument("--precision", choices=PRECISIONS, default="bf16", help="of the baked weights (bf16)")
    parser.add_argument(
        "--transformer-source", choices=TRANSFORMER_SOURCES, help="form of the transformer to read"
    )
    parser.add_argument(
        "--preset",
        action="append",
        choices=(*LORA_PRESETS, "none"),
        help="take the LoRA of this preset (repeatable; all when left out)",
    )
    parser.add_argument("--no-speech", action="store_true", help="without Kokoro and spaCy's model")


def selection_of(args: argparse.Namespace) -> Selection:
    """What they choose."""
    presets = LORA_PRESETS if args.preset is None else tuple(set(args.preset) - {"none"})
    return select(args.precision, args.transformer_source, presets, not args.no_speech)
