"""A hub with small weights, a registry, and Docker daemons, in a network of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from multitalk.bake import catalogue
from tests.hub import WEB_FOLDER

from .base_image import import_images, make_debian
from .engine import BuilderSocket, Engine
from .network import LoopbackNetwork
from .registry import ADDRESS, Registry
from .weights import make_published_weights

REPOSITORY = Path(__file__).resolve().parents[2]
TOKEN = "hf_only_for_the_build"
HUB = "172.17.0.1:7788"  # the address of Docker's bridge, which builds and containers reach
BASE, PYTHON = f"{ADDRESS}/multitalk-base", f"{ADDRESS}/multitalk-python"
# what the driver docker-container does, which has no image store
WITHOUT_STORE = (
    "*.output=type=image,push=true,store=false,compression=zstd,compression-level=9,oci-mediatypes=true"
)


@dataclass
class Workshop:
    """Objects that the tests share.

    Attributes:
        folder: For everything.
        network: Of everything.
        engine: Has the base image, and builds the weights.
        registry: Where it pushes them.
        context: Build context, a copy of the repository.
        served_to_the_builder: Blobs that the builder of the code downloaded.
    """

    folder: Path
    network: LoopbackNetwork
    engine: Engine
    registry: Registry
    context: Path
    served_to_the_builder: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.hub_log = self.folder / "hub.log"
        self.variables = {
            "HF_ENDPOINT": f"http://{HUB}",
            "SPACY_MODEL_URL": f"http://{HUB}/{WEB_FOLDER}/{catalogue.SPACY_MODEL}",
            "HF_TOKEN": TOKEN,
            "DOWNLOAD_OPTIONS": "--layer-gb 0.235",  # Kokoro fills one
        }

    def bake(self, *arguments: str, engine: Engine | None = None, **variables: str) -> str:
        """Run `docker buildx bake` as the documentation shows it."""
        variables = self.variables | {"PUSH": "true"} | variables
        docker = engine or self.engine
        try:
            return docker("buildx", "bake", *arguments, cwd=self.context, **variables)
        except RuntimeError as error:
            # The daemon pushes a tag's manifests at the same time, and the registry writes tags in place: a
            # request that reads one meanwhile is answered like this.
            if "500 Internal Server Error" not in str(error):
                raise
            return docker("buildx", "bake", *arguments, cwd=self.context, **variables)

    @contextmanager
    def empty_engine(self, name: str) -> Iterator[Engine]:
        """Start a daemon that has no image."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        with Engine(folder, self.network) as engine:
            assert engine("images", "--quiet") == ""
            yield engine
        shutil.rmtree(folder)

    def bake_code_on_an_empty_builder(self) -> None:
        """Build and push the code where neither the weights nor the base are."""
        with self.empty_engine("builder") as engine, BuilderSocket(engine) as builder:
            engine("buildx", "create", "--name", "code", "--driver", "remote", f"unix://{builder.path}")
            options = ("--builder", "code", "--set", WITHOUT_STORE)
            self.bake("int8", *options, engine=engine, CODE_IMAGE=f"{PYTHON}:cu124")


@contextmanager
def open_workshop(folder: Path) -> Iterator[Workshop]:
    """Start everything and import the base; what a former run left in the folder is used again."""
    context = folder / "context"
    shutil.rmtree(context, ignore_errors=True)
    copy_tracked_files(context)
    if not (folder / "published").exists():
        make_published_weights(folder / "published")
    if not (folder / "root").exists():
        make_debian(folder / "root", REPOSITORY)
    (folder / "engine").mkdir(exist_ok=True)
    (folder / "hub.log").write_text("")
    with ExitStack() as stack:
        network = stack.enter_context(LoopbackNetwork())
        registry = stack.enter_context(Registry(folder, network))
        engine = stack.enter_context(Engine(folder / "engine", network))
        if not engine("images", "--quiet", BASE):
            lock = REPOSITORY / "requirements.txt"
            import_images(engine, folder / "root", lock, f"{PYTHON}:cu124", f"{BASE}:stand-in")
            engine("push", "--quiet", f"{PYTHON}:cu124")
        # as base.Dockerfile would make it
        (context / "base.Dockerfile").write_text(f"FROM {BASE}:stand-in\n")
        command = [
            sys.executable,
            "-m",
            "tests.hub",
            str(folder / "published"),
            HUB,
            str(folder / "hub.log"),
            TOKEN,
        ]
        hub = subprocess.Popen(network.command(command), cwd=REPOSITORY)
        stack.callback(hub.wait)
        stack.callback(hub.terminate)
        yield Workshop(folder, network, engine, registry, context)


def copy_tracked_files(target: Path) -> None:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        if (REPOSITORY / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, target / name)


def kept_folder() -> Path | None:
    """Return the folder whose content is kept for the next run, if there is one."""
    kept = os.environ.get("MULTITALK_IMAGE_WORK")
    return Path(kept) if kept else None
