"""Build, push, pull and run the image with Docker Engine, with small weights and without any network.

Everything is created in a temporary folder, or kept in MULTITALK_IMAGE_WORK for the next run.
"""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import av
import pytest
from gradio_client import Client, handle_file

from tests.waiting import wait_until

from .cuda_images import COMMIT, build_cuda_images
from .engine import Engine, missing_tools
from .registry import ADDRESS
from .scan import findings, names_of
from .workshop import REPOSITORY, TOKEN, Workshop, kept_folder, open_workshop

PAGE, API = "http://127.0.0.1:7860", "http://127.0.0.1:8000"
IMAGE = f"{ADDRESS}/multitalk:int8-cu124"
WEIGHTS = "/opt/multitalk/weights/"
COMPLETED = "Setup has already been completed"
# code that the bake does not import: the front ends, and what is between them and the networks
OUTSIDE_THE_BAKE = ("ui", "serverless", "cli", "media", "speech", "pipeline", "request", "sampling", "start")

reason = missing_tools()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(reason), reason=reason)]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory) -> Iterator[Workshop]:
    """Base, weights and code, built and pushed as the documentation shows it, the code by another builder."""
    folder = kept_folder() or tmp_path_factory.mktemp("image")
    with open_workshop(folder) as workshop:
        workshop.bake("base-cu124")
        (workshop.folder / "weights.log").write_text(workshop.bake("weights-int8"))
        workshop.registry.forget_requests()
        workshop.bake_code_on_an_empty_builder()
        workshop.served_to_the_builder = workshop.registry.served()
        yield workshop
    if not kept_folder():
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def user(workshop) -> Iterator[Engine]:
    """A daemon that had no image before it pulled this one."""
    with workshop.empty_engine("user") as engine:
        engine("pull", "--quiet", IMAGE)
        yield engine


def answer_of(workshop: Workshop, request: str | urllib.request.Request) -> bytes:
    ask: Callable[[], bytes] = lambda: urllib.request.urlopen(request, timeout=240).read()  # noqa: E731
    return workshop.network.run(ask)


@contextmanager
def running(engine: Engine, *arguments: str) -> Iterator[str]:
    """Run a container; return its name."""
    name = engine("run", "--detach", *arguments)
    try:
        yield name
    finally:
        engine("rm", "--force", "--volumes", name)


def stop(engine: Engine, container: str) -> None:
    """Stop it with SIGTERM, after which it must end by itself."""
    engine("stop", "--time", "60", container)
    state = engine.inspect(container)["State"]
    assert (state["ExitCode"], state["OOMKilled"]) == (0, False), logs(engine, container)


def logs(engine: Engine, container: str) -> str:
    done = engine.attempt(["docker", "logs", container])
    return done.stdout + done.stderr


def test_weights_are_layers_below_the_code(workshop):
    layers = workshop.registry.image("multitalk", "int8-cu124").layers
    weights = [number for number, layer in enumerate(layers) if WEIGHTS in layer.created_by]
    assert len(weights) == 18
    assert max(weights) == len(layers) - 4  # then the flag, the kernels, and the code
    assert "/app" in layers[-1].created_by
    assert len([number for number in weights if layers[number].size > 10_000]) == 2  # Kokoro, and the rest
    assert len(layers) < 60  # registries accept 125


def test_layers_have_the_documented_formats_and_sizes(workshop):
    *below, code = workshop.registry.image("multitalk", "int8-cu124").layers
    weights = [layer for layer in below if WEIGHTS in layer.created_by]
    assert {layer.format for layer in weights} == {"tar+zstd"}
    assert sum(layer.size for layer in weights) > 230e6
    assert max(layer.size for layer in weights) < 0.235e9 * 1.01  # --layer-gb, and what the archive adds
    assert code.format == "tar+zstd"
    documented = re.search(r"code: .* \((\d+) MB\)", (REPOSITORY / "docs/IMAGE.md").read_text())
    assert documented is not None
    assert code.size <= int(documented[1]) * 1e6


def test_image_is_configured(workshop):
    config = workshop.registry.image("multitalk", "int8-cu124").config["config"]
    assert config["User"] == "1000"
    assert config["Entrypoint"] == ["/app/entrypoint.sh"]
    assert "7860/tcp" in config["ExposedPorts"]
    assert config["Healthcheck"]["Test"] == ["CMD", "python", "-m", "multitalk.start.health"]
    labels = config["Labels"]
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.version"]
    assert "MODE=ui" in config["Env"]


