"""Run download_models.sh and entrypoint.sh: the flag is set only for correct weights, no work is repeated."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from multitalk.bake import catalogue
from multitalk.bake.lock import Lock
from tests.hub import WEB_FOLDER, Hub, published_repositories

from .weights import make_published_weights

REPOSITORY = Path(__file__).resolve().parents[2]
T5 = "models_t5_umt5-xxl-enc-bf16.pth"
T5_PATH = f"Wan2.1-I2V-14B-480P/{T5}"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return make_published_weights(tmp_path_factory.mktemp("published"), speech=False)


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """Where the script creates its environment, once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def hub(weights) -> Iterator[Hub]:
    with Hub(published_repositories(weights)) as server:
        yield server


class Script:
    """download_models.sh with a hub and a folder."""

    def __init__(self, hub: Hub, cache: Path, folder: Path) -> None:
        self.target, self.flag, self.raw = folder / "weights", folder / "installed.flag", folder / "raw"
        self.environment = os.environ | {
            "HF_ENDPOINT": hub.address,
            "SPACY_MODEL_URL": f"{hub.address}/{WEB_FOLDER}/none",
            "XDG_CACHE_HOME": str(cache),
            "PYTHON": sys.executable,
            "HF_TOKEN": "",
        }
        self.arguments = ["--to", str(self.target), "--raw", str(self.raw), "--flag", str(self.flag)]
        self.arguments += ["--no-speech"]

    def command(self, *options: str) -> list[str]:
        return [str(REPOSITORY / "download_models.sh"), *self.arguments, *options]

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*options), env=self.environment, capture_output=True, text=True, timeout=300
        )


@pytest.fixture
def script(hub, cache, tmp_path) -> Script:
    return Script(hub, cache, tmp_path)


def test_published_files_become_verified_weights_and_a_flag(script, hub):
    done = script.run("--precision", "float32", "--preset", "fusionx")
    assert done.returncode == 0, done.stderr
    assert script.flag.read_text().strip() == str(script.target)
    assert ", float32, verified" in done.stdout
    assert (script.target / "manifest.json").is_file()
    assert [path.name for path in (script.target / "loras").iterdir()] == [
        "Wan2.1_I2V_14B_FusionX_LoRA.safetensors"
    ]
    assert list(script.raw.iterdir()) == []  # the published files are deleted
    assert "int8" not in "".join(path for _, path, _ in hub.requests)


def test_int8_comes_from_the_published_int8_files(script, hub):
    layers = Path(f"{script.target}-layers")
    options = ("--precision", "int8", "--keep-raw", "--layers", str(layers), "--layer-gb", "0.0002")
    done = script.run(*options)
    assert done.returncode == 0, done.stderr
    fetched = {path.name for path in script.raw.rglob("*.safetensors")}
    assert {"dit_model_int8.safetensors", "t5_int8.safetensors"} <= fetched
    assert not (script.raw / T5_PATH).exists()
    assert len(list(layers.iterdir())) == 18
    assert list(layers.glob("*/transformer/*.safetensors"))
    sizes = [
        sum(path.stat().st_size for path in layer.rglob("*") if path.is_file()) for layer in layers.iterdir()
    ]
    assert max(sizes) <= 200_000, "weights files are cut as layers are"


@pytest.mark.parametrize("model", catalogue.MODELS)
def test_a_model_can_be_left_out(script, hub, model):
    done = script.run("--precision", "int8", "--preset", "none", "--model", model, "--keep-raw")
    assert done.returncode == 0, done.stderr
    manifest = json.loads((script.target / "manifest.json").read_text())
    assert tuple(manifest["audio_layers"]) == catalogue.MODELS[model]
    fetched = {path.relative_to(script.raw).as_posix() for path in script.raw.rglob("*.safetensors")}
    assert catalogue.TRANSFORMER_INT8 in fetched  # InfiniteTalk's base model, too
    layers = set(catalogue.INFINITETALK_LAYERS.values())
    assert fetched & layers == (layers if model == "infinitetalk" else set())


