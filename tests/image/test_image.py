"""Build and run the Dockerfile with weights from a hub on the loopback device, without any other network.

Everything is created in a temporary folder, or kept in MULTITALK_IMAGE_WORK for the next run.
"""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import pytest

from multitalk.bake import catalogue
from tests.hub import WEB_FOLDER

from .base_image import make_root
from .buildah import Buildah, Container
from .network import LoopbackNetwork
from .weights import make_published_weights

REPOSITORY = Path(__file__).resolve().parents[2]
TOOLS = ("buildah", "debootstrap", "unshare", "nsenter")
TOKEN = "hf_only_for_the_build"
HUB_PORT, PAGE_PORT, API_PORT = 7788, 7860, 8000
BASE, IMAGE, CHANGED, SLIM = (f"localhost/multitalk-{name}" for name in ("base", "app", "changed", "slim"))
WEIGHTS = "/opt/multitalk/weights/"
COMPLETED = "Setup has already been completed"

missing = [tool for tool in TOOLS if shutil.which(tool) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="building an image needs root"),
    pytest.mark.skipif(bool(missing), reason=f"building an image needs {', '.join(missing)}"),
]


@dataclass
class Workshop:
    """Objects that the tests share.

    Attributes:
        buildah: Has the built image.
        network: Of builds and containers.
        context: Build context.
        arguments: Build arguments.
        hub_log: Log with a line per request to the hub.
        folder: For logs.
    """

    buildah: Buildah
    network: LoopbackNetwork
    context: Path
    arguments: dict[str, str]
    hub_log: Path
    folder: Path

    def build(self, name: str, *options: str) -> str:
        secret = self.folder / "token"
        secret.write_text(TOKEN)
        return self.buildah.build(
            self.context, name, self.arguments, "--secret", f"id=HF_TOKEN,src={secret}", *options
        )

    def container(self, image: str, environment: dict[str, str], *arguments: str) -> Container:
        log = self.folder / f"{environment['MODE']}.log"
        return Container(self.buildah, image, environment, list(arguments), log)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory) -> Iterator[Workshop]:
    kept = os.environ.get("MULTITALK_IMAGE_WORK")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("image")
    context = folder / "context"
    shutil.rmtree(context, ignore_errors=True)
    copy_tracked_files(context)
    raw = folder / "published"
    if not raw.exists():
        make_published_weights(raw)
    hub_log = folder / "hub.log"
    hub_log.unlink(missing_ok=True)
    address = f"http://127.0.0.1:{HUB_PORT}"
    arguments = {
        "BASE_IMAGE": BASE,
        "PRECISION": "int8",
        "DOWNLOAD_OPTIONS": "--layer-gb 0.235",  # Kokoro fills one
        "HF_ENDPOINT": address,
        "SPACY_MODEL_URL": f"{address}/{WEB_FOLDER}/{catalogue.SPACY_MODEL}",
    }
    with LoopbackNetwork() as network:
        buildah = Buildah(folder, network)
        if not buildah("images", "--quiet", "--filter", f"reference={BASE}"):
            buildah.import_root(make_root(folder / "root", REPOSITORY), BASE)
        command = [sys.executable, "-m", "tests.hub", str(raw), str(HUB_PORT), str(hub_log), TOKEN]
        hub = subprocess.Popen(network.command(command), cwd=REPOSITORY)
        try:
            workshop = Workshop(buildah, network, context, arguments, hub_log, folder)
            (folder / "build.log").write_text(workshop.build(IMAGE))
            yield workshop
        finally:
            hub.terminate()
            hub.wait()
            if not kept:
                buildah.clean_up()