def test_image_contains_only_what_it_needs(workshop):
    names = names_of(workshop.registry.image("multitalk", "int8-cu124").layers[1:])  # the first is the base
    folders = {name.split("/")[3] for name in names if name.startswith(WEIGHTS[1:])}
    assert {"transformer", "text_encoder", "vae", "kokoro", "loras", "manifest.json"} <= folders
    assert "opt/all_installed.flag" in names
    assert not [
        name for name in names if name.startswith(("opt/fetch", "var/cache/multitalk", "baked", "layers"))
    ]
    top = {name.split("/")[1] for name in names if name.startswith("app/")}
    assert {"app.py", "multitalk", "examples"} <= top
    assert not top & {".git", ".venv", "tests", "benchmarks", "docs", "demo_training"}
    assert [name for name in names if re.match(r"app/multitalk/pipeline/__pycache__/pipeline\..*\.pyc", name)]


def test_no_layer_has_secrets_or_files_that_others_may_write(workshop):
    image = workshop.registry.image("multitalk", "int8-cu124")
    assert {finding for layer in image.layers[1:] for finding in findings(layer, TOKEN)} == set()
    assert TOKEN not in json.dumps([image.config, image.attestations])
    weights = workshop.registry.image("multitalk", "weights-int8-cu124")
    assert TOKEN not in json.dumps([weights.config, weights.attestations])


def test_only_files_that_are_used_were_requested(workshop):
    requests = workshop.hub_log.read_text()
    if "/resolve/" not in requests and kept_folder():
        pytest.skip("the kept folder already has the layers of the weights")
    for name in ("dit_model_int8.safetensors", "t5_int8.safetensors", "kokoro-v1_0.pth"):
        assert name in requests
    for name in ("diffusion_pytorch_model-", "models_t5", "multitalk.safetensors", "int8_FusionX"):
        assert name not in requests


def test_code_is_built_without_downloading_weights(workshop):
    """By a builder that has neither the weights image nor the base."""
    weights = workshop.registry.image("multitalk", "weights-int8-cu124").layers
    image = workshop.registry.image("multitalk", "int8-cu124").layers
    assert [layer.digest for layer in image[:-1]] == [layer.digest for layer in weights]
    served = workshop.served_to_the_builder
    assert served, "the builder downloads the image with Python"
    assert not set(served) & {layer.digest for layer in weights}
    assert sum(served.values()) < 100e6


def test_page_works_on_a_read_only_file_system(workshop, user, tmp_path):
    """With the mounts of the documentation: a temporary folder, and a volume for the results."""
    volume = tmp_path / "outputs"
    volume.mkdir()
    shutil.chown(volume, 1000, 1000)
    options = (
        "--read-only",
        "--tmpfs",
        "/tmp:exec",
        "--volume",
        f"{volume}:/outputs",
        "--publish",
        "7860:7860",
    )
    with running(user, *options, IMAGE) as container:
        state = lambda: user.inspect(container)["State"]  # noqa: E731
        wait_until(lambda: state()["Health"]["Status"] == "healthy" or not state()["Running"], 240, "health")
        assert state()["Running"], logs(user, container)
        assert b"MultiTalk" in answer_of(workshop, PAGE)
        workshop.network.run(generate_on_the_page)
        assert logs(user, container).startswith(COMPLETED)
        assert user.inspect(container)["State"]["Health"]["Status"] == "healthy"
        stop(user, container)
    (video,) = volume.rglob("*.mp4")
    assert video.stat().st_uid == 1000
    with av.open(str(video)) as file:
        assert len(list(file.decode(video=0))) > 0


SMALL = {"size": [64, 64], "steps": 1, "max_seconds": 0.5, "frames_per_clip": 9, "motion_frames": 5}


def generate_on_the_page() -> None:
    client = Client(PAGE, verbose=False, httpx_kwargs={"timeout": 60})
    try:
        image, audio = (
            handle_file(str(REPOSITORY / f"examples/one_person.{kind}")) for kind in ("png", "wav")
        )
        job = client.submit(image=image, audio1=audio, settings=SMALL, api_name="/generate")
        assert job.result(timeout=240)[1]["status"] == "done"
        assert client.predict(text="Hello", api_name="/speak")[0]
    finally:
        client.close()


def smallest_job() -> dict[str, Any]:
    image, audio = (
        base64.b64encode((REPOSITORY / f"examples/one_person.{kind}").read_bytes()).decode()
        for kind in ("png", "wav")
    )
    return {"input": {"image": image, "audio": {"person1": audio}, **SMALL}}


