"""The published files: their repositories, their layout in a folder, and which of them belong together.

With MultiTalk and InfiniteTalk, a bake reads about 116 GB in full precision and 55 GB in int8.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..weights import folders


@dataclass(frozen=True)
class Repository:
    """A model repository on the hub.

    Attributes:
        name: ``owner/name``.
        folder: Where its files are stored in the folder of published weights; empty for that folder itself.
        revision: Branch or reference to follow until the lock pins a commit.
        subfolder: Part of its paths to drop locally, with a trailing slash.
    """

    name: str
    folder: str
    revision: str = "main"
    subfolder: str = ""

    def local_path(self, name: str) -> str:
        """Path in the folder of published weights of a file in the repository."""
        local = name.removeprefix(self.subfolder)
        return f"{self.folder}/{local}" if self.folder else local

    def remote_path(self, path: str) -> str:
        """Path in the repository of a file in the folder of published weights."""
        return self.subfolder + (path.removeprefix(f"{self.folder}/") if self.folder else path)


@dataclass(frozen=True)
class FileSet:
    """Files of a repository that are used together.

    Attributes:
        repository: Where they are published.
        paths: Their paths in the folder of published weights; ``*`` is a wildcard. Each must match a file.
        optional: Paths that may be missing.
    """

    repository: Repository
    paths: tuple[str, ...]
    optional: tuple[str, ...] = ()


WAN = Repository("Wan-AI/Wan2.1-I2V-14B-480P", folders.PUBLISHED_WAN)
MULTITALK = Repository("MeiGen-AI/MeiGen-MultiTalk", folders.PUBLISHED_MULTITALK)
INFINITETALK = Repository("MeiGen-AI/InfiniteTalk", folders.PUBLISHED_INFINITETALK)
# the main branch has only pickled weights, which torch 2.5 cannot open safely
WAV2VEC2 = Repository("TencentGameMate/chinese-wav2vec2-base", "chinese-wav2vec2-base", "refs/pr/1")
KOKORO = Repository("hexgrad/Kokoro-82M", "Kokoro-82M")
AUTOENCODERS = Repository("lightx2v/Autoencoders", "Autoencoders")
DEMUCS = Repository("adefossez/HTDemucs", "HTDemucs")
FUSIONX = Repository("vrgamedevgirl84/Wan14BT2VFusioniX", "", subfolder="FusionX_LoRa/")
LIGHTX2V = Repository("Kijai/WanVideo_comfy", "")
DISTILLATION = Repository(
    "lightx2v/Wan2.1-I2V-14B-480P-StepDistill-CfgDistill-Lightx2v", "", subfolder="loras/"
)

# Paths in the folder of published weights (docs/MODEL.md, section 2).
QUANTIZED = f"{MULTITALK.folder}/quant_models"
TRANSFORMER_CONFIG = f"{WAN.folder}/config.json"
TRANSFORMER_SHARDS = f"{WAN.folder}/diffusion_pytorch_model-*.safetensors"
TRANSFORMER_INDEX = f"{MULTITALK.folder}/diffusion_pytorch_model.safetensors.index.json"
AUDIO_LAYERS = f"{MULTITALK.folder}/multitalk.safetensors"
INFINITETALK_LAYERS = {
    "infinitetalk-single": f"{INFINITETALK.folder}/single/infinitetalk.safetensors",
    "infinitetalk-multi": f"{INFINITETALK.folder}/multi/infinitetalk.safetensors",
}
TRANSFORMER_INT8 = f"{QUANTIZED}/dit_model_int8.safetensors"
TRANSFORMER_INT8_FUSIONX = f"{QUANTIZED}/quant_model_int8_FusionX.safetensors"
INFINITETALK_QUANTIZED = f"{INFINITETALK.folder}/quant_models"
# Whole transformers, by published form and by the set of audio layers in them. InfiniteTalk's with a merged
# LoRA (NAME_lora.safetensors) are not used: they do not say which LoRA it is, and LoRAs are switched.
WHOLE_TRANSFORMERS: dict[str, dict[str, str]] = {
    "int8": {
        "multitalk": TRANSFORMER_INT8,
        "infinitetalk-single": f"{INFINITETALK_QUANTIZED}/infinitetalk_single_int8.safetensors",
        "infinitetalk-multi": f"{INFINITETALK_QUANTIZED}/infinitetalk_multi_int8.safetensors",
    },
    "int8-fusionx": {"multitalk": TRANSFORMER_INT8_FUSIONX},
    "fp8": {
        "infinitetalk-single": f"{INFINITETALK_QUANTIZED}/infinitetalk_single_fp8.safetensors",
        "infinitetalk-multi": f"{INFINITETALK_QUANTIZED}/infinitetalk_multi_fp8.safetensors",
    },
}
TEXT_ENCODER = f"{WAN.folder}/models_t5_umt5-xxl-enc-bf16.pth"
TEXT_ENCODER_INT8 = f"{QUANTIZED}/t5_int8.safetensors"
QUANTIZED_TEXT_ENCODERS = {"int8": TEXT_ENCODER_INT8, "fp8": f"{INFINITETALK_QUANTIZED}/t5_fp8.safetensors"}
TOKENIZER = f"{WAN.folder}/google/umt5-xxl"
IMAGE_ENCODER = f"{WAN.folder}/models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth"
VAE = f"{WAN.folder}/Wan2.1_VAE.pth"
FAST_DECODER = f"{AUTOENCODERS.folder}/taew2_1.safetensors"
AUDIO_ENCODER = f"{WAV2VEC2.folder}/model.safetensors"
AUDIO_ENCODER_CONFIG = f"{WAV2VEC2.folder}/config.json"
FEATURE_EXTRACTOR_CONFIG = f"{WAV2VEC2.folder}/preprocessor_config.json"
KOKORO_CONFIG = f"{KOKORO.folder}/{folders.KOKORO_CONFIG}"
KOKORO_WEIGHTS = f"{KOKORO.folder}/{folders.KOKORO_WEIGHTS}"
KOKORO_VOICES = f"{KOKORO.folder}/{folders.KOKORO_VOICES}/*.pt"
SEPARATOR_WEIGHTS = f"{DEMUCS.folder}/955717e8.safetensors"
# spaCy's small English model, which Kokoro needs; the version fits the spaCy of requirements.txt
SPACY_MODEL = f"{folders.SPACY_MODEL}-3.8.0-py3-none-any.whl"
SPACY_MODEL_URL = (
    f"https://github.com/explosion/spacy-models/releases/download/en_core_web_sm-3.8.0/{SPACY_MODEL}"
)

# By preset: its LoRA file, which "balanced" shares with "fast". A test compares presets and files with
# multitalk/request/presets.py.
LORA_FILES = {
    "fast": "Wan21_I2V_14B_lightx2v_cfg_step_distill_lora_rank64.safetensors",
    "fusionx": "Wan2.1_I2V_14B_FusionX_LoRA.safetensors",
    "lightx2v": "Wan21_T2V_14B_lightx2v_cfg_step_distill_lora_rank32.safetensors",
}
PRESETS = ("quality", "balanced", *LORA_FILES, "demo")

# By model: its sets of audio layers.
MODELS = {"multitalk": ("multitalk",), "infinitetalk": tuple(INFINITETALK_LAYERS)}

COMMON = (
    FileSet(
        WAN,
        (
            TRANSFORMER_CONFIG,
            VAE,
            IMAGE_ENCODER,
            f"{TOKENIZER}/tokenizer.json",
            f"{TOKENIZER}/tokenizer_config.json",
        ),
        optional=(f"{TOKENIZER}/special_tokens_map.json", f"{TOKENIZER}/spiece.model"),
    ),
    FileSet(WAV2VEC2, (AUDIO_ENCODER_CONFIG, FEATURE_EXTRACTOR_CONFIG, AUDIO_ENCODER)),
    FileSet(AUTOENCODERS, (FAST_DECODER,)),
)
_INFINITETALK = FileSet(INFINITETALK, tuple(INFINITETALK_LAYERS.values()))
# By published form of the base model, and by model. In the int8 forms, InfiniteTalk's audio layers are added
# to MultiTalk's int8 file: 21 GB, instead of 39 GB for InfiniteTalk's own int8 files.
TRANSFORMER_FILES: dict[str, dict[str, tuple[FileSet, ...]]] = {
    "published": {
        "multitalk": (
            FileSet(WAN, (TRANSFORMER_SHARDS,)),
            FileSet(MULTITALK, (TRANSFORMER_INDEX, AUDIO_LAYERS)),
        ),
        "infinitetalk": (FileSet(WAN, (TRANSFORMER_SHARDS,)), _INFINITETALK),
    },
    "int8": {
        "multitalk": (FileSet(MULTITALK, (TRANSFORMER_INT8,)),),
        "infinitetalk": (FileSet(MULTITALK, (TRANSFORMER_INT8,)), _INFINITETALK),
    },
    "int8-fusionx": {
        "multitalk": (FileSet(MULTITALK, (TRANSFORMER_INT8_FUSIONX,)),),
        "infinitetalk": (FileSet(MULTITALK, (TRANSFORMER_INT8_FUSIONX,)), _INFINITETALK),
    },
    "fp8": {"infinitetalk": (FileSet(INFINITETALK, tuple(WHOLE_TRANSFORMERS["fp8"].values())),)},
}
TEXT_ENCODER_FILES = {
    "published": FileSet(WAN, (TEXT_ENCODER,)),
    "int8": FileSet(MULTITALK, (TEXT_ENCODER_INT8,)),
    "fp8": FileSet(INFINITETALK, (QUANTIZED_TEXT_ENCODERS["fp8"],)),
}
LORAS = {
    "fast": FileSet(DISTILLATION, (LORA_FILES["fast"],)),
    "fusionx": FileSet(FUSIONX, (LORA_FILES["fusionx"],)),
    "lightx2v": FileSet(LIGHTX2V, (LORA_FILES["lightx2v"],)),
}
SPEECH = FileSet(KOKORO, (KOKORO_CONFIG, KOKORO_WEIGHTS, KOKORO_VOICES))
SEPARATOR = FileSet(DEMUCS, (SEPARATOR_WEIGHTS,))


def all_file_sets() -> tuple[FileSet, ...]:
    """The files that any fetch downloads."""
    by_model = (file_sets for form in TRANSFORMER_FILES.values() for file_sets in form.values())
    transformer = dict.fromkeys(file_set for file_sets in by_model for file_set in file_sets)
    return (*COMMON, *transformer, *TEXT_ENCODER_FILES.values(), *LORAS.values(), SPEECH, SEPARATOR)
