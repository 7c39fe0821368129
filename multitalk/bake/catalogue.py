"""What is published where: the repositories, and which of their files each way to bake reads.

The published repositories hold 166 GB; what is used of them is 93 GB in full precision and 32 GB in int8.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from ..errors import InvalidInput
from .choices import PRECISIONS, TRANSFORMER_SOURCES, TextEncoderSource, TransformerSource


@dataclass(frozen=True)
class Repository:
    """A model repository.

    Attributes:
        name: ``owner/name`` on the hub.
        folder: Where its files lie below the folder of published weights; empty: in that folder itself.
        revision: What is followed as long as the lock names no commit.
    """

    name: str
    folder: str
    revision: str = "main"


@dataclass(frozen=True)
class FileSet:
    """Files of a repository that are used together.

    Attributes:
        repository: Where they are published.
        patterns: Their paths in it; ``*`` matches within a name. Each has to match something.
        optional: Patterns that may match nothing.
        flat: Leave the repository's own folders out: a LoRA lies beside the other folders.
    """

    repository: Repository
    patterns: tuple[str, ...]
    optional: tuple[str, ...] = ()
    flat: bool = False


@dataclass(frozen=True)
class WebFile:
    """A file that lies on no hub.

    Attributes:
        name: Where it lies below the folder of published weights.
        url: Where it is published.
        variable: Environment variable that names another address.
    """

    name: str
    url: str
    variable: str

    def address(self) -> str:
        """The address to read it from."""
        return os.environ.get(self.variable) or self.url


WAN = Repository("Wan-AI/Wan2.1-I2V-14B-480P", "Wan2.1-I2V-14B-480P")
MULTITALK = Repository("MeiGen-AI/MeiGen-MultiTalk", "MeiGen-MultiTalk")
# the main branch has the pickled form alone, which torch 2.5 doesn't open safely
WAV2VEC2 = Repository("TencentGameMate/chinese-wav2vec2-base", "chinese-wav2vec2-base", "refs/pr/1")
KOKORO = Repository("hexgrad/Kokoro-82M", "Kokoro-82M")
FUSIONX = Repository("vrgamedevgirl84/Wan14BT2VFusioniX", "")
LIGHTX2V = Repository("Kijai/WanVideo_comfy", "")

_COMMON = (
    FileSet(
        WAN,
        (
            "config.json",
            "Wan2.1_VAE.pth",
            "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth",
            "google/umt5-xxl/tokenizer.json",
            "google/umt5-xxl/tokenizer_config.json",
        ),
        optional=("google/umt5-xxl/special_tokens_map.json", "google/umt5-xxl/spiece.model"),
    ),
    FileSet(WAV2VEC2, ("config.json", "preprocessor_config.json", "model.safetensors")),
)
_TRANSFORMER: dict[TransformerSource, tuple[FileSet, ...]] = {
    "published": (
        FileSet(WAN, ("diffusion_pytorch_model-*.safetensors",)),
        FileSet(MULTITALK, ("diffusion_pytorch_model.safetensors.index.json", "multitalk.safetensors")),
    ),
    "int8": (FileSet(MULTITALK, ("quant_models/dit_model_int8.safetensors",)),),
    "int8-fusionx": (FileSet(MULTITALK, ("quant_models/quant_model_int8_FusionX.safetensors",)),),
}
_TEXT_ENCODER: dict[TextEncoderSource, FileSet] = {
    "published": FileSet(WAN, ("models_t5_umt5-xxl-enc-bf16.pth",)),
    "int8": FileSet(MULTITALK, ("quant_models/t5_int8.safetensors",)),
}
_SPEECH = FileSet(KOKORO, ("config.json", "kokoro-v1_0.pth", "voices/*.pt"))
# By preset: the LoRA file it needs. multitalk/request/presets.py names the same files, which a test compares.
LORA_FILES = {
    "fusionx": "Wan2.1_I2V_14B_FusionX_LoRA.safetensors",
    "lightx2v": "Wan21_T2V_14B_lightx2v_cfg_step_distill_lora_rank32.safetensors",
}
LORA_PRESETS = tuple(LORA_FILES)
PRESETS = ("quality", *LORA_PRESETS, "demo")
_LORAS = {
    "fusionx": FileSet(FUSIONX, (f"FusionX_LoRa/{LORA_FILES['fusionx']}",), flat=True),
    "lightx2v": FileSet(LIGHTX2V, (LORA_FILES["lightx2v"],), flat=True),
}
# What a bake writes for each byte that it reads, rounded up: the transformer's values take 4 bytes in the
# published form and 1 in the int8 forms (docs/IMAGE.md has the sums).
_WRITTEN = {
    "published": {"float32": 1.15, "bf16": 0.6, "fp8": 0.35, "int8": 0.35},
    "int8": {"float32": 2.9, "bf16": 1.5, "fp8": 0.8, "int8": 0.9},
}
# spaCy's small English model, by which Kokoro reads English; its version fits requirements.txt's spaCy
SPACY_MODEL = WebFile(
    "en_core_web_sm-3.8.0-py3-none-any.whl",
    "https://github.com/explosion/spacy-models/releases/download/en_core_web_sm-3.8.0/"
    "en_core_web_sm-3.8.0-py3-none-any.whl",
    "SPACY_MODEL_URL",
)


@dataclass(frozen=True)
class Selection:
    """Which of the published files are used.

    Attributes:
        precision: Of the bake.
        transformer: The form the transformer is read from.
        text_encoder: The form the text encoder is read from.
        loras: Presets whose LoRA files are wanted.
        speech: Whether Kokoro and spaCy's model are.
    """

    precision: str = "bf16"
    transformer: TransformerSource = "published"
    text_encoder: TextEncoderSource = "published"
    loras: tuple[str, ...] = LORA_PRESETS
    speech: bool = True

    @property
    def file_sets(self) -> tuple[FileSet, ...]:
        """The repositories' files."""
        sets = [*_COMMON, *_TRANSFORMER[self.transformer], _TEXT_ENCODER[self.text_encoder]]
        sets += [_LORAS[name] for name in self.loras]
        return (*sets, _SPEECH) if self.speech else tuple(sets)

    @property
    def lora_names(self) -> tuple[str, ...]:
        """The LoRA files' names."""
        patterns = (pattern for name in self.loras for pattern in _LORAS[name].patterns)
        return tuple(PurePosixPath(pattern).name for pattern in patterns)

    def baked_bytes(self, fetched: int) -> int:
        """About how much a bake of so many bytes writes; rather too much than too little."""
        form = "published" if self.transformer == "published" else "int8"
        return int(fetched * _WRITTEN[form][self.precision])

    @property
    def web_files(self) -> tuple[WebFile, ...]:
        """Files that lie on no hub."""
        return (SPACY_MODEL,) if self.speech else ()


