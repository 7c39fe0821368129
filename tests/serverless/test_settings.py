"""What a deployer sets, and what is said where it can't be used; the known worker's names; modes' imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from multitalk.errors import InvalidInput
from multitalk.request.aliases import translate
from multitalk.serverless import worker_settings as settings_module
from multitalk.serverless.answers import without_paths
from multitalk.serverless.worker_settings import WorkerSettings, read_bucket

KEYS = {"BUCKET_ACCESS_KEY_ID": "key", "BUCKET_SECRET_ACCESS_KEY": "hush-hush"}
R2 = "0123456789abcdef0123456789abcdef.r2.cloudflarestorage.com"


def test_nothing_set_is_a_worker_that_answers_inline():
    settings = WorkerSettings.from_environment({})
    assert settings == WorkerSettings()
    assert settings.input_roots == (Path("/runpod-volume"),)


def test_everything_set(tmp_path):
    settings = WorkerSettings.from_environment(
        {
            "MULTITALK_WEIGHTS": "/weights",
            "INPUT_ROOTS": f"{tmp_path}:/data, /more",
            "OUTPUT_ROOT": str(tmp_path),
            "STREAM_CLIPS": "true",
            "MAX_INLINE_MB": "2.5",
            "URL_ALLOWED_NETWORKS": "10.0.0.0/8, fd00::/8",
            "FITNESS_HASHES": "1",
            "FITNESS_JOB": "no",
            "LOG_INPUTS": "yes",
        }
    )
    assert settings.input_roots[1:] == (tmp_path, Path("/data"), Path("/more"))
    assert (settings.output_root, settings.stream_clips, settings.inline_limit) == (tmp_path, True, 2_500_000)
    assert (settings.fitness_hashes, settings.fitness_job, settings.log_inputs) == (True, False, True)
    assert len(settings.allowed_networks) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STREAM_CLIPS", "maybe"),
        ("INPUT_ROOTS", "data"),
        ("OUTPUT_ROOT", "/absent/folder"),
        ("MAX_INLINE_MB", "0"),
        ("MAX_INLINE_MB", "much"),
        ("URL_ALLOWED_NETWORKS", "10.0.0.0/99"),
        ("MAX_AUDIO_SECONDS", "abc"),
        ("MAX_AUDIO_SECONDS", "-1"),
        ("BUCKET_ACCESS_KEY_ID", "key"),
        ("BUCKET_ENDPOINT_URL", "https://s3.example.com"),
    ],
)
def test_a_wrong_setting_is_named(name, value):
    with pytest.raises(InvalidInput, match=name.split("_")[0]):
        WorkerSettings.from_environment({name: value})


def test_a_volume_that_belongs_to_root_is_told(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(settings_module, "VOLUME", str(tmp_path))
    assert WorkerSettings.from_environment({}).output_root == tmp_path
    assert not caplog.records
    monkeypatch.setattr(
        "os.access", lambda path, mode: False
    )  # tests may run as root, who may write anywhere
    assert WorkerSettings.from_environment({}).output_root is None
    (record,) = caplog.records
    assert (record.levelname, record.message) == ("WARNING", "volume_not_writable")
    assert "RUN_AS=0" in record.fields["advice"]


@pytest.mark.parametrize(
    ("url", "endpoint", "name", "region"),
    [
        ("https://b.s3.eu-west-1.amazonaws.com", "https://s3.eu-west-1.amazonaws.com", "b", "eu-west-1"),
        ("https://s3.eu-west-1.amazonaws.com/b", "https://s3.eu-west-1.amazonaws.com", "b", "eu-west-1"),
        ("https://b.fra1.digitaloceanspaces.com/", "https://fra1.digitaloceanspaces.com", "b", "fra1"),
        (f"https://b.{R2}", f"https://{R2}", "b", None),
        ("http://127.0.0.1:9000/b", "http://127.0.0.1:9000", "b", None),
        ("https://[::1]:9000/b", "https://[::1]:9000", "b", None),
        ("https://[fd00::1]/b", "https://[fd00::1]", "b", None),
    ],
)
def test_a_bucket_is_read_from_the_usual_urls(url, endpoint, name, region):
    bucket = read_bucket({**KEYS, "BUCKET_ENDPOINT_URL": url})
    assert bucket is not None
    assert (bucket.endpoint, bucket.name, bucket.region) == (endpoint, name, region)
    assert "hush-hush" not in repr(bucket)


@pytest.mark.parametrize(
    "url",
    ["https://host:abc/b", "https://[bad/b", "https://host:99999/b", "https://[x]/b", "ftp://host/b", "b"],
)
def test_an_endpoint_that_is_no_url_is_refused(url):
    with pytest.raises(InvalidInput, match="BUCKET_ENDPOINT_URL must be a URL"):
        read_bucket({**KEYS, "BUCKET_ENDPOINT_URL": url})


def test_a_bucket_without_a_name_is_refused():
    with pytest.raises(InvalidInput, match="BUCKET_NAME"):
        read_bucket({**KEYS, "BUCKET_ENDPOINT_URL": "https://s3.example.com"})


def test_the_known_workers_names_are_translated():
    given = {
        "prompt": "p",
        "image_path": "i",
        "audio_paths": {"person1": "a"},
        "audio_type": "para",
        "sample_steps": "8",
        "sample_text_guide_scale": "1.0",
        "sample_audio_guide_scale": 2,
        "mode": "clip",
    }
    assert translate(given) == {
        "prompt": "p",
        "image": "i",
        "audio": {"person1": "a"},
        "turns": "para",
        "steps": 8,
        "text_guidance": 1.0,
        "audio_guidance": 2,
        "max_seconds": 81 / 25,
    }
    assert translate({"mode": "clip", "frames_per_clip": 21.0})["max_seconds"] == 21 / 25
    assert translate({"mode": "streaming", "audio_type": None, "sample_steps": ""}) == {}
    assert translate({"image": None, "image_path": "i"}) == translate({"image_path": "i", "image": None})
    assert translate({"image_path": None, "image": "i"}) == {"image": "i"}


@pytest.mark.parametrize("frames", [None, "81", 81.5, 80, True, 10**400, float("inf")])
def test_mode_clip_needs_a_usable_number_of_frames(frames):
    with pytest.raises(InvalidInput, match="frames_per_clip must be ") as error:
        translate({"mode": "clip", "frames_per_clip": frames})
    assert error.value.field == "frames_per_clip"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("'/opt/a/b.safetensors' is missing", "'b.safetensors' is missing"),
        ("see /opt/a/b.mp4: no", "see b.mp4: no"),
        ("https://example.com/a/b stays", "https://example.com/a/b stays"),
        ("and/or, 1/2 of it", "and/or, 1/2 of it"),
    ],
)
def test_sentences_lose_the_servers_folders(text, shown):
    assert without_paths(text) == shown


IMPORTS = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for module in pkgutil.iter_modules(package.__path__):
    importlib.import_module(f"{sys.argv[1]}.{module.name}")
print(sorted({"gradio", "runpod", "boto3"} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("package", "allowed"), [("multitalk.serverless", "[]"), ("multitalk.ui", "['gradio']")]
)
def test_a_mode_imports_only_what_it_needs(package, allowed):
    run = [sys.executable, "-c", IMPORTS, package]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip() == allowed


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"MODE": "other"}, "must be ui or serverless"),
        ({"MODE": "serverless", "STREAM_CLIPS": "?"}, "STREAM_CLIPS"),
        ({"MODE": "serverless", "MAX_AUDIO_SECONDS": "abc"}, "MAX_AUDIO_SECONDS"),
        ({"MODE": "serverless"}, "no source of jobs"),
    ],
)
def test_app_says_what_is_wrong_and_exits_with_2(environment, words):
    app = Path(__file__).resolve().parents[2] / "app.py"
    run = subprocess.run([sys.executable, str(app)], capture_output=True, text=True, env=environment)
    assert run.returncode == 2
    assert words in run.stderr
    assert "Traceback" not in run.stderr
