"""The job of ``--test_input`` and of ``test_input.json``: checked before the weights are loaded."""

from __future__ import annotations

import json

import pytest

from multitalk.errors import InvalidInput
from multitalk.serverless.local_job import prepare_local_job
from tests.serverless.worker_process import WorkerProcess

JOB = {"input": {"prompt": "ö\u2028"}}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("form", ["text", "joined", "file", "default"])
def test_jobs_that_are_taken(form, encoding, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = json.dumps(JOB, ensure_ascii=False)
    for name in ("job", "test_input.json"):
        (tmp_path / name).write_bytes(text.encode(encoding))
    mark = "\ufeff" if encoding == "utf-8-sig" else ""
    given = {
        "text": ["--test_input", mark + text],
        "joined": [f"--test_input={mark}{text}"],
        "file": ["--test_input", "job"],
        "default": [],
    }[form]
    arguments = ["app.py", "--rp_log_level", "INFO", *given]
    if form != "default":
        arguments.append("--more")
    prepare_local_job(arguments)
    option = arguments.pop(3)
    assert option.startswith("--test_input=")
    assert json.loads(option.removeprefix("--test_input=")) == JOB
    assert arguments == ["app.py", "--rp_log_level", "INFO", *(["--more"] if form != "default" else [])]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("bad json", r"neither valid JSON \(Expecting value.*\) nor a file \('bad json'\)\. Use '\{"),
        ("{'input': {}}", "neither valid JSON"),
        ("", "neither valid JSON"),
        ("missing.json", r"nor a file \('missing\.json'\)"),
        (".", r"nor a file \('\.'\)"),
        ("a" * 300, "nor a file"),
        ("[" * 100_000, "neither valid JSON"),
        ("[1]", r"must be a JSON object with input, not \[1\]"),
        ("null", "must be a JSON object with input, not None"),
        ('{"image": "x"}', "must be a JSON object with input"),
        ('{"input": null}', "must be a JSON object with input"),
        ("bad.json", r"file 'bad\.json' cannot be read as JSON: .*It must contain \{"),
        ("list.json", r"must be a JSON object with input, not \[\]"),
    ],
)
def test_jobs_that_are_refused(value, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "list.json").write_text("[]")
    for arguments in (["app.py", "--test_input", value], ["app.py", f"--test_input={value}"]):
        with pytest.raises(InvalidInput, match=f"^--test_input.*{message}") as error:
            prepare_local_job(arguments)
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 400


def test_an_option_without_a_value(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match=r"^--test_input is neither"):
        prepare_local_job(["app.py", "--test_input"])


@pytest.mark.parametrize("content", ["{", "[]", "\x00"])
def test_a_file_that_is_no_job(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test_input.json").write_text(content)
    with pytest.raises(InvalidInput, match=r"^test_input\.json "):
        prepare_local_job(["app.py"])


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--test_input", "bad json"], ["--test_input", "missing.json"], []])
def test_the_worker_prints_one_line(arguments, small_weights, tmp_path):
    folder = tmp_path / "worker"
    folder.mkdir()
    if not arguments:
        (folder / "test_input.json").write_text("{")
    worker = WorkerProcess(small_weights, folder, arguments)
    assert worker.process.wait(120) == 2
    lines = [line for line in worker.log.read_text().splitlines() if not line.startswith("{")]
    assert len(lines) == 1
    assert lines[0].startswith(f"error: {'--test_input' if arguments else 'test_input.json'} ")
