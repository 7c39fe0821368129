"""The worker's log: one JSON object a line, so that RunPod's log search and every collector can read it."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any, TextIO

logger = logging.getLogger("multitalk.serverless")


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: time, level, event, and the event's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; never raises over a value that JSON doesn't have."""
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
        return json.dumps(line, default=str, ensure_ascii=False)


def set_up_logging(stream: TextIO | None = None) -> None:
    """Send everything that is logged through the formatter; libraries speak from warnings on.

    Args:
        stream: Where lines go; None takes standard output, where RunPod's own lines go, too.
    """
    handler = logging.StreamHandler(stream or sys.stdout)
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
        error: Its trace goes into the line.
        fields: What else to tell.
    """
    given = ({} if job_id is None else {"job_id": job_id}) | fields
    logger.log(level, event, extra={"fields": given}, exc_info=error)
