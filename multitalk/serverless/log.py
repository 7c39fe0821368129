"""The worker's log: one JSON object per line, for RunPod's log search and log collectors."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
import time
from collections.abc import Mapping
from itertools import islice
from typing import Any, TextIO

logger = logging.getLogger("multitalk.serverless")

MAX_LINE = 8000  # bytes; log collectors split or drop longer lines, many of them above 8 KiB
# Longest text in letters, and most entries of a list or object, of which the first that fits is used.
SHORTER = ((2000, 100), (1000, 40), (300, 20), (80, 10))
IDENTIFYING = ("time", "level", "event", "job_id", "logger")  # logged even if nothing else fits
# Characters that JSON leaves as they are, but at which some programs split lines.
_LINE_BREAKS = str.maketrans({letter: f"\\u{ord(letter):04x}" for letter in "\x7f\x85\u2028\u2029"})


class JsonFormatter(logging.Formatter):
    """Format a record as one line of JSON of at most `MAX_LINE` bytes: time, level, event and its fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Format the record; values without a JSON form become strings, and long ones are shortened."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if not record.name.startswith("multitalk"):
            line["logger"] = record.name
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return _fit(line)


def _fit(line: dict[str, Any]) -> str:
    for limits in (None, *SHORTER):
        with contextlib.suppress(
            ValueError, TypeError, RecursionError
        ):  # no JSON: too deep, or a huge number
            text = _encode(line if limits is None else _shorten(line, *limits) | {"shortened": True})
            if len(text.encode()) <= MAX_LINE:
                return text
    few = {name: line[name] for name in IDENTIFYING if name in line}
    return _encode(_shorten(few, *SHORTER[-1]) | {"shortened": True})


def _encode(line: Mapping[str, Any]) -> str:
    text = json.dumps(line, default=str, ensure_ascii=False).translate(_LINE_BREAKS)
    # lone surrogates have no UTF-8, but an escape in JSON
    return text.encode(errors="backslashreplace").decode()


def _shorten(value: Any, letters: int, entries: int) -> Any:
    """Shorten texts in the middle, since a traceback's last line is the error, and lists at the end."""
    if isinstance(value, Mapping):
        shorter = {
            _shorten(str(name), letters, entries): _shorten(each, letters, entries)
            for name, each in islice(value.items(), entries)
        }
        return shorter | ({"more": len(value) - entries} if len(value) > entries else {})
    if isinstance(value, (list, tuple)):
        more = [f"{len(value) - entries} more"] if len(value) > entries else []
        return [_shorten(each, letters, entries) for each in value[:entries]] + more
    if value is None or isinstance(value, (bool, int, float)):
        return value
    text = str(value)
    half = letters // 2
    return text if len(text) <= letters else f"{text[:half]} ... {text[-half:]}"


def set_up_logging(stream: TextIO | None = None) -> None:
    """Log through the JSON formatter: this package from INFO, libraries from WARNING.

    Args:
        stream: Destination; None is standard output, which RunPod's SDK uses too.
    """
    stream = stream or sys.stdout
    if isinstance(stream, io.TextIOWrapper):  # what the SDK prints must not fail on a lone surrogate
        stream.reconfigure(errors="backslashreplace")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("multitalk").setLevel(logging.INFO)


def log_event(
    event: str,
    job_id: str | None = None,
    level: int = logging.INFO,
    error: BaseException | None = None,
    **fields: Any,
) -> None:
    """Write one event.

    Args:
        event: Its name.
        job_id: The job it belongs to.
        level: A level of ``logging``.
        error: Logged with its traceback.
        fields: More fields.
    """
    all_fields = ({} if job_id is None else {"job_id": job_id}) | fields
    logger.log(level, event, extra={"fields": all_fields}, exc_info=error)
