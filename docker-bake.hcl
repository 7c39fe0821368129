# The images: stack (cu124, cu128) x precision (int8, bf16, fp8, slim). See docs/IMAGE.md.
#   REGISTRY=ghcr.io/you PUSH=true docker buildx bake base-cu124        once per stack
#   REGISTRY=ghcr.io/you PUSH=true docker buildx bake weights-int8      once per precision; after a change of requirements
#   REGISTRY=ghcr.io/you PUSH=true docker buildx bake int8              after every change of the code

# empty: names without a registry, for one machine
variable "REGISTRY" {
  default = "localhost:5000"
}
variable "PUSH" {
  default = "false"
}
variable "VERSION" {
  default = "0.1.0"
}
variable "REVISION" {
  default = ""
}
# models whose audio layers the weights contain; "multitalk" or "infinitetalk" leaves the other out
variable "MODELS" {
  default = "multitalk infinitetalk"
}
# more options of download_models.sh, such as "--preset lightx2v --merge lightx2v"
variable "DOWNLOAD_OPTIONS" {
  default = ""
}
# user of the container; 0: root, to save results on a RunPod network volume
variable "RUN_AS" {
  default = "1000"
}
# another hub, and another URL of spaCy's small model
variable "HF_ENDPOINT" {
  default = ""
}
variable "SPACY_MODEL_URL" {
  default = ""
}
# SageAttention's build: files compiled in parallel, and extensions compiled in parallel
variable "MAX_JOBS" {
  default = "2"
}
variable "EXT_PARALLEL" {
  default = "1"
}
# passed as a build secret if it is set; it is in no layer
variable "HF_TOKEN" {
  default = ""
}

# an image with Python 3.11 that compiles the code's bytecode; empty: the base
variable "CODE_IMAGE" {
  default = ""
}
# scanner for a list of the packages (SBOM), attached to what is pushed; it reads all layers, weights included
variable "SBOM_SCANNER" {
  default = ""
}

function "image" {
  params = [name]
  result = REGISTRY == "" ? name : "${REGISTRY}/${name}"
}
# how the image was built, and of what
function "attestations" {
  params = []
  result = PUSH != "true" ? [] : concat(
    ["type=provenance,mode=max"],
    SBOM_SCANNER == "" ? [] : ["type=sbom,generator=${SBOM_SCANNER}"]
  )
}

group "default" {
  targets = ["int8-cu124"]
}
group "int8" {
  targets = ["int8-cu124"]
}
group "bf16" {
  targets = ["bf16-cu124"]
}
group "fp8" {
  targets = ["fp8-cu124"]
}
group "slim" {
  targets = ["slim-cu124"]
}
group "weights-int8" {
  targets = ["weights-int8-cu124"]
}
group "weights-bf16" {
  targets = ["weights-bf16-cu124"]
}
group "weights-fp8" {
  targets = ["weights-fp8-cu124"]
}
group "weights-int8-cu124" {
  targets = ["baked-weights-int8-cu124", "baked-requirements-int8-cu124"]
}
group "weights-bf16-cu124" {
  targets = ["baked-weights-bf16-cu124", "baked-requirements-bf16-cu124"]
}
group "weights-fp8-cu124" {
  targets = ["baked-weights-fp8-cu124", "baked-requirements-fp8-cu124"]
}
group "weights-int8-cu128" {
  targets = ["baked-weights-int8-cu128", "baked-requirements-int8-cu128"]
}
group "weights-bf16-cu128" {
  targets = ["baked-weights-bf16-cu128", "baked-requirements-bf16-cu128"]
}
group "weights-fp8-cu128" {
  targets = ["baked-weights-fp8-cu128", "baked-requirements-fp8-cu128"]
}

