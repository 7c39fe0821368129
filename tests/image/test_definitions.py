"""Check that the Dockerfiles, the bake file and RunPod's files agree with each other and with the code."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import hcl2
import jsonschema
import pytest

from multitalk.bake.layers import LAYERS
from multitalk.runtime.choose import Weights, plan_for
from multitalk.runtime.gpus import GPUS
from multitalk.runtime.report import usual_machine
from multitalk.serverless.inputs import read_request
from multitalk.serverless.worker_settings import WorkerSettings

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
BASE_DOCKERFILE = (REPOSITORY / "base.Dockerfile").read_text()

# RunPod's "Hub publishing guide" (docs.runpod.io/hub/publishing-guide, read in November 2026), as a schema.
STRINGS = {"type": "array", "items": {"type": "string", "pattern": r"^\d+\.\d+$"}}
INPUT = {
    "type": "object",
    "required": ["name", "type", "description"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string"},
        "type": {"enum": ["string", "number", "boolean", "huggingface"]},
        "description": {"type": "string"},
        "default": {},
        "advanced": {"type": "boolean"},
        "min": {"type": "number"},
        "max": {"type": "number"},
        "options": {"type": "array", "items": {"type": "object", "required": ["label", "value"]}},
        "trueValue": {"type": "string"},
        "falseValue": {"type": "string"},
    },
}
ENVIRONMENT = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["key"],
        "additionalProperties": False,
        "properties": {"key": {"type": "string"}, "value": {"type": "string"}, "input": INPUT},
        "oneOf": [{"required": ["value"]}, {"required": ["input"]}],
    },
}
HUB = {
    "type": "object",
    "required": ["title", "description", "type", "category", "config"],
    "additionalProperties": False,
    "properties": {
        "title": {"type": "string"},
        "description": {"type": "string"},
        "type": {"const": "serverless"},
        "category": {"enum": ["audio", "embedding", "language", "video", "image"]},
        "iconUrl": {"type": "string", "format": "uri"},
        "config": {
            "type": "object",
            "required": ["runsOn", "containerDiskInGb", "gpuCount", "gpuIds"],
            "additionalProperties": False,
            "properties": {
                "runsOn": {"const": "GPU"},
                "containerDiskInGb": {"type": "integer", "minimum": 1},
                "gpuCount": {"type": "integer", "minimum": 1},
                "gpuIds": {"type": "string"},
                "allowedCudaVersions": STRINGS,
                "env": ENVIRONMENT,
                "presets": {"type": "array", "items": {"type": "object", "required": ["name", "defaults"]}},
            },
        },
    },
}
TESTS = {
    "type": "object",
    "required": ["tests", "config"],
    "additionalProperties": False,
    "properties": {
        "tests": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["name", "input"],
                "additionalProperties": False,
                "properties": {
                    "name": {"type": "string"},
                    "input": {"type": "object"},
                    "timeout": {"type": "integer"},
                },
            },
        },
        "config": {
            "type": "object",
            "required": ["gpuTypeId", "gpuCount"],
            "additionalProperties": False,
            "properties": {
                "gpuTypeId": {"type": "string"},
                "gpuCount": {"type": "integer"},
                "allowedCudaVersions": STRINGS,
                "env": {"type": "array", "items": {"type": "object", "required": ["key", "value"]}},
            },
        },
    },
}
# RunPod's pools (docs.runpod.io/references/gpu-types), and GPUs of the planner's table with the same memory:
# an A6000 stands for L40 and L40S, which are not in it
POOLS = {
    "ADA_32_PRO": ("RTX 5090",),
    "AMPERE_48": ("A40", "RTX A6000"),
    "ADA_48_PRO": ("RTX A6000", "RTX PRO 6000 MIG"),
    "AMPERE_80": ("A100 80 GB",),
    "ADA_80_PRO": ("H100",),
    "HOPPER_141": ("H200",),
}
# GPUs that gpuIds excludes from a pool: RunPod's name, and the name in POOLS. Its compute capability is 12.0.
NEGATIONS = {"-NVIDIA RTX PRO 6000 Blackwell Server Edition MIG 2g.48gb": "RTX PRO 6000 MIG"}


def runpod_file(name: str) -> dict[str, Any]:
    return json.loads((REPOSITORY / ".runpod" / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize(("name", "schema"), [("hub.json", HUB), ("tests.json", TESTS)])
def test_runpods_files_match_its_schema(name, schema):
    jsonschema.validate(runpod_file(name), schema)


def test_hub_starts_the_worker():
    for config in (runpod_file("hub.json")["config"], runpod_file("tests.json")["config"]):
        assert {"key": "MODE", "value": "serverless"} in config["env"]
    # driver versions that run the image's CUDA
    versions = runpod_file("hub.json")["config"]["allowedCudaVersions"]
    assert min(tuple(map(int, version.split("."))) for version in versions) == (12, 4)


def test_variables_of_the_hub_are_the_workers():
    documented = (REPOSITORY / "docs/SERVERLESS.md").read_text()
    for variable in runpod_file("hub.json")["config"]["env"]:
        assert f"`{variable['key']}" in documented or variable["key"] == "MODE", variable["key"]


def test_hub_tests_are_jobs():
    for test in runpod_file("tests.json")["tests"]:
        request = asyncio.run(read_request(test["input"], WorkerSettings.from_environment()))
        assert request.speech is not None
        assert test["timeout"] >= 60_000  # milliseconds


def documented_pools() -> dict[str, str]:
    rows = re.findall(
        r"^\| `(\w+)` .*\| `([A-Z0-9_,]+(?:,-[^`]+)?)` \|$", (REPOSITORY / "docs/IMAGE.md").read_text(), re.M
    )
    return dict(rows)


def test_documented_gpus_hold_the_whole_model():
    pools = documented_pools()
    assert set(pools) == {"int8", "bf16", "fp8"}
    assert pools["int8"] == runpod_file("hub.json")["config"]["gpuIds"]
    specifications = {gpu.name: gpu for gpu in GPUS}
    for precision, names in pools.items():
        excluded = {NEGATIONS[name] for name in names.split(",") if name.startswith("-")}
        for pool in (name for name in names.split(",") if not name.startswith("-")):
            for gpu in set(POOLS[pool]) - excluded:
                weights = Weights(transformer=precision, text_encoder=precision)
                plan = plan_for(usual_machine(specifications[gpu]), weights=weights)
                assert plan.streamed_blocks == 0, f"{precision} on {gpu} of {pool}"
                # the highest that cu124 has code for
                assert specifications[gpu].capability <= (9, 0), f"{gpu} of {pool} can't run it"


def stages(text: str) -> dict[str, str]:
    """Split a Dockerfile into the texts of its stages, by name."""
    parts = re.split(r"^FROM (\S+)(?: AS (\S+))?$", text, flags=re.M)
    return {
        name or "final": body for _, name, body in zip(parts[1::3], parts[2::3], parts[3::3], strict=True)
    }


def test_every_layer_of_the_bake_is_copied():
    copied = re.findall(r"COPY --link --from=fetch /layers/(\d\d)/ ", stages(DOCKERFILE)["baked-weights"])
    assert copied == [f"{number:02d}" for number in range(LAYERS)]


def test_code_is_built_on_weights():
    assert re.search(r"^FROM baked-weights AS app$", DOCKERFILE, re.M)
    # anything else would download the weights to a builder that lacks them
    instructions = re.findall(r"^[A-Z]+(?: --link)?", stages(DOCKERFILE)["app"], re.M)
    assert set(instructions) <= {"COPY --link", "ARG", "USER", "LABEL"}
    assert "multitalk/" not in stages(DOCKERFILE)["baked-weights"].replace("/opt/multitalk/", "")
    assert "pipeline" not in stages(DOCKERFILE)["fetch"]


@pytest.mark.slow
def test_bake_runs_on_what_the_fetch_stage_copies(tmp_path):
    """Imports only; the test of the image bakes, too."""
    for name in copied_by_fetch():
        source, target = REPOSITORY / name, tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, target)
    modules = ("__main__", "bake", "commands", "fetch", "layers")
    code = f"import {', '.join(f'multitalk.bake.{name}' for name in modules)}; print(multitalk.__file__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.startswith(str(tmp_path)), done.stderr


def imported_files(path: Path) -> set[Path]:
    """Find the package's files that a file imports anywhere, except for type checking."""
    package = path.parent.relative_to(REPOSITORY).parts
    names: set[tuple[str, ...]] = set()
    pending: list[ast.AST] = [ast.parse(path.read_text())]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        pending += ast.iter_child_nodes(node)
        if isinstance(node, ast.ImportFrom) and node.level:
            start = package[: len(package) - node.level + 1] + tuple((node.module or "").split("."))
            base = tuple(part for part in start if part)
            names |= {base} | {(*base, alias.name) for alias in node.names}
    files = {REPOSITORY.joinpath(*name).with_suffix(".py") for name in names}
    files |= {
        REPOSITORY.joinpath(*name[:end], "__init__.py") for name in names for end in range(1, len(name) + 1)
    }
    return {file for file in files if file.is_file()}


