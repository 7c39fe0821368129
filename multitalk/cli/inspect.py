"""``multitalk inspect``: say where a video comes from, and what it was generated with."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput

if TYPE_CHECKING:
    from ..media.inspection import Inspection


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("file", metavar="FILE", help="video file")
    parser.add_argument(
        "--trust",
        metavar="FILE.pem",
        help="certificates to trust, such as a published C2PA trust list (default: those of C2PA_CERT)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print everything as JSON, with the whole manifest"
    )


def run(args: argparse.Namespace) -> int:
    """Print the report; return 1 if no intact mark says that the video was made by AI."""
    from ..media.inspection import inspect_video

    inspection = inspect_video(Path(args.file), _trusted(args.trust))
    print(json.dumps(_values(inspection)) if args.json else _report(args.file, inspection))
    return 0 if inspection.marks else 1


def _trusted(path: str | None) -> str:
    from ..marks.settings import PEM_START, trusted_certificates

    if path is None:
        return trusted_certificates()
    try:
        content = Path(path).read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise InvalidInput(f"--trust: {path[-200:]!r} cannot be read ({reason}).") from None
    if PEM_START not in content:
        raise InvalidInput(
            f"--trust must be a file with certificates in PEM form, and {path[-200:]!r} is none."
        )
    return content


def _values(inspection: Inspection) -> dict[str, Any]:
    credentials = inspection.credentials
    return {
        "marks": inspection.marks,
        "summary": inspection.sentence,
        "watermark": inspection.watermark,
        "credentials": None if credentials is None else asdict(credentials),
        "digital_source_type": inspection.source_type,
        "description": inspection.tags.description,
        "settings": inspection.settings,
    }


def _report(name: str, inspection: Inspection) -> str:
    marks = ", ".join(inspection.marks)
    lines = [f"{name}: {f'marked as made by AI ({marks})' if marks else 'not marked'}", inspection.sentence]
    if (credentials := inspection.credentials) is not None:
        lines += [
            f"time stamp: {credentials.time or 'none'}",
            f"digital source type: {credentials.source_type or 'not stated'}",
        ]
        lines += [f"{name}: {_short(value)}" for name, value in credentials.generation.items()]
        lines += [f"problem: {problem}" for problem in credentials.problems]
    metadata = inspection.tags.description or "nothing"
    lines.append(f"metadata: {_short(metadata)} {inspection.source_type}".rstrip())
    if settings := inspection.settings:
        lines.append(f"settings in the metadata: {_short(settings)}")
    return "\n".join(lines)


def _short(value: Any) -> str:
    """Return a file's value as one line without control characters, which could rewrite the terminal."""
    text = value if isinstance(value, str) else json.dumps(value)
    return "".join(letter if letter.isprintable() else " " for letter in text)[:2000]