def copy_tracked_files(target: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (REPOSITORY / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, target / name)


def wait_for(workshop: Workshop, container: Container, address: str, seconds: float = 240) -> bytes:
    """Wait for a server and return its answer."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert container.process.poll() is None, container.log()
        try:
            return workshop.network.run(lambda: urllib.request.urlopen(address, timeout=10).read())
        except urllib.error.HTTPError as error:
            return error.read()
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"no answer from {address}:\n{container.log()}")


def post(workshop: Workshop, address: str, content: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(
        address, json.dumps(content).encode(), {"Content-Type": "application/json"}
    )
    ask: Callable[[], bytes] = lambda: urllib.request.urlopen(request, timeout=240).read()  # noqa: E731
    return json.loads(workshop.network.run(ask))


def smallest_job() -> dict[str, Any]:
    sound = (REPOSITORY / "examples/one_person.wav").read_bytes()
    picture = (REPOSITORY / "examples/one_person.png").read_bytes()
    fields = {"size": [64, 64], "steps": 1, "max_seconds": 0.5, "frames_per_clip": 9, "motion_frames": 5}
    image, audio = (base64.b64encode(content).decode() for content in (picture, sound))
    return {"input": {"image": image, "audio": {"person1": audio}, **fields}}


def test_weights_are_layers_below_the_code(workshop):
    config = workshop.buildah.config(IMAGE)
    history = [entry for entry in config["history"] if not entry.get("empty_layer")]
    assert len(history) == len(config["rootfs"]["diff_ids"])
    weights = [number for number, entry in enumerate(history) if WEIGHTS in entry["created_by"]]
    (code,) = [number for number, entry in enumerate(history) if "in /app" in entry["created_by"]][-1:]
    assert len(weights) == 16
    assert max(weights) < code
    layers = workshop.buildah.layers(IMAGE)
    assert len({layers[number] for number in weights}) == 3  # Kokoro, the rest, and fourteen empty ones
    assert len(history) < 60  # registries accept 125


def test_image_is_configured(workshop):
    config = workshop.buildah.config(IMAGE)["config"]
    assert config["User"] == "1000"
    assert config["Entrypoint"] == ["/app/entrypoint.sh"]
    assert "7860/tcp" in config["ExposedPorts"]
    assert config["Healthcheck"]["Test"] == ["CMD", "python", "-m", "multitalk.start.health"]
    labels = config["Labels"]
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.version"]
    assert "MODE=ui" in config["Env"]


def test_image_contains_only_what_it_needs(workshop):
    container = workshop.buildah("from", IMAGE)
    root = Path(workshop.buildah("mount", container))
    try:
        flag = root / "opt/all_installed.flag"
        assert flag.read_text().strip() == "/opt/multitalk/weights"
        folders = {path.name for path in (root / "opt/multitalk/weights").iterdir()}
        assert {"transformer", "text_encoder", "vae", "kokoro", "loras", "manifest.json"} <= folders
        assert not list((root / "var/cache").rglob("*.safetensors"))  # no published files
        assert not (root / "opt/fetch").exists() or (root / "opt/fetch").stat().st_uid == 0
        top = {path.name for path in (root / "app").iterdir()}
        assert not top & {".git", ".venv", "tests", "benchmarks", "docs", "demo_training"}
        assert list((root / "app/multitalk/pipeline/__pycache__").glob("pipeline.*.pyc"))
        matches = subprocess.run(
            ["grep", "-rlF", TOKEN, "opt/multitalk", "app", "root", "run", "tmp", "var", "etc", "home"],
            cwd=root,
            capture_output=True,
            text=True,
        )
        assert matches.stdout == ""
    finally:
        workshop.buildah("umount", container)
        workshop.buildah("rm", container)
    assert TOKEN not in json.dumps(workshop.buildah.config(IMAGE))


def test_only_files_that_are_used_were_requested(workshop):
    requests = workshop.hub_log.read_text()
    if "/resolve/" not in requests and os.environ.get("MULTITALK_IMAGE_WORK"):
        pytest.skip("the kept folder already has the layers of the weights")
    for name in ("dit_model_int8.safetensors", "t5_int8.safetensors", "kokoro-v1_0.pth"):
        assert name in requests
    for name in ("diffusion_pytorch_model-", "models_t5", "multitalk.safetensors", "int8_FusionX"):
        assert name not in requests


def test_page_answers_without_network_access(workshop):
    with workshop.container(IMAGE, {"MODE": "ui"}) as container:
        page = wait_for(workshop, container, f"http://127.0.0.1:{PAGE_PORT}/")
        assert b"MultiTalk" in page
        assert container.log().startswith(COMPLETED)


def test_worker_generates_a_video_and_stops_on_sigterm(workshop):
    options = ("--rp_serve_api", "--rp_api_host", "127.0.0.1", "--rp_api_port", str(API_PORT))
    environment = {"MODE": "serverless", "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true"}
    environment |= {"RUNPOD_SKIP_GPU_CHECK": "true"}
    with workshop.container(IMAGE, environment, *options) as container:
        wait_for(workshop, container, f"http://127.0.0.1:{API_PORT}/")
        answer = post(workshop, f"http://127.0.0.1:{API_PORT}/runsync", smallest_job())
        assert answer["status"] == "COMPLETED", answer
        output = answer["output"]
        assert container.log().startswith(COMPLETED)
        with av.open(io.BytesIO(base64.b64decode(output["video_base64"]))) as video:
            frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
            assert video.streams.audio
        assert len(frames) == output["frames"] > 0
        assert frames[0].shape == (64, 64, 3)
        stop(container)
        # librosa's compiled functions were in the image, and nothing was compiled again
        assert numba_files(workshop, container.name) == numba_files(workshop, IMAGE) != []


def numba_files(workshop: Workshop, source: str) -> list[str]:
    """List compiled functions in an image or a container, including the user's cache."""
    container = source if source != IMAGE else workshop.buildah("from", IMAGE)
    root = Path(workshop.buildah("mount", container))
    files = [path for folder in ("opt", "home") for path in (root / folder).rglob("*.nb?")]
    names = sorted(path.relative_to(root).as_posix() for path in files)
    workshop.buildah("umount", container)
    if source == IMAGE:
        workshop.buildah("rm", container)
    return names


def stop(container: Container) -> None:
    """Send SIGTERM to the app, which must end by itself."""
    os.kill(app_process(container.process.pid), signal.SIGTERM)
    container.process.wait(60)


def app_process(ancestor: int) -> int:
    """Find the process that the entry point became."""
    pending = [ancestor]
    while pending:
        process = pending.pop()
        command = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
        if command[:2] == [b"python", b"app.py"]:
            return process
        for children in Path(f"/proc/{process}/task").glob("*/children"):  # per thread
            pending += map(int, children.read_text().split())
    raise AssertionError("python app.py is not running")


def test_slim_image_downloads_once(workshop):
    workshop.build(SLIM, "--target", "slim")
    container = workshop.buildah("from", SLIM)
    root = Path(workshop.buildah("mount", container))
    variables = {name: workshop.arguments[name] for name in ("HF_ENDPOINT", "SPACY_MODEL_URL")}
    variables |= {"HF_TOKEN": TOKEN, "MULTITALK_PRECISION": "int8", "MODE": "nothing"}
    options = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
    start = ["run", "--isolation", "chroot", *options, container, "--", "/app/entrypoint.sh"]
    try:
        assert not (root / "opt/multitalk/weights").exists()
        first, again = (
            subprocess.run(workshop.buildah.command(*start), capture_output=True, text=True) for _ in range(2)
        )
        assert first.stdout.startswith("No weights in the image"), first.stdout + first.stderr
        assert ", int8, verified" in first.stderr
        assert (root / "opt/all_installed.flag").read_text() == "/opt/multitalk/weights\n"
        assert again.stdout == f"{COMPLETED}\n"
        assert "MODE must be ui or serverless, not 'nothing'" in again.stderr
    finally:
        workshop.buildah("umount", container)
        workshop.buildah("rm", container)


def test_weights_of_other_requirements_are_refused(workshop):
    """As in `docker buildx bake int8`: code on weights that were baked before."""
    requirements = workshop.context / "requirements.txt"
    before = requirements.read_text()
    requirements.write_text(before + "# something new\n")
    try:
        with pytest.raises(RuntimeError, match=r"error: requirements\.txt has changed since the weights"):
            workshop.build(CHANGED, "--build-context", f"baked-weights=container-image://{IMAGE}")
    finally:
        requirements.write_text(before)


def test_new_code_changes_only_the_last_layer(workshop):
    page = workshop.context / "multitalk/ui/page.py"
    page.write_text(page.read_text() + "\n# changed\n")
    workshop.hub_log.write_text("")
    workshop.build(CHANGED)
    before, after = workshop.buildah.layers(IMAGE), workshop.buildah.layers(CHANGED)
    assert len(before) == len(after)
    assert [old == new for old, new in zip(before, after, strict=True)] == [True] * (len(before) - 1) + [
        False
    ]
    assert workshop.hub_log.read_text() == ""
