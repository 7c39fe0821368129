"""The sets of audio layers in published files: transformers that share the tensors of the base model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from ..errors import WeightsError
from ..weights.tensor_files import SafetensorsSource, TensorInfo, TensorSource
from . import catalogue
from .published import PublishedWeights, QuantizedSource
from .selection import check_models

_AUDIO = ("audio_proj.", ".audio_cross_attn.", ".norm_x.")


def is_audio(key: str) -> bool:
    """Whether a published name is that of an audio layer, which Wan's transformer does not have."""
    return key.startswith(_AUDIO[0]) or any(name in key for name in _AUDIO[1:])


class LayeredSource:
    """A base model with the tensors of a file: audio layers, and tensors that replace those of the base.

    Args:
        base: The base model. Audio layers in it are not used.
        added: The file.

    Attributes:
        replaced: Names of the base model's tensors that the file replaces.
    """

    def __init__(self, base: TensorSource, added: SafetensorsSource) -> None:
        self._base, self._added = base, added
        own = dict.fromkeys(added.keys())
        kept = [key for key in base.keys() if not is_audio(key)]  # noqa: SIM118
        self.replaced = sorted(key for key in kept if key in own)
        self._layers: dict[str, TensorSource] = dict.fromkeys((key for key in kept if key not in own), base)
        self._layers |= dict.fromkeys(own, added)

    def keys(self) -> list[str]:
        """List the names: the base's, then the file's."""
        return list(self._layers)

    def info(self, key: str) -> TensorInfo:
        """Return dtype and shape of a tensor."""
        return self._layers[key].info(key)

    def get(self, key: str) -> torch.Tensor:
        """Read a tensor."""
        return self._layers[key].get(key)

    def get_quantized(self, key: str) -> tuple[torch.Tensor, torch.Tensor] | None:
        """See :meth:`multitalk.bake.published.QuantizedSource.get_quantized`."""
        return get_quantized(self._layers[key], key)

    def file_of(self, key: str) -> Path:
        """Return the file that contains a tensor."""
        return self._layers[key].file_of(key)

    def files(self) -> list[Path]:
        """List the files: the added one, then those of the base."""
        return list(dict.fromkeys(self.file_of(key) for key in reversed(self._layers)))

    def report(self) -> str | None:
        """Describe in one sentence what the file replaces; None if it replaces nothing."""
        if not self.replaced:
            return None
        file = self._added.files()[0]
        size = sum(self._added.info(key).nbytes for key in self.replaced)
        more = f" and {len(self.replaced) - 2} more" if len(self.replaced) > 2 else ""
        return (
            f"{file.parent.name}/{file.name} replaces {len(self.replaced)} tensors of the base model "
            f"({size / 1e6:,.1f} MB): {', '.join(self.replaced[:2])}{more}."
        )


def get_quantized(source: TensorSource, key: str) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Read the 8-bit values and scales of a tensor; None if it is not stored this way."""
    if isinstance(source, (QuantizedSource, LayeredSource)):
        return source.get_quantized(key)
    return None


def find_models(weights: PublishedWeights, form: str, models: Sequence[str] | None = None) -> Sequence[str]:
    """Choose the models whose audio layers to bake.

    Args:
        weights: The published files.
        form: Published form of the transformer.
        models: The models; None takes the selected ones or, without a selection, those that exist.

    Raises:
        InvalidInput: A model is unknown, or is not published in this form.
    """
    if models is None and weights.selection is not None:
        models = weights.selection.models
    if models is not None:
        return check_models(form, models)
    found = [model for model, names in catalogue.MODELS.items() if weights.has_any(_files(form, names))]
    return found or list(catalogue.TRANSFORMER_FILES[form])[:1]


def _files(form: str, names: Sequence[str]) -> list[str]:
    """List the files that tell that a model exists: with one of them, the others are required."""
    files: dict[str, list[str]] = {}
    if form == "published":
        files["multitalk"] = [catalogue.AUDIO_LAYERS, catalogue.TRANSFORMER_INDEX]
    if form != "fp8":  # that form has no base model without InfiniteTalk's changes
        files |= {name: [layers] for name, layers in catalogue.INFINITETALK_LAYERS.items()}
    for name, whole in catalogue.WHOLE_TRANSFORMERS.get(form, {}).items():
        files.setdefault(name, []).append(whole)
    return [file for name in names for file in files.get(name, ())]


def audio_layer_sets(
    weights: PublishedWeights, form: str, models: Sequence[str]
) -> Mapping[str, TensorSource]:
    """Open the transformers with the audio layers of models, by the name of the set.

    Args:
        weights: The published files.
        form: Published form of the transformer.
        models: The models.

    Raises:
        WeightsError: A file is missing or damaged.
    """
    whole = catalogue.WHOLE_TRANSFORMERS.get(form, {})
    base = whole.get("multitalk")  # the base model of audio layers that are in a file of their own
    sets: dict[str, TensorSource] = {}
    if "multitalk" in models:
        sets["multitalk"] = weights.multitalk() if base is None else QuantizedSource(weights.path(base))
    if "infinitetalk" not in models:
        return sets
    for name, layers in catalogue.INFINITETALK_LAYERS.items():
        separate = form != "fp8" and weights.has_any([layers])
        has_base = form == "published" or (base is not None and weights.has_any([base]))
        if name in whole and weights.has_any([whole[name]]) and not (separate and has_base):
            sets[name] = QuantizedSource(weights.path(whole[name]))
        elif separate:
            model = weights.base_model() if base is None else QuantizedSource(weights.path(base))
            sets[name] = _layered(model, SafetensorsSource.of_file(weights.path(layers)), form)
    if not any(name in sets for name in catalogue.INFINITETALK_LAYERS):
        weights.path(_files(form, catalogue.MODELS["infinitetalk"])[0])  # missing
    return sets


def _layered(base: TensorSource, added: SafetensorsSource, form: str) -> LayeredSource:
    source = LayeredSource(base, added)
    if source.replaced and form == "int8-fusionx":
        raise WeightsError(
            f"Weights file {added.files()[0]} replaces a tensor that FusionX may have changed in the form "
            f"{form}: {source.replaced[0]}. "
            "Use --model multitalk, or --transformer-source int8 with --lora fusionx."
        )
    return source


def changed_tensors(first: TensorSource, other: TensorSource) -> list[str]:
    """List the tensors of a set of audio layers that are not those of the first set.

    Args:
        first: The transformer with the first set.
        other: The transformer with the other set.

    Returns:
        Published names. Tensors of the base model from different files are compared value by value.
    """
    names = set(first.keys())
    return [
        key
        for key in other.keys()  # noqa: SIM118
        if is_audio(key) or key not in names or not _same(first, other, key)
    ]


def _same(first: TensorSource, other: TensorSource, key: str) -> bool:
    if first.file_of(key) == other.file_of(key):
        return True
    if first.info(key).shape != other.info(key).shape:
        return False
    return torch.equal(first.get(key).float(), other.get(key).float())