def select(
    precision: str,
    transformer: TransformerSource | None = None,
    loras: Sequence[str] = LORA_PRESETS,
    speech: bool = True,
) -> Selection:
    """What a bake of a precision needs.

    Args:
        precision: Of the bake; int8 reads the published int8 files, which are a third of the others.
        transformer: The form to read the transformer from, where another is wanted.
        loras: Presets whose LoRA files are wanted.
        speech: Whether to fetch Kokoro and spaCy's model.

    Raises:
        InvalidInput: A name is unknown.
    """
    for value, field, known in (
        (precision, "precision", PRECISIONS),
        (transformer or "published", "transformer-source", TRANSFORMER_SOURCES),
        *((lora, "preset", LORA_PRESETS) for lora in loras),
    ):
        if value not in known:
            raise InvalidInput(f"{field} '{value}' is unknown; use {', '.join(known)}.", field)
    default: TransformerSource = "int8" if precision == "int8" else "published"
    chosen = transformer or default
    text_encoder: TextEncoderSource = "int8" if precision == "int8" and chosen != "published" else "published"
    return Selection(precision, chosen, text_encoder, tuple(dict.fromkeys(loras)), speech)


def everything() -> tuple[tuple[FileSet, ...], tuple[WebFile, ...]]:
    """All files that any bake reads, each set once."""
    sets = [*_COMMON, *(each for form in _TRANSFORMER.values() for each in form)]
    sets += [*_TEXT_ENCODER.values(), *_LORAS.values(), _SPEECH]
    return tuple(sets), (SPACY_MODEL,)