def test_worker_generates_a_video_and_stops_on_sigterm(workshop, user):
    variables = ("RUNPOD_SKIP_AUTO_SYSTEM_CHECKS=true", "RUNPOD_SKIP_GPU_CHECK=true", "MODE=serverless")
    options = [word for variable in variables for word in ("--env", variable)]
    server = ("--rp_serve_api", "--rp_api_host", "0.0.0.0", "--rp_api_port", "8000")
    options += ["--tmpfs", "/tmp", "--publish", "8000:8000"]
    with running(user, *options, IMAGE, *server) as container:

        def answers() -> bool:
            assert user.inspect(container)["State"]["Running"], logs(user, container)
            try:
                return bool(answer_of(workshop, f"{API}/"))
            except urllib.error.HTTPError:
                return True
            except OSError:
                return False

        wait_until(answers, 240, "the worker's answer")
        content = json.dumps(smallest_job()).encode()
        request = urllib.request.Request(f"{API}/runsync", content, {"Content-Type": "application/json"})
        answer = json.loads(answer_of(workshop, request))
        assert answer["status"] == "COMPLETED", answer
        output = answer["output"]
        with av.open(io.BytesIO(base64.b64decode(output["video_base64"]))) as video:
            frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
            assert video.streams.audio
        assert len(frames) == output["frames"] > 0
        assert frames[0].shape == (64, 64, 3)
        stop(user, container)
        assert logs(user, container).startswith(COMPLETED)
        assert "warning: /tmp is mounted noexec, so speech does not work." in logs(user, container)


def test_slim_image_downloads_once(workshop):
    workshop.bake("slim", PUSH="false")
    variables = {name: workshop.variables[name] for name in ("HF_ENDPOINT", "SPACY_MODEL_URL", "HF_TOKEN")}
    variables |= {"MULTITALK_PRECISION": "int8", "MODE": "nothing"}
    options = [word for pair in variables.items() for word in ("--env", "=".join(pair))]
    engine = workshop.engine
    container = engine("create", *options, f"{ADDRESS}/multitalk:slim-cu124")
    try:
        first, again = (engine.attempt(["docker", "start", "--attach", container]) for _ in range(2))
    finally:
        engine("rm", container)
    assert first.stdout.startswith("No weights in the image"), first.stdout + first.stderr
    assert ", int8, verified" in first.stderr
    assert again.stdout == f"{COMPLETED}\n"
    assert "MODE must be ui or serverless, not 'nothing'" in again.stderr


def test_weights_of_other_requirements_are_refused(workshop):
    requirements = workshop.context / "requirements.txt"
    before = requirements.read_text()
    requirements.write_text(before + "# something new\n")
    try:
        with pytest.raises(RuntimeError, match=r"error: requirements\.txt has changed since the weights"):
            workshop.bake("int8")
    finally:
        requirements.write_text(before)


@contextmanager
def changed_code(workshop: Workshop) -> Iterator[None]:
    """Change a file in each package that the bake does not import."""
    paths = [next((workshop.context / "multitalk" / name).glob("[a-z]*.py")) for name in OUTSIDE_THE_BAKE]
    before = [path.read_text() for path in paths]
    for path, text in zip(paths, before, strict=True):
        path.write_text(f"{text}\n# changed\n")
    try:
        yield
    finally:
        for path, text in zip(paths, before, strict=True):
            path.write_text(text)


def test_new_code_changes_only_the_last_layer(workshop):
    """Not even baking the weights again, in which nothing runs."""
    before = workshop.registry.image("multitalk", "int8-cu124").layers
    with changed_code(workshop):
        workshop.hub_log.write_text("")
        workshop.bake("weights-int8")
        workshop.bake("int8", VERSION="changed")
    after = workshop.registry.image("multitalk", "changed-int8-cu124").layers
    assert [layer.digest for layer in after[:-1]] == [layer.digest for layer in before[:-1]]
    assert after[-1].digest != before[-1].digest
    assert workshop.hub_log.read_text() == ""


def test_every_target_is_built(workshop):
    """The other precisions and stack, whose base is the same here; without speech, to save time."""
    precisions, stacks = ("int8", "bf16", "fp8"), ("cu124", "cu128")
    names = [f"{precision}-{stack}" for stack in stacks for precision in precisions][1:]
    workshop.bake("base-cu128", PUSH="false")
    for (
        name
    ) in names:  # in turn: exports of eight images at once exceed a deadline of containerd on a busy machine
        options = {} if "int8" in name else {"DOWNLOAD_OPTIONS": "--no-speech"}
        workshop.bake(f"weights-{name}", PUSH="false", **options)
        workshop.bake(name, PUSH="false")
    workshop.bake("slim-cu128", PUSH="false")
    manifest = f"{WEIGHTS}manifest.json"
    for name in names:
        command = ("run", "--rm", "--entrypoint", "cat", f"{ADDRESS}/multitalk:{name}", manifest)
        assert json.loads(workshop.engine(*command))["precision"]["transformer"] == name.partition("-")[0]