def test_fetch_stage_copies_what_the_bake_imports():
    """All of it, and of the patches nothing else."""
    pending = list((REPOSITORY / "multitalk/bake").glob("*.py"))
    needed: set[Path] = set()
    while pending:
        file = pending.pop()
        if file not in needed:
            needed.add(file)
            pending += imported_files(file)
    names = {file.relative_to(REPOSITORY).as_posix() for file in needed}
    copied = copied_by_fetch()
    assert {name for name in names if not name.startswith(copied)} == set()
    assert {name for name in copied if "/patches/" in name} <= names
    assert {name for name in copied if name.endswith("/")} == {
        f"multitalk/{room}/" for room in ("bake", "models", "weights")
    }


def copied_by_fetch() -> tuple[str, ...]:
    """List the files and folders of the package that the fetch stage copies."""
    lines = re.findall(r"^COPY (multitalk/[^\n]+) multitalk/", joined(stages(DOCKERFILE)["fetch"]), re.M)
    return tuple(" ".join(lines).split())


def joined(text: str) -> str:
    """Instructions on one line each."""
    return re.sub(r"\\\n\s*", "", text)


def test_secret_is_no_argument():
    assert "--mount=type=secret,id=HF_TOKEN" in DOCKERFILE
    assert not re.search(r"^(ARG|ENV) HF_TOKEN", DOCKERFILE, re.M)


