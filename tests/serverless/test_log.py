"""The log: every event is one line of JSON that log collectors take whole."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest

from multitalk.serverless.handler import JobWorker
from multitalk.serverless.log import JsonFormatter, log_event, logger, set_up_logging
from multitalk.serverless.worker_settings import WorkerSettings

LIMIT = 8192


def line_of(**fields: Any) -> dict[str, Any]:
    """Log an event, and return what a collector reads, which splits at every kind of line break."""
    record = logger.makeRecord(logger.name, logging.INFO, "", 0, "event", (), None, extra={"fields": fields})
    text = JsonFormatter().format(record)
    (line,) = text.splitlines()
    assert len(line.encode()) <= LIMIT
    return json.loads(line)


def nested(depth: int) -> Any:
    value: Any = "deep"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        "\ud83d alone",
        "two\nlines\rand\x0bmore\x0c\x1c\x1d\x1e\x85\u2028\u2029",
        "x" * 1_000_000,
        "\ud800" * 10_000,
        "\N{GRINNING FACE}" * 10_000,
        [f"name{number}" for number in range(100_000)],
        {f"name{number}" * 100: number for number in range(100_000)},
        {"a": {"b": {"c": ["x" * 5000] * 5000}}},
        nested(900),
        10**5000,
        {("no", "text"): object()},
        float("nan"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_value_is_one_short_line(value):
    line = line_of(job_id="job1", value=value)
    assert (line["event"], line["job_id"], line["level"]) == ("event", "job1", "info")


def test_what_fits_is_kept_as_it_is():
    fields = {"text": "Grüße, 你好 \ud83d", "numbers": [1, 2.5, None, True], "table": ["x" * 100] * 70}
    assert line_of(**fields).items() >= fields.items()


def test_a_long_value_keeps_its_beginning_and_its_end():
    line = line_of(trace="first" + "x" * 100_000 + "last", names=list(range(5000)), seed=7)
    assert line["trace"].startswith("first")
    assert line["trace"].endswith("last")
    assert line["names"][:3] == [0, 1, 2]
    assert line["names"][-1].endswith(" more")
    assert (line["seed"], line["shortened"]) == (7, True)


def test_a_traceback_of_any_length_is_one_line(monkeypatch):
    monkeypatch.setattr(logger, "propagate", False)  # pytest-xdist cannot send captured lone surrogates
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger.addHandler(handler)
    try:
        log_event("failed", "job1", logging.ERROR, ValueError("\udc80\n" * 50_000))
    finally:
        logger.removeHandler(handler)
    (line,) = stream.getvalue().splitlines()
    assert len(line.encode()) <= LIMIT
    assert json.loads(line)["event"] == "failed"


def test_a_job_with_many_names_logs_some_of_them(caplog):
    worker = JobWorker(None, WorkerSettings(), {})  # type: ignore[arg-type]
    with caplog.at_level(logging.INFO, "multitalk"):
        worker._log_start("job1", {f"name{number}\ud800": 1 for number in range(100_000)})
    (record,) = caplog.records
    assert len(record.fields["fields"]) == 100


def test_a_print_of_the_sdk_does_not_fail_on_a_lone_surrogate(monkeypatch):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="utf-8")
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", root.handlers[:])
    monkeypatch.setattr(root, "level", root.level)
    set_up_logging(stream)
    print("job \ud83d", file=stream, flush=True)
    assert raw.getvalue() == b"job \\ud83d\n"
