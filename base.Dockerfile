# The base of the app image: CUDA's driver interface, Python 3.11, torch, attention kernels. No weights, no code.
#   docker build -f base.Dockerfile -t multitalk-base:cu124 .
#   docker build -f base.Dockerfile -t multitalk-base:cu128 \
#     --build-arg CUDA=12.8.1 --build-arg TORCH=2.8.0 --build-arg FLASH_ATTN=2.8.3 --build-arg FLASH_ATTN_BUILD=cu12torch2.8cxx11abiTRUE \
#     --build-arg CUDA_ARCHITECTURES="8.0;8.6;8.9;9.0;12.0" .
# docker-bake.hcl has both. The cu124 stack does not support the RTX 5090.
ARG CUDA=12.4.1
# "@sha256:..." pins NVIDIA's images; docker-bake.hcl has the known digests of each stack.
ARG CUDA_BASE_DIGEST=""
ARG CUDA_DEVEL_DIGEST=""

# ---- Python and torch -------------------------------------------------------------------------------------------
FROM nvidia/cuda:${CUDA}-base-ubuntu22.04${CUDA_BASE_DIGEST} AS python
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# Ubuntu 22.04's python3.11 is a release candidate. python-build-standalone provides exact versions with headers in one
# archive, which uv compares with a hash, and does not depend on a PPA.
ARG PYTHON=3.11.18
ARG UV=0.13.9
# Compile bytecode here: the user of the container cannot write it, and would compile torch at every start.
ENV UV_PYTHON_INSTALL_DIR=/opt/python UV_LINK_MODE=copy UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3-pip \
    && rm -rf /var/lib/apt/lists/* \
    && pip3 install --no-cache-dir "uv==${UV}" \
    && uv python install "${PYTHON}" \
    && uv venv --seed --python "${PYTHON}" /opt/venv \
    && /opt/venv/bin/python -m compileall -q -j 0 -x '/(tests?|lib2to3)/' /opt/python
# The default build of torch 2.5.1 is for CUDA 12.4, that of 2.8.0 for CUDA 12.8. Both contain CUDA's libraries.
ARG TORCH=2.5.1
RUN uv pip install --python /opt/venv/bin/python "torch==${TORCH}"
# A wheel for exactly this torch, CUDA, Python and C++ ABI, because building it takes hours.
ARG FLASH_ATTN=2.7.4.post1
ARG FLASH_ATTN_BUILD=cu12torch2.5cxx11abiFALSE
ARG FLASH_ATTN_WHEEL=https://github.com/Dao-AILab/flash-attention/releases/download/v${FLASH_ATTN}/flash_attn-${FLASH_ATTN}+${FLASH_ATTN_BUILD}-cp311-cp311-linux_x86_64.whl
ARG FLASH_ATTN_SHA256=""
# It needs only einops and torch. CUDA's libraries (2.7 GB) become a separate layer, so that no layer is over 5 GB.
RUN uv pip install --python /opt/venv/bin/python --no-deps "${FLASH_ATTN_WHEEL}${FLASH_ATTN_SHA256:+#sha256=${FLASH_ATTN_SHA256}}" einops==0.8.1 \
    && mv /opt/venv/lib/python3.11/site-packages/nvidia /opt/nvidia-libraries

# ---- kernels that must be compiled: the only stage with nvcc ------------------------------------------------------
FROM nvidia/cuda:${CUDA}-cudnn-devel-ubuntu22.04${CUDA_DEVEL_DIGEST} AS kernels
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates git ninja-build \
    && rm -rf /var/lib/apt/lists/*
COPY --from=python /opt/python /opt/python
COPY --from=python /opt/venv /opt/venv
COPY --from=python /opt/nvidia-libraries /opt/venv/lib/python3.11/site-packages/nvidia
ENV PATH=/opt/venv/bin:$PATH
# SageAttention has no kernels for 7.0 and 7.5, so they are removed below; torch has its own
ARG CUDA_ARCHITECTURES="7.0;7.5;8.0;8.6;8.9;9.0"
# a git tag, and the commit that it must be: the newest version on the package index is 1.0.6
ARG SAGE_ATTENTION=v2.2.0
ARG SAGE_ATTENTION_COMMIT=eb615cf6cf4d221338033340ee2de1c37fbdba4a
ARG SAGE_ATTENTION_REPOSITORY=https://github.com/thu-ml/SageAttention.git
# Memory use is EXT_PARALLEL extensions times MAX_JOBS files times one compiler per architecture.
ARG EXT_PARALLEL=1
ARG MAX_JOBS=2
# SageAttention's setup.py compiles every extension for all architectures. The extension for 9.0 uses instructions that
# no other architecture has (its issue 291), so it is compiled for 9.0 only. Its sm90_compile.py may define a fake
# implementation with the kernel's name, which hides the kernel (its pull request 307): the fake one is renamed.
COPY <<'EOF' /src/sm90_architecture.py
for extension in ext_modules:
    if extension.name.endswith("_sm90"):
        flags = extension.extra_compile_args["nvcc"]
        others = {i for i, flag in enumerate(flags) if flag == "-gencode" and "compute_90a" not in flags[i + 1]}
        sm90 = [flag for i, flag in enumerate(flags) if not {i, i - 1} & others]
        assert "-gencode" in sm90, flags
        extension.extra_compile_args = {**extension.extra_compile_args, "nvcc": sm90}
EOF

RUN pip install --no-cache-dir setuptools==80.9.0 wheel==0.45.1 packaging==25.0 \
    && git clone --depth 1 --branch "${SAGE_ATTENTION}" "${SAGE_ATTENTION_REPOSITORY}" /src/sageattention \
    && commit=$(git -C /src/sageattention rev-parse HEAD) \
    && if [ "${SAGE_ATTENTION_COMMIT:-${commit}}" != "${commit}" ]; then \
    echo "error: SAGE_ATTENTION_COMMIT: ${SAGE_ATTENTION} is ${commit}, not ${SAGE_ATTENTION_COMMIT}. Set it empty to accept any." >&2; exit 1; fi \
    && sed -i 's|^setup(|exec(open("/src/sm90_architecture.py").read())\nsetup(|' /src/sageattention/setup.py \
    && grep -q sm90_architecture /src/sageattention/setup.py \
    && find /src/sageattention/sageattention -name 'sm*_compile.py' -exec \
    sed -i '/^@torch.library.register_fake/{n;/_fake_impl(/!s/^def \([a-z0-9_]*\)(/def \1_fake_impl(/}' {} + \
    && TORCH_CUDA_ARCH_LIST="$(echo "${CUDA_ARCHITECTURES}" | sed 's/7\.[05];*//g')" EXT_PARALLEL="${EXT_PARALLEL}" MAX_JOBS="${MAX_JOBS}" \
    pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels /src/sageattention

# ---- the base -----------------------------------------------------------------------------------------------------
FROM nvidia/cuda:${CUDA}-base-ubuntu22.04${CUDA_BASE_DIGEST}
# Triton (SageAttention, torch.compile) compiles a C launcher for each kernel at run time with gcc, libc's headers and
# Python's headers (/opt/python). torch.compile compiles CPU code with g++. nvcc and CUDA's headers are not needed:
# Triton has its own assembler, and torch contains the int8 and fp8 products.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates gcc g++ libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY --from=python /opt/python /opt/python
COPY --from=python /opt/nvidia-libraries /opt/venv/lib/python3.11/site-packages/nvidia
COPY --from=python /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN --mount=type=bind,from=kernels,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-deps /wheels/*.whl \
    && python -c "import importlib.util as u, torch; assert torch.version.cuda and all(map(u.find_spec, ('flash_attn', 'sageattention')))"