def unquoted(value: Any) -> Any:
    """Remove quotes, which the parser keeps."""
    if isinstance(value, dict):
        return {key.strip('"'): unquoted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [unquoted(item) for item in value]
    return value.strip('"') if isinstance(value, str) else value


def bake_file() -> dict[str, dict[str, Any]]:
    content = unquoted(hcl2.loads((REPOSITORY / "docker-bake.hcl").read_text()))
    merged: dict[str, dict[str, Any]] = {"target": {}, "group": {}, "variable": {}}
    for kind, blocks in merged.items():
        for block in content[kind]:
            blocks.update(block)
    return merged


def target_names(target: dict[str, Any]) -> list[str]:
    stacks = [stack["name"] if isinstance(stack, dict) else stack for stack in target["matrix"]["stack"]]
    return [
        target["name"]
        .replace("${stack.name}", stack)
        .replace("${stack}", stack)
        .replace("${precision}", precision)
        .replace("${content}", content)
        for stack in stacks
        for precision in target["matrix"].get("precision", [""])
        for content in target["matrix"].get("content", [""])
    ]


def test_bake_targets_are_stages_with_their_arguments():
    for name, target in bake_file()["target"].items():
        text = BASE_DOCKERFILE if target.get("dockerfile") == "base.Dockerfile" else DOCKERFILE
        for argument in target["args"]:
            assert re.search(rf"^ARG {argument}\b", text, re.M), f"{name} sets {argument}"
        contents = target["matrix"].get("content", [""])
        names = {
            target["target"].replace("${content}", content) for content in contents if "target" in target
        }
        for stage in (*target.get("contexts", {}), *names):
            assert stage in stages(text), f"{name} names the stage {stage}"


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("base", {"MAX_JOBS", "EXT_PARALLEL"}),
        ("weights", {"MODELS", "DOWNLOAD_OPTIONS", "HF_ENDPOINT", "SPACY_MODEL_URL"}),
        ("app", {"RUN_AS"}),
    ],
)
def test_variables_of_the_bake_file_reach_the_build(target, names):
    content = bake_file()
    for name in names:
        assert content["target"][target]["args"][name] in (name, f"${{{name}}}")
        default = re.search(
            rf'^ARG {name}="?([^"\n]*)"?$', BASE_DOCKERFILE if target == "base" else DOCKERFILE, re.M
        )
        assert default is not None
        assert content["variable"][name]["default"] == default[1]