def test_too_small_layers_are_refused_before_the_download(script, hub):
    done = script.run("--precision", "int8", "--layers", f"{script.target}-layers", "--layer-gb", "0.00001")
    assert done.returncode == 2
    assert "--layer-gb must be at least" in done.stderr
    assert "not 1e-05: 18 layers must hold about" in done.stderr
    assert not [path for method, path, _ in hub.requests if method == "GET" and "/resolve/" in path]


def test_what_was_fetched_stays_until_the_layers_are_cut(script):
    """So that another layer size does not need another download."""
    layers = Path(f"{script.target}-layers")
    done = script.run("--precision", "int8", "--layers", str(layers), "--layer-gb", "0.0001")
    assert done.returncode == 2
    assert "does not fit into 18 layers" in done.stderr
    assert list(script.raw.rglob("*.safetensors"))
    assert not script.flag.exists()


def test_left_overs_of_other_options_are_not_baked(script, hub, weights):
    """A run in full precision was stopped; without a selection, its shards would be used instead of int8."""
    for path in weights.rglob("*"):
        if path.is_file() and "quant_models" not in path.parts:
            copy = script.raw / path.relative_to(weights)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    done = script.run("--precision", "int8", "--preset", "none")
    assert done.returncode == 0, done.stderr
    sources = json.loads((script.target / "manifest.json").read_text())["sources"]
    assert [entry["file"] for entry in sources["transformer"]] == [catalogue.TRANSFORMER_INT8]
    assert [entry["file"] for entry in sources["text_encoder"]] == [catalogue.TEXT_ENCODER_INT8]
    assert list((script.target / "loras").iterdir()) == []


def test_each_precision_has_its_own_folder_of_published_files(script, hub):
    script.arguments = ["--to", f"{script.target}/", "--no-speech"]
    hub.faults.missing.add(T5)  # stops the run in full precision
    assert script.run("--precision", "bf16").returncode == 2
    default = script.target.with_name("weights.published")
    stopped = default / "bf16" / catalogue.TRANSFORMER_CONFIG
    stopped.parent.mkdir()  # in the folder of the stopped run
    stopped.write_text("{}")
    done = script.run("--precision", "int8")
    assert done.returncode == 0, done.stderr
    assert stopped.exists()
    assert not (default / "int8").exists()  # the script's default folder


def test_a_mount_is_refused_before_the_download(script, hub):
    """A mount point cannot be replaced; a tmpfs stands in for a network volume."""
    script.target.mkdir()
    command = f"mount -t tmpfs none '{script.target}' && exec \"$@\""
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", command, "-", *script.command()],
        env=script.environment,
        capture_output=True,
        text=True,
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip("mounting needs root")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {script.target} is a mount point")
    assert hub.requests == []


@pytest.mark.parametrize("fault", ["corrupt", "missing", "cut"])
def test_no_flag_over_bad_weights(script, hub, fault):
    script.flag.write_text("from before")
    if fault == "cut":
        hub.faults.cut[T5] = 10**6
    else:
        getattr(hub.faults, fault).add(T5)
    done = script.run("--attempts", "2")
    assert done.returncode == 2
    assert T5 in done.stderr
    assert "Traceback" not in done.stderr
    assert not script.flag.exists()
    assert not script.target.exists()