# CUDA, torch and kernels. `make lock` writes the digests of NVIDIA's images and of flash-attn's wheel (empty: not
# pinned). To accept another image: --set base-cu124.args.CUDA_DEVEL_DIGEST=
target "base" {
  name = "base-${stack.name}"
  matrix = {
    stack = [
      {
        name          = "cu124"
        cuda          = "12.4.1"
        base_digest   = ""
        devel_digest  = "@sha256:622e78a1d02c0f90ed900e3985d6c975d8e2dc9ee5e61643aed587dcf9129f42"
        torch         = "2.5.1"
        flash         = "2.7.4.post1"
        flash_build   = "cu12torch2.5cxx11abiFALSE"
        flash_sha256  = ""
        architectures = "7.0;7.5;8.0;8.6;8.9;9.0"
      },
      {
        name          = "cu128"
        cuda          = "12.8.1"
        base_digest   = ""
        devel_digest  = ""
        torch         = "2.8.0"
        flash         = "2.8.3"
        flash_build   = "cu12torch2.8cxx11abiTRUE"
        flash_sha256  = ""
        architectures = "7.0;7.5;8.0;8.6;8.9;9.0;12.0"
      },
    ]
  }
  platforms = ["linux/amd64"]
  dockerfile = "base.Dockerfile"
  args = {
    CUDA               = stack.cuda
    CUDA_BASE_DIGEST   = stack.base_digest
    CUDA_DEVEL_DIGEST  = stack.devel_digest
    TORCH              = stack.torch
    FLASH_ATTN         = stack.flash
    FLASH_ATTN_BUILD   = stack.flash_build
    FLASH_ATTN_SHA256  = stack.flash_sha256
    CUDA_ARCHITECTURES = stack.architectures
    MAX_JOBS           = MAX_JOBS
    EXT_PARALLEL       = EXT_PARALLEL
  }
  tags   = [image("multitalk-base:${stack.name}")]
  attest = attestations()
  output = ["type=image,push=${PUSH},compression=zstd,compression-level=9,oci-mediatypes=true"]
}

# Baked weights, the base of the app image, and their requirements, with which the code's are compared.
# Level 3 makes the requirements smaller and leaves weights as large as they are: level 9 saves a tenth of them, and takes
# eight times as long.
target "weights" {
  name = "baked-${content}-${precision}-${stack}"
  matrix = {
    content   = ["weights", "requirements"]
    stack     = ["cu124", "cu128"]
    precision = ["int8", "bf16", "fp8"]
  }
  platforms = ["linux/amd64"]
  target    = "baked-${content}"
  args = {
    BASE_IMAGE       = image("multitalk-base:${stack}")
    PRECISION        = precision
    MODELS           = MODELS
    DOWNLOAD_OPTIONS = DOWNLOAD_OPTIONS
    HF_ENDPOINT      = HF_ENDPOINT
    SPACY_MODEL_URL  = SPACY_MODEL_URL
  }
  secret = HF_TOKEN == "" ? [] : ["id=HF_TOKEN,env=HF_TOKEN"]
  tags   = [image("multitalk:${content}-${precision}-${stack}")]
  attest = attestations()
  output = ["type=image,push=${PUSH},compression=zstd,compression-level=3,oci-mediatypes=true"]
}

# The image that runs: code on the weights image, whose layers do not change
target "app" {
  name = "${precision}-${stack}"
  matrix = {
    stack     = ["cu124", "cu128"]
    precision = ["int8", "bf16", "fp8"]
  }
  platforms = ["linux/amd64"]
  contexts = {
    baked-weights      = "docker-image://${image("multitalk:weights-${precision}-${stack}")}"
    baked-requirements = "docker-image://${image("multitalk:requirements-${precision}-${stack}")}"
  }
  args = {
    BASE_IMAGE = image("multitalk-base:${stack}")
    CODE_IMAGE = CODE_IMAGE == "" ? image("multitalk-base:${stack}") : CODE_IMAGE
    RUN_AS     = RUN_AS
    VERSION    = VERSION
    REVISION   = REVISION
  }
  tags   = [image("multitalk:${precision}-${stack}"), image("multitalk:${VERSION}-${precision}-${stack}")]
  attest = attestations()
  output = ["type=image,push=${PUSH},compression=zstd,compression-level=9,oci-mediatypes=true"]
}

# Without weights: they are on a network volume or in RunPod's model cache
target "slim" {
  name = "slim-${stack}"
  matrix = {
    stack = ["cu124", "cu128"]
  }
  platforms = ["linux/amd64"]
  target    = "slim"
  args = {
    BASE_IMAGE = image("multitalk-base:${stack}")
    VERSION    = VERSION
    REVISION   = REVISION
  }
  tags   = [image("multitalk:slim-${stack}"), image("multitalk:${VERSION}-slim-${stack}")]
  attest = attestations()
  output = ["type=image,push=${PUSH},compression=zstd,compression-level=9,oci-mediatypes=true"]
}
