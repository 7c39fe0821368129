"""The commands ``fetch``, ``bake`` and ``verify``, of the command line and of the image's build."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path

from ..errors import InvalidInput, MultiTalkError
from .catalogue import PRESETS
from .downloads import Retries
from .lock import LOCK_FILE
from .selection import TEXT_ENCODER_SOURCES, add_selection, check_choice, selection_of

OnProgress = Callable[[str, float], None]


def add_fetch(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fetch``."""
    parser.add_argument("--to", metavar="RAW_DIR", help="folder for the published files")
    parser.add_argument(
        "--bake-to",
        metavar="BAKED_DIR",
        type=Path,
        help="baked folder to be written afterwards: check that it can be, before the download",
    )
    parser.add_argument(
        "--layer-gb",
        metavar="N",
        type=float,
        help="largest image layer of the baked folder: check that the layers hold it, before the download",
    )
    add_selection(parser)
    parser.add_argument(
        "--speech",
        action="store_true",
        help="fetch Kokoro's voices alone (0.4 GB), for weights without them; by default, "
        "into the folder where they are found",
    )
    parser.add_argument(
        "--lock",
        action="store_true",
        help="write the hub's current revisions and hashes to the lock file, and stop",
    )
    parser.add_argument("--lock-file", metavar="FILE", type=Path, default=LOCK_FILE, help="another lock file")
    parser.add_argument("--workers", metavar="N", type=int, default=8, help="parallel downloads (8)")
    parser.add_argument(
        "--attempts",
        metavar="N",
        type=int,
        default=Retries.attempts,
        help=f"attempts per file when the connection is interrupted ({Retries.attempts})",
    )
    parser.add_argument("--spacy-model-url", metavar="URL", help="another address of spaCy's English model")
    parser.set_defaults(command=fetch_command)


def fetch_command(args: argparse.Namespace) -> int:
    """Download the published files."""
    from .fetch import fetch, update_lock

    if args.lock:
        lock = update_lock(args.lock_file, args.spacy_model_url)
        count = sum(len(entry.files) for entry in lock.repositories.values()) + len(lock.files)
        print(f"{args.lock_file}: {count} files of {len(lock.repositories)} repositories locked")
        return 0
    if args.speech:
        from .speech import fetch_speech

        retries = Retries(args.attempts)
        folder = fetch_speech(args.to, args.lock_file, args.workers, retries, args.spacy_model_url)
        print(f"{folder}: Kokoro's voices, for weights without them")
        return 0
    if not args.to:
        raise InvalidInput("--to is missing. Set a folder for the published files.", "to")
    files = fetch(
        selection_of(args),
        args.to,
        args.lock_file,
        args.workers,
        retries=Retries(args.attempts),
        bake_to=args.bake_to,
        layer_bytes=None if args.layer_gb is None else int(args.layer_gb * 1e9),
        spacy_model_url=args.spacy_model_url,
    )
    size = sum((Path(args.to) / file.path).stat().st_size for file in files)
    print(f"{args.to}: {len(files)} files, {size / 1e9:.2f} GB")
    return 0


def add_bake(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``bake``."""
    parser.add_argument("--from", dest="source", metavar="RAW_DIR", required=True, help="published files")
    parser.add_argument("--to", dest="target", metavar="BAKED_DIR", required=True, help="folder to write")
    add_selection(parser)
    parser.add_argument(
        "--lora",
        metavar="NAME_OR_FILE[:SCALE]",
        action="append",
        default=[],
        help="merge the LoRA of a preset, or of a file, into the weights (repeatable)",
    )
    parser.add_argument(
        "--text-encoder-source",
        choices=TEXT_ENCODER_SOURCES,
        help="published form of the text encoder to read",
    )
    parser.add_argument(
        "--as-fetched",
        action="store_true",
        help="read only what fetch downloads with the same options, and ignore other files in RAW_DIR",
    )
    parser.add_argument("--check", action="store_true", help="verify the baked folder before it is renamed")
    parser.add_argument(
        "--shard-gb", metavar="N", type=float, default=5.0, help="largest weights file, in 10^9 bytes (5)"
    )
    parser.add_argument("--default-preset", metavar="NAME", help="preset of requests that set none")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing baked folder")
    parser.set_defaults(command=bake_command)


def bake_command(args: argparse.Namespace, progress: OnProgress | None = None) -> int:
    """Convert the published files into a baked folder."""
    loras = [lora_option(text) for text in args.lora]
    if args.default_preset is not None:
        check_choice(args.default_preset, "--default-preset", PRESETS)
    if not args.as_fetched and (args.preset or args.no_speech):
        raise InvalidInput("--preset and --no-speech need --as-fetched.", "preset")
    if not args.shard_gb > 0:
        raise InvalidInput(f"--shard-gb must be above 0, not {args.shard_gb:g}.", "shard-gb")

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
        models=args.model,
    )
    size = sum(record.size for record in manifest.files.values())
    checked = ", verified" if args.check else ""
    print(f"{args.target}: {len(manifest.files)} files, {size / 1e9:.2f} GB, {args.precision}{checked}")
    return 0


def lora_option(text: str) -> tuple[str, float]:
    """Split ``NAME_OR_FILE[:SCALE]`` into a name or file and its scale.

    Raises:
        InvalidInput: The scale is not a finite number.
    """
    name, colon, scale = text.rpartition(":")
    try:
        number = float(scale) if colon else 1.0
    except ValueError:  # a colon in the file's name
        return text, 1.0
    if not math.isfinite(number):
        raise InvalidInput(f"--lora: the scale must be a finite number, not {scale[:80]!r}.", "lora")
    return name if colon else text, number


def add_verify(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``verify``."""
    parser.add_argument("folder", metavar="BAKED_DIR")
    parser.set_defaults(command=verify_command)


def verify_command(args: argparse.Namespace) -> int:
    """Compare every byte of a baked folder with its manifest; return 1 if something differs."""
    from ..weights.manifest import Manifest
    from ..weights.verify import verify

    manifest = Manifest.read(Path(args.folder))
    problems = verify(args.folder)
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 1
    print(f"{len(manifest.files)} files verified")
    return 0


def run_command(
    module: str,
    description: str | None,
    add_options: Callable[[argparse.ArgumentParser], None],
    argv: list[str] | None = None,
) -> int:
    """Parse options and run their command; print an error as one line. Return the exit status.

    Args:
        module: Run as ``python -m``.
        description: Its help.
        add_options: Adds the options.
        argv: Arguments; None uses the process's.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    add_options(parser)
    args = parser.parse_args(argv)
    try:
        return int(args.command(args))
    except MultiTalkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
