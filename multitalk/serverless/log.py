"""The worker's log: one JSON object per line, for RunPod's log search and log collectors."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any, TextIO

logger = logging.getLogger("multitalk.serverless")


class JsonFormatter(logging.Formatter):
    """Format a record as one line of JSON: time, level, event and its fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Format the record; values without a JSON form become strings."""
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
    """Log through the JSON formatter: this package from INFO, libraries from WARNING.

    Args:
        stream: Destination; None is standard output, which RunPod's SDK uses too.
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
        error: Logged with its traceback.
        fields: More fields.
    """
    all_fields = ({} if job_id is None else {"job_id": job_id}) | fields
    logger.log(level, event, extra={"fields": all_fields}, exc_info=error)
