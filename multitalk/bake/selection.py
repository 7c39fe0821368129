"""Which of the published files to fetch and to bake, and the command-line options that choose them."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..errors import InvalidInput
from . import catalogue
from .catalogue import FileSet
from .precision import PRECISIONS

TRANSFORMER_SOURCES = tuple(catalogue.TRANSFORMER_FILES)
TEXT_ENCODER_SOURCES = tuple(catalogue.TEXT_ENCODER_FILES)
LORA_PRESETS = tuple(catalogue.LORA_FILES)
MODELS = tuple(catalogue.MODELS)

# Bytes that a bake writes for each byte it reads, rounded up: the transformer's values take 4 bytes in the
# published form and 1 byte in the quantized forms (docs/IMAGE.md has the sizes).
_WRITTEN = {
    "published": {"float32": 1.15, "bf16": 0.6, "fp8": 0.35, "int8": 0.35},
    "int8": {"float32": 2.9, "bf16": 1.5, "fp8": 0.8, "int8": 0.9},
}


@dataclass(frozen=True)
class Selection:
    """Which of the published files are used.

    Attributes:
        precision: Of the bake.
        transformer: Published form of the transformer to read.
        text_encoder: Published form of the text encoder to read.
        loras: Presets whose LoRA files are included.
        speech: Whether Kokoro, spaCy's model and the voice separator are included.
        models: Models whose audio layers are included.
        only_speech: Whether nothing but speech is included.
    """

    precision: str = "bf16"
    transformer: str = "published"
    text_encoder: str = "published"
    loras: tuple[str, ...] = LORA_PRESETS
    speech: bool = True
    models: tuple[str, ...] = MODELS
    only_speech: bool = False

    @property
    def file_sets(self) -> tuple[FileSet, ...]:
        """The files to fetch from repositories."""
        if self.only_speech:
            return (catalogue.SPEECH,)
        by_model = catalogue.TRANSFORMER_FILES[self.transformer]
        sets = [*catalogue.COMMON, *dict.fromkeys(each for model in self.models for each in by_model[model])]
        sets.append(catalogue.TEXT_ENCODER_FILES[self.text_encoder])
        sets += [catalogue.LORAS[name] for name in self.loras]
        return (*sets, catalogue.SPEECH, catalogue.SEPARATOR) if self.speech else tuple(sets)

    @property
    def lora_files(self) -> tuple[str, ...]:
        """Names of the LoRA files."""
        return tuple(catalogue.LORA_FILES[name] for name in self.loras)

    def baked_bytes(self, fetched: Mapping[str, int]) -> int:
        """Estimate the size of the baked folder, rounded up, from the sizes of the fetched files by path."""
        form = "published" if self.transformer == "published" else "int8"
        layers = catalogue.INFINITETALK_LAYERS.values()  # float32 in every form
        return sum(
            int(size * _WRITTEN["published" if path in layers else form][self.precision])
            for path, size in fetched.items()
        )


def select(
    precision: str,
    transformer: str | None = None,
    loras: Sequence[str] = LORA_PRESETS,
    speech: bool = True,
    models: Sequence[str] | None = None,
) -> Selection:
    """Select the files that a bake needs.

    Args:
        precision: Of the bake; "int8" reads the published int8 files, a third of the size of the others.
        transformer: Published form of the transformer; None chooses by precision.
        loras: Presets whose LoRA files to include.
        speech: Whether to include Kokoro, spaCy's model and the voice separator.
        models: Models whose audio layers to include; None includes all that are published in the form.

    Raises:
        InvalidInput: A name is unknown, or the transformer's form does not exist for a model.
    """
    check_choice(precision, "precision", PRECISIONS)
    form = check_choice(
        transformer or ("int8" if precision == "int8" else "published"),
        "transformer-source",
        TRANSFORMER_SOURCES,
    )
    for lora in loras:
        check_choice(lora, "preset", LORA_PRESETS)
    chosen = check_models(form, models or tuple(catalogue.TRANSFORMER_FILES[form]))
    text_encoder = "int8" if precision == "int8" and form != "published" else "published"
    if form == "fp8":
        text_encoder = "fp8"
    return Selection(precision, form, text_encoder, tuple(dict.fromkeys(loras)), speech, chosen)


def check_models(form: str, models: Sequence[str]) -> tuple[str, ...]:
    """Return models in the order of the catalogue.

    Raises:
        InvalidInput: A name is unknown, or a model is not published in this form of the transformer.
    """
    available = catalogue.TRANSFORMER_FILES[form]
    for model in models:
        check_choice(model, "model", MODELS)
        if model not in available:
            raise InvalidInput(
                f"transformer-source {form} is not published for {model}. "
                f"Use another one, or --model {' or '.join(available)}.",
                "transformer-source",
            )
    return tuple(model for model in available if model in models)


def check_choice(value: str, field: str, allowed: Iterable[str]) -> str:
    """Return a value that is one of the allowed names.

    Raises:
        InvalidInput: It is not.
    """
    if value not in allowed:
        *others, last = allowed
        raise InvalidInput(f"{field} must be {', '.join(others)} or {last}, not {value[:80]!r}.", field)
    return value


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add the options that select published files, the same for fetching and baking."""
    parser.add_argument(
        "--precision", choices=tuple(PRECISIONS), default="bf16", help="precision of the baked weights (bf16)"
    )
    parser.add_argument(
        "--transformer-source", choices=TRANSFORMER_SOURCES, help="published form of the transformer to read"
    )
    parser.add_argument(
        "--preset",
        action="append",
        choices=(*LORA_PRESETS, "none"),
        help="include the LoRA of this preset (repeatable; default: all)",
    )
    parser.add_argument(
        "--model",
        action="append",
        choices=MODELS,
        help="include the audio layers of this model (repeatable; default: all)",
    )
    parser.add_argument("--no-speech", action="store_true", help="exclude Kokoro, spaCy's model and Demucs")


def selection_of(args: argparse.Namespace) -> Selection:
    """Return the selection that parsed options describe."""
    loras = LORA_PRESETS if args.preset is None else [name for name in args.preset if name != "none"]
    return select(args.precision, args.transformer_source, loras, not args.no_speech, args.model)