def test_every_line_of_the_base_is_executed(workshop, tmp_path):
    """Both stacks, on images under NVIDIA's names, with small packages under the names of the real ones."""
    build_cuda_images(workshop.engine, tmp_path, f"{ADDRESS}/multitalk-python:cu124")
    for name in ("docker-bake.hcl", "base.Dockerfile"):
        shutil.copy(REPOSITORY / name, tmp_path)
    options = {"REGISTRY": f"{ADDRESS}/executed", "PUSH": "false"}
    bake = ("buildx", "bake", "--progress", "plain", "base-cu124", "base-cu128")
    with pytest.raises(
        RuntimeError, match=r"12\.4\.1-cudnn-devel-ubuntu22\.04@sha256:622e78a1"
    ):  # pinned, and not here
        workshop.engine(*bake, cwd=tmp_path, **options)
    unpinned = ("--set", "base-cu124.args.CUDA_DEVEL_DIGEST=")
    done = workshop.engine.attempt(["docker", *bake, *unpinned], cwd=tmp_path, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    output = done.stdout + done.stderr
    for architectures in ("8.0;8.6;8.9;9.0", "8.0;8.6;8.9;9.0;12.0"):
        assert f"TORCH_CUDA_ARCH_LIST={architectures} EXT_PARALLEL=1 MAX_JOBS=2" in output
    assert "_qattn_sm90 -gencode arch=compute_90a,code=sm_90a\n" in output
    check = "import sageattention as s; print(open(s.__path__[0] + '/sm90_compile.py').read())"
    command = ("run", "--rm", f"{ADDRESS}/executed/multitalk-base:cu124", "python", "-c", check)
    assert "def attention_fake_impl(x)" in workshop.engine(*command)
    wrong = ("--set", f"*.args.SAGE_ATTENTION_COMMIT={'0' * 40}")
    with pytest.raises(RuntimeError, match=f"error: SAGE_ATTENTION_COMMIT: v2.2.0 is {COMMIT}, not 0000"):
        workshop.engine(*bake, *unpinned, *wrong, cwd=tmp_path, **options)


SCANNER = """
FROM {base}
COPY <<EOF /scan.py
import json, os
from importlib.metadata import distributions
folder = os.environ["BUILDKIT_SCAN_SOURCE"] + "/opt/venv/lib/python3.11/site-packages"
packages = [{{"name": d.name, "versionInfo": d.version}} for d in distributions(path=[folder])]
statement = {{"_type": "https://in-toto.io/Statement/v0.1", "predicateType": "https://spdx.dev/Document"}}
statement["predicate"] = {{"packages": packages}}
with open(os.environ["BUILDKIT_SCAN_DESTINATION"] + "/image.spdx.json", "w") as file:
    json.dump(statement, file)
EOF
ENTRYPOINT ["python", "/scan.py"]
"""


def test_make_image_and_make_push(workshop, tmp_path):
    """As the README shows them; a scanner of Python's packages replaces Docker's, which needs a network."""
    (tmp_path / "Dockerfile").write_text(SCANNER.format(base=f"{ADDRESS}/multitalk-python:cu124"))
    scanner = f"{ADDRESS}/scanner:1"
    workshop.engine("build", "--push", "--tag", scanner, str(tmp_path))
    options = workshop.variables | {"NEEDED_GB": "1", "SBOM_SCANNER": scanner}
    for arguments in (["image"], ["push", f"REGISTRY={ADDRESS}/made"]):
        done = workshop.engine.attempt(["make", *arguments], cwd=workshop.context, **options)
        assert done.returncode == 0, done.stdout + done.stderr
    version = workshop.engine(
        "run", "--rm", "--entrypoint", "python", "multitalk:int8-cu124", "-m", "multitalk", "--version"
    )
    assert version.startswith("multitalk ")
    weights = workshop.registry.image("made/multitalk", "weights-int8-cu124").layers
    for tag in ("int8-cu124", f"{version.split()[1]}-int8-cu124"):
        image = workshop.registry.image("made/multitalk", tag)
        assert [layer.digest for layer in image.layers[:-1]] == [layer.digest for layer in weights]
        provenance = image.attestations["https://slsa.dev/provenance/v0.2"]
        assert provenance["invocation"]["parameters"]["args"]["build-arg:RUN_AS"] == "1000"
        assert "int8" in json.dumps(provenance["materials"])
        packages = image.attestations["https://spdx.dev/Document"]["packages"]
        assert {"torch", "transformers", "gradio", "runpod"} <= {package["name"] for package in packages}
        assert TOKEN not in json.dumps(image.attestations)