def test_bake_has_a_target_for_each_stack_and_precision():
    content = bake_file()
    names = {name for target in content["target"].values() for name in target_names(target)}
    for stack in ("cu124", "cu128"):
        assert {f"base-{stack}", f"slim-{stack}"} <= names
        for precision in ("int8", "bf16", "fp8"):
            parts = [f"baked-{part}-{precision}-{stack}" for part in ("weights", "requirements")]
            assert {f"{precision}-{stack}", *parts} <= names
            assert content["group"][f"weights-{precision}-{stack}"]["targets"] == parts
    for group in content["group"].values():
        assert set(group["targets"]) <= names | set(content["group"])


def test_layers_are_compressed_with_zstd():
    targets = bake_file()["target"]
    for name, level in (("weights", 3), ("app", 9), ("slim", 9), ("base", 9)):
        assert f"compression=zstd,compression-level={level}," in targets[name]["output"][0]


def test_stacks_have_their_architectures():
    stacks = {stack["name"]: stack for stack in bake_file()["target"]["base"]["matrix"]["stack"]}
    assert stacks["cu124"]["architectures"] == "7.0;7.5;8.0;8.6;8.9;9.0"
    assert "12.0" in stacks["cu128"]["architectures"]
    for argument, key in (("CUDA", "cuda"), ("TORCH", "torch"), ("FLASH_ATTN", "flash")):
        default = re.search(rf'^ARG {argument}="?([^"\n]+)"?$', BASE_DOCKERFILE, re.M)
        assert default is not None
        assert default[1] == stacks["cu124"][key]


def test_last_stage_of_the_base_has_no_cuda_compiler():
    last = BASE_DOCKERFILE.rpartition("\nFROM ")[2]
    assert last.startswith("nvidia/cuda:${CUDA}-base-")
    assert "-devel" not in last


def test_images_are_built_for_linux_amd64():
    platforms = {name: target["platforms"] for name, target in bake_file()["target"].items()}
    assert set(platforms) == {"base", "weights", "app", "slim"}
    assert all(names == ["linux/amd64"] for names in platforms.values())


@pytest.mark.parametrize("pinned", ["right", "wrong", "none"])
def test_kernels_come_from_the_pinned_commit(tmp_path, pinned):
    """base.Dockerfile compares the commit of the tag that it clones."""
    command = re.search(r"(commit=\$\(git .*?exit 1; fi) ", joined(BASE_DOCKERFILE))
    assert command
    identity = ("-c", "user.name=n", "-c", "user.email=e")
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    message = ("commit", "--quiet", "--allow-empty", "--message", "one")
    subprocess.run(["git", "-C", tmp_path, *identity, *message], check=True)
    head = subprocess.check_output(["git", "-C", tmp_path, "rev-parse", "HEAD"], text=True).strip()
    commit = {"right": head, "wrong": "0" * 40, "none": ""}[pinned]
    done = subprocess.run(
        ["bash", "-c", command[1].replace("/src/sageattention", str(tmp_path))],
        env=os.environ | {"SAGE_ATTENTION": "v2.2.0", "SAGE_ATTENTION_COMMIT": commit},
        capture_output=True,
        text=True,
    )
    assert done.returncode == (pinned == "wrong"), done.stderr
    if pinned == "wrong":
        assert f"v2.2.0 is {head}, not {commit}. Set it empty to accept any." in done.stderr


