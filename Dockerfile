# The app image: requirements, baked weights, code. New code does not change the layers of the weights.
#   docker build -t multitalk:int8 .
#   docker build -t multitalk:bf16 --build-arg PRECISION=bf16 --secret id=HF_TOKEN,env=HF_TOKEN .
#   docker build -t multitalk:slim --target slim .
# To build new code on weights from a registry, without baking them again and without downloading them:
#   docker buildx build --push -t REGISTRY/multitalk:int8 --build-arg BASE_IMAGE=REGISTRY/multitalk-base:cu124 \
#     --build-context baked-weights=docker-image://REGISTRY/multitalk:weights-int8-cu124 \
#     --build-context baked-requirements=docker-image://REGISTRY/multitalk:requirements-int8-cu124 .
# docker-bake.hcl has all variants; see docs/IMAGE.md.

# Requirements of the base: Linux, bash, and `python` 3.11 or 3.12 with pip and torch on PATH.
ARG BASE_IMAGE=multitalk-base:cu124
# Compiles the bytecode: any image with `python` of the base's version.
ARG CODE_IMAGE=${BASE_IMAGE}

FROM ${BASE_IMAGE} AS runtime
WORKDIR /app
COPY requirements.txt ./
# The lock has everything except torch and what only torch needs, which the base has.
RUN pip install --no-cache-dir --no-deps --require-hashes -r requirements.txt
# /outputs belongs to the user of the container. Only a slim container, which runs as root, writes to /opt.
RUN useradd --create-home --uid 1000 multitalk \
    && mkdir -p /outputs /opt/multitalk \
    && chown -R multitalk:multitalk /outputs
ENV MODE=ui \
    GRADIO_SERVER_NAME=0.0.0.0 \
    GRADIO_SERVER_PORT=7860 \
    OUTPUT_DIR=/outputs \
    C2PA_FOLDER=/outputs/.credentials \
    TRITON_CACHE_DIR=/opt/triton \
    PYTHONUNBUFFERED=1
LABEL org.opencontainers.image.title="MultiTalk" \
    org.opencontainers.image.description="A picture and a voice in, a talking video out: a page, or a RunPod worker" \
    org.opencontainers.image.licenses="Apache-2.0"
EXPOSE 7860
# the start period covers reading the weights from a slow disk
HEALTHCHECK --interval=30s --timeout=10s --start-period=180s CMD ["python", "-m", "multitalk.start.health"]
ENTRYPOINT ["/app/entrypoint.sh"]

# ---- environment that downloads the published weights --------------------------------------------------------------
FROM runtime AS fetch-environment
COPY requirements-fetch.txt ./
RUN python -m venv /opt/fetch \
    && /opt/fetch/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements-fetch.txt

# ---- download the published files, bake them, and cut the baked folder into layers ----------------------------------
FROM fetch-environment AS fetch
# only what the bake imports (a test checks the list), so that no other change bakes the weights again
COPY multitalk/__init__.py multitalk/errors.py multitalk/
COPY multitalk/bake/ multitalk/bake/
COPY multitalk/models/ multitalk/models/
COPY multitalk/patches/__init__.py multitalk/patches/diffusers.py multitalk/patches/huggingface_hub.py \
    multitalk/patches/torch.py multitalk/patches/
COPY multitalk/weights/ multitalk/weights/
COPY download_models.sh ./
ARG PRECISION=int8
# models whose audio layers are included, separated by a space
ARG MODELS="multitalk infinitetalk"
# more options of download_models.sh, such as "--preset lightx2v --merge lightx2v"
ARG DOWNLOAD_OPTIONS=""
ARG HF_ENDPOINT=""
ARG SPACY_MODEL_URL=""
# The cache keeps downloaded files when a build is interrupted; the script empties it at the end.
# MODELS and DOWNLOAD_OPTIONS are split into words.
# hadolint ignore=SC2046,SC2086
RUN --mount=type=secret,id=HF_TOKEN \
    --mount=type=cache,id=multitalk-published,target=/var/cache/multitalk,sharing=locked \
    FLAG_CONTENT=/opt/multitalk/weights PYTHON=python ./download_models.sh --precision "${PRECISION}" \
    --raw "/var/cache/multitalk/${PRECISION}" --to /baked --layers /layers --flag /opt/all_installed.flag \
    $(printf -- '--model %s ' ${MODELS}) ${DOWNLOAD_OPTIONS} \
    && touch -d 2024-01-01 /opt/all_installed.flag