@pytest.mark.parametrize("fast", ["0", "1"])
def test_killed_download_goes_on(script, hub, weights, fast):
    original = (weights / T5_PATH).read_bytes()
    large = weights / "large.pth"
    large.write_bytes(os.urandom(60_000_000))  # the client writes pieces of 10 MB
    hub.repositories[catalogue.WAN.name][T5] = large
    hub.faults.cut[T5] = 1 if fast == "0" else 0
    hub.faults.held[T5] = 40_000_000  # it cannot be complete before it is killed
    script.environment["HF_HUB_ENABLE_HF_TRANSFER"] = fast
    script.environment["HF_HUB_DISABLE_XET"] = str(1 - int(fast))
    process = subprocess.Popen(
        script.command(), env=script.environment, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        while largest_part(script.raw / ".downloads") < 20_000_000:
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not script.flag.exists()
    hub.faults.held.clear()
    hub.faults.cut.clear()
    hub.requests.clear()
    fetch_python = Path(script.environment["XDG_CACHE_HOME"]) / "multitalk/fetch/bin/python"
    done = subprocess.run(
        [str(fetch_python), "-m", "multitalk.bake.fetch", "--to", str(script.raw), "--no-speech"],
        env=script.environment | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (script.raw / T5_PATH).read_bytes() == large.read_bytes() != original
    if fast == "0":
        assert int(hub.downloads(T5)[0].removeprefix("bytes=").partition("-")[0]) >= 20_000_000


def largest_part(folder: Path) -> int:
    with suppress(FileNotFoundError):  # a file was completed meanwhile
        return max((path.stat().st_size for path in folder.rglob("*.incomplete")), default=0)
    return 0


def test_lock_is_written(script, tmp_path, weights, hub):
    hub.web["none"] = hub.repositories[catalogue.KOKORO.name]["config.json"] = weights / "small"
    (weights / "small").write_text("{}")
    voices = {"kokoro-v1_0.pth": weights / T5_PATH, "voices/af_heart.pt": weights / T5_PATH}
    hub.repositories[catalogue.KOKORO.name] |= voices
    path = tmp_path / "lock.json"
    done = script.run("--lock", "--lock-file", str(path))
    assert done.returncode == 0, done.stderr
    assert len(Lock.read(path).repositories) == 10
    assert not script.target.exists()


def start(tmp_path: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the entry point in this checkout; an unknown MODE ends the app at once."""
    variables = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "MODE": "nothing"}
    variables |= {
        "APP_FOLDER": str(REPOSITORY),
        "INSTALLED_FLAG": str(tmp_path / "flag"),
        "HOME": str(tmp_path),
    }
    variables |= {"HF_ENDPOINT": "http://127.0.0.1:9", "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        [str(REPOSITORY / "entrypoint.sh")],
        env=variables | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_flag_means_no_setup(tmp_path):
    (tmp_path / "flag").write_text("/opt/multitalk/weights\n")
    done = start(tmp_path, {})
    assert done.stdout == "Setup has already been completed\n"
    assert done.stderr == "error: MODE must be ui or serverless, not 'nothing'.\n"
    assert done.returncode == 2  # app.py's own exit status


def test_weights_that_are_found_set_the_flag(tmp_path):
    folder = REPOSITORY / "multitalk/demo/weights"
    done = start(tmp_path, {"MULTITALK_WEIGHTS": str(folder)})
    assert done.stdout == f"Weights found in {folder}\n"
    assert (tmp_path / "flag").read_text() == f"{folder}\n"


@pytest.mark.parametrize("busy", [False, True])
def test_what_a_stopped_download_left_is_removed(tmp_path, busy):
    folder, left_over = tmp_path / "weights", tmp_path / "weights.downloading"
    shutil.copytree(REPOSITORY / "multitalk/demo/weights", folder)
    (left_over / "int8").mkdir(parents=True)
    with (tmp_path / "weights.lock").open("w") as lock:
        if busy:  # another worker holds the lock
            fcntl.flock(lock, fcntl.LOCK_EX)
        done = start(tmp_path, {"MULTITALK_WEIGHTS": str(folder)})
    assert done.stdout == f"Weights found in {folder}\n"
    assert left_over.exists() == busy


def test_incomplete_weights_set_no_flag(tmp_path):
    folder = tmp_path / "weights"
    shutil.copytree(REPOSITORY / "multitalk/demo/weights", folder)
    next(folder.rglob("*.safetensors")).write_bytes(b"half")
    done = start(tmp_path, {"MULTITALK_WEIGHTS": str(folder)})
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: MULTITALK_WEIGHTS: {folder} is not a complete weights folder.")
    assert not (tmp_path / "flag").exists()