def test_kernels_keep_their_names(tmp_path):
    """base.Dockerfile renames a function for tracing that has its kernel's name."""
    command = re.search(r"sed -i ('/\^@torch\.library.*?') \{\}", BASE_DOCKERFILE)
    assert command
    module = tmp_path / "sm90_compile.py"
    parts = []
    for kernel, stand_in in (("attention", "attention_fake_impl"), ("attention_fused", "attention_fused")):
        parts.append(
            f'@torch.library.custom_op("sm90::{kernel}", mutates_args=())\ndef {kernel}(\n    x: int,\n):\n'
        )
        parts.append(f'    return "{kernel}"\n\n\n')
        parts.append(f'@torch.library.register_fake("sm90::{kernel}")\ndef {stand_in}(\n    x: int,\n):\n')
        parts.append("    return None\n\n\n")
    module.write_text("".join(parts))
    for _ in range(2):  # the second run changes nothing
        subprocess.run(["sed", "-i", command[1].strip("'"), module], check=True)
        names = [
            node.name for node in ast.parse(module.read_text()).body if isinstance(node, ast.FunctionDef)
        ]
        assert names == ["attention", "attention_fake_impl", "attention_fused", "attention_fused_fake_impl"]


def test_kernels_of_one_architecture_are_compiled_for_that_alone(tmp_path):
    """base.Dockerfile changes the flags in SageAttention's setup.py, here in one of the same structure."""
    script = re.search(r"COPY <<'EOF' /src/sm90_architecture.py\n(.*?)\nEOF\n", BASE_DOCKERFILE, re.DOTALL)
    insertion = re.search(r"sed -i ('s\|\^setup.*?\|') ", BASE_DOCKERFILE)
    filtering = re.search(r"\| sed ('.*?')\)", BASE_DOCKERFILE)
    assert script
    assert insertion
    assert filtering
    (tmp_path / "sm90_architecture.py").write_text(script[1])
    architectures = ("80", "86", "89", "90a", "120a")
    flags = ["-O3", *(f for a in architectures for f in ("-gencode", f"arch=compute_{a},code=sm_{a}")), "-v"]
    (tmp_path / "setup.py").write_text(
        "from types import SimpleNamespace\n"
        f"NVCC_FLAGS = {flags}\n"
        "names = ['sageattention._qattn_sm89', 'sageattention._qattn_sm90', 'sageattention._fused']\n"
        "ext_modules = [SimpleNamespace(name=name, extra_compile_args={'cxx': [], 'nvcc': NVCC_FLAGS})"
        " for name in names]\n"
        "def setup(ext_modules):\n"
        "    import json; print(json.dumps({e.name: e.extra_compile_args['nvcc'] for e in ext_modules}))\n"
        "setup(\n    ext_modules=ext_modules,\n)\n"
    )
    expression = insertion[1].strip("'").replace("/src/", f"{tmp_path}/")
    subprocess.run(["sed", "-i", expression, tmp_path / "setup.py"], check=True)
    flags_of = json.loads(subprocess.check_output([sys.executable, tmp_path / "setup.py"], text=True))
    expected = ["-O3", "-gencode", "arch=compute_90a,code=sm_90a", "-v"]
    assert flags_of["sageattention._qattn_sm90"] == expected
    assert flags_of["sageattention._qattn_sm89"] == flags_of["sageattention._fused"] == flags
    filtered = subprocess.check_output(
        ["sed", filtering[1].strip("'")], input="7.0;7.5;8.0;9.0;12.0", text=True
    )
    assert filtered == "8.0;9.0;12.0"