# ---- the GPU kernels, compiled for every GPU; without Triton the folder is empty -----------------------------------
FROM runtime AS kernels
COPY multitalk/__init__.py multitalk/errors.py multitalk/
COPY multitalk/models/ multitalk/models/
COPY multitalk/patches/ multitalk/patches/
RUN mkdir -p "${TRITON_CACHE_DIR}" \
    && python -m multitalk.models.kernels.build --cache "${TRITON_CACHE_DIR}"

# ---- weights: layers of at most 5 GB; unused ones are empty ---------------------------------------------------------
# --link: each layer is independent of those below it, here and where the code is added.
FROM runtime AS baked-weights
COPY --link --from=fetch /layers/00/ /opt/multitalk/weights/
COPY --link --from=fetch /layers/01/ /opt/multitalk/weights/
COPY --link --from=fetch /layers/02/ /opt/multitalk/weights/
COPY --link --from=fetch /layers/03/ /opt/multitalk/weights/
COPY --link --from=fetch /layers/04/ /opt/multitalk/weights/
COPY --link --from=fetch /layers/05/ /opt/multitalk/weights/
COPY --link --from=fetch /layers/06/ /opt/multitalk/weights/
COPY --link --from=fetch /layers/07/ /opt/multitalk/weights/
COPY --link --from=fetch /layers/08/ /opt/multitalk/weights/
COPY --link --from=fetch /layers/09/ /opt/multitalk/weights/
COPY --link --from=fetch /layers/10/ /opt/multitalk/weights/
COPY --link --from=fetch /layers/11/ /opt/multitalk/weights/
COPY --link --from=fetch /layers/12/ /opt/multitalk/weights/
COPY --link --from=fetch /layers/13/ /opt/multitalk/weights/
COPY --link --from=fetch /layers/14/ /opt/multitalk/weights/
COPY --link --from=fetch /layers/15/ /opt/multitalk/weights/
COPY --link --from=fetch /layers/16/ /opt/multitalk/weights/
COPY --link --from=fetch /layers/17/ /opt/multitalk/weights/
COPY --link --from=fetch /opt/all_installed.flag /opt/all_installed.flag
# its files contain their own paths, so the folder is the same as in the stage that created them
COPY --link --chown=1000:1000 --from=kernels /opt/triton /opt/triton

# ---- the requirements that the weights image contains: a small image, so that comparing them downloads no weights ----
FROM scratch AS baked-requirements
COPY --from=baked-weights /app/requirements.txt /

# ---- code and its bytecode, which the user of the container cannot write --------------------------------------------
# (bytecode needs only Python, so new code is built without installing anything)
FROM ${CODE_IMAGE} AS code
WORKDIR /app
COPY LICENSE NOTICE README.md app.py requirements-fetch.txt ./
COPY --chmod=755 entrypoint.sh download_models.sh ./
COPY examples/ examples/
COPY multitalk/ multitalk/
RUN python -m compileall -q --invalidation-mode unchecked-hash app.py multitalk

# ---- slim: no weights; the container searches a network volume and the model cache at startup, or downloads them -----
FROM runtime AS slim
COPY --from=fetch-environment /opt/fetch /opt/fetch
COPY --from=kernels /opt/triton /opt/triton
COPY --from=code /app /app
# the weights are written to a network volume, which belongs to root
# hadolint ignore=DL3002
USER 0
ARG VERSION=0.1.0
ARG REVISION=""
LABEL org.opencontainers.image.version="${VERSION}" org.opencontainers.image.revision="${REVISION}"

# ---- code for the weights image, which must contain the requirements that the code needs ----------------------------
FROM code AS checked-code
COPY requirements.txt /requirements.txt
RUN --mount=type=bind,from=baked-requirements,target=/mnt \
    cmp /mnt/requirements.txt /requirements.txt \
    || { echo "error: requirements.txt has changed since the weights image was baked: bake weights-PRECISION-STACK first." >&2; exit 1; }

# ---- the image ------------------------------------------------------------------------------------------------------
# Only links and settings: a RUN or a COPY without --link would download the weights to a builder that lacks them.
FROM baked-weights AS app
COPY --link --from=checked-code /app /app
# 1000: multitalk; 0: root, to save results on a network volume that only root can write to
ARG RUN_AS=1000
USER ${RUN_AS}
ARG VERSION=0.1.0
ARG REVISION=""
LABEL org.opencontainers.image.version="${VERSION}" org.opencontainers.image.revision="${REVISION}"
