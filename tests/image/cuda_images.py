"""Images under NVIDIA's names, with which BuildKit executes every line of base.Dockerfile without a network.

Commands that download are replaced: apt-get does nothing, uv and pip create small packages with the names of
the real ones, git copies a repository with the form of SageAttention's, whose setup.py is changed and run as
the real one is. Nothing is compiled for a GPU.
"""

from __future__ import annotations

from pathlib import Path

from .engine import Engine

COMMIT = "eb615cf6cf4d221338033340ee2de1c37fbdba4a"
FILES = {
    "apt-get": "#!/bin/sh\n",
    "pip3": "#!/bin/sh\n",
    # python install, venv, pip install of torch, pip install of flash-attn's wheel
    "uv": """#!/bin/bash
set -e
packages=/opt/venv/lib/python3.11/site-packages
case "$1 $2 ${*: -1}" in
  "python install "*) mkdir -p /opt/python/lib && echo "x = 1" >/opt/python/lib/module.py ;;
  "venv --seed "*)
    python3 -m venv /opt/venv
    mv /opt/venv/bin/pip /opt/venv/bin/real-pip
    cp /src/pip /opt/venv/bin/pip ;;
  "pip install torch=="*)
    mkdir -p $packages/torch $packages/nvidia/cublas && touch $packages/nvidia/cublas/library
    echo "from . import version" >$packages/torch/__init__.py
    echo "cuda = '12'" >$packages/torch/version.py ;;
  "pip install einops=="*)
    [[ $* == *"/flash_attn-"*"-cp311-cp311-linux_x86_64.whl einops=="* ]] && mkdir $packages/flash_attn ;;
  *) echo "unknown: $*" >&2 && exit 1 ;;
esac
""",
    "pip": """#!/bin/bash
case "$*" in
  *setuptools==*) ;;
  "wheel "*) cd "${*: -1}" && mkdir -p /wheels && python setup.py ;;
  *) exec /opt/venv/bin/real-pip "$@" ;;
esac
""",
    "git": f"""#!/bin/bash
case "$*" in
  "clone --depth 1 --branch v2.2.0 https://"*) cp -r /src/repository "${{*: -1}}" ;;
  "-C /src/sageattention rev-parse HEAD") echo {COMMIT} ;;
  *) exit 1 ;;
esac
""",
    # prints what would be compiled, and writes a wheel
    "setup.py": """import os, sys, zipfile
from types import SimpleNamespace as Extension
flags = [f for a in ("80", "90a") for f in ("-gencode", f"arch=compute_{a},code=sm_{a}")]
ext_modules = [Extension(name=f"_qattn_{n}", extra_compile_args={"nvcc": flags}) for n in ("sm80", "sm90")]
def setup(ext_modules):
    for extension in ext_modules:
        print(extension.name, *extension.extra_compile_args["nvcc"], file=sys.stderr)
    names = ("TORCH_CUDA_ARCH_LIST", "EXT_PARALLEL", "MAX_JOBS")
    print(*(f"{name}={os.environ[name]}" for name in names), file=sys.stderr)
    with zipfile.ZipFile("/wheels/sageattention-2.2.0-py3-none-any.whl", "w") as wheel:
        wheel.write("sageattention/sm90_compile.py")
        wheel.writestr("sageattention/__init__.py", "")
        about = "sageattention-2.2.0.dist-info"
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\\nName: sageattention\\nVersion: 2.2.0\\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{about}/RECORD", "")
setup(
    ext_modules=ext_modules,
)
""",
    "sm90_compile.py": """@torch.library.register_fake("sm90::attention")
def attention(x):
    return None
""",
}
DOCKERFILE = """
FROM {python}
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
RUN rm -r /opt/venv
COPY --chmod=755 apt-get pip3 uv git /usr/local/bin/
COPY --chmod=755 pip /src/
COPY setup.py /src/repository/
COPY sm90_compile.py /src/repository/sageattention/
"""


def build_cuda_images(engine: Engine, folder: Path, python: str) -> None:
    """Build the images of both stacks.

    Args:
        engine: Gets the images.
        folder: An empty folder.
        python: Image with Python.
    """
    for name, content in FILES.items():
        (folder / name).write_text(content)
    (folder / "Dockerfile").write_text(DOCKERFILE.format(python=python))
    names = [
        f"{cuda}-{kind}-ubuntu22.04" for cuda in ("12.4.1", "12.8.1") for kind in ("base", "cudnn-devel")
    ]
    tags = [word for name in names for word in ("--tag", f"nvidia/cuda:{name}")]
    engine("build", *tags, str(folder))
