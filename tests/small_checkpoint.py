"""A small checkpoint with random weights in the published layout, so that tests need no other file.

Its sizes differ from the published ones, which detects sizes that code takes for granted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import Wav2Vec2Config, Wav2Vec2Model

from multitalk.bake import catalogue

Shapes = dict[str, tuple[int, ...]]
Tensors = dict[str, torch.Tensor]

FUSIONX, LIGHTX2V, FAST = (catalogue.LORA_FILES[name] for name in ("fusionx", "lightx2v", "fast"))

TEXT_LENGTH = 512
IMAGE_TOKENS = 257
PATCH = 14
AUDIO_WINDOW, LATER_AUDIO_WINDOW = 5, 8
# Tensors of the base model that InfiniteTalk's file for one person replaces: a matrix outside the blocks, a
# quantized matrix, and a bias that lightx2v changes.
REPLACED = ("img_emb.proj.1.weight", "blocks.0.cross_attn.k_img.weight", "blocks.1.self_attn.q.bias")
CHARACTERS = " abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,;:!?'-0123456789"


@dataclass(frozen=True)
class Sizes:
    """Widths and depths of the small checkpoint."""

    dim: int = 48
    heads: int = 2
    ffn_dim: int = 80
    layers: int = 2
    freq_dim: int = 16
    text_dim: int = 24
    text_heads: int = 3
    text_layers: int = 2
    image_dim: int = 32
    image_layers: int = 3
    audio_channels: int = 16
    audio_layers: int = 2
    audio_hidden_dim: int = 20
    audio_tokens: int = 6
    audio_dim: int = 40
    vae_dim: int = 4


def make_small_checkpoint(
    root: Path,
    sizes: Sizes | None = None,
    seed: int = 0,
    quantized: bool = False,
    shards: int = 2,
    infinitetalk: bool = True,
) -> Path:
    """Write a checkpoint.

    Args:
        root: A new folder.
        sizes: Of the networks.
        seed: Of the values.
        quantized: Also write the quantized files.
        shards: Number of the transformer's files, besides that of the audio layers.
        infinitetalk: Also write InfiniteTalk's audio layers.

    Returns:
        The folder.
    """
    sizes = sizes or Sizes()
    generator = torch.Generator().manual_seed(seed)
    for folder in (catalogue.WAN.folder, catalogue.QUANTIZED, catalogue.WAV2VEC2.folder, catalogue.TOKENIZER):
        (root / folder).mkdir(parents=True, exist_ok=True)
    transformer = _fill(transformer_shapes(sizes), generator)
    text_encoder = _fill(text_encoder_shapes(sizes), generator, torch.bfloat16)
    _write_transformer(root, sizes, transformer, shards)
    torch.save(text_encoder, root / catalogue.TEXT_ENCODER)
    torch.save(_fill(image_encoder_shapes(sizes), generator, torch.float16), root / catalogue.IMAGE_ENCODER)
    torch.save(_fill(vae_shapes(sizes), generator), root / catalogue.VAE)
    (root / catalogue.AUTOENCODERS.folder).mkdir()
    fast_decoder = _fill(fast_decoder_shapes((12, 8, 4, 4)), torch.Generator().manual_seed(seed + 2))
    save_file({key: tensor.half() for key, tensor in fast_decoder.items()}, root / catalogue.FAST_DECODER)
    _write_audio_encoder(root, sizes, seed)
    _write_tokenizer(root / catalogue.TOKENIZER)
    save_file(make_lora(transformer, generator, 4, image_keys=True), root / FUSIONX)
    save_file(make_lora(transformer, generator, 3, image_keys=False), root / LIGHTX2V)
    save_file(make_lora(transformer, generator, 5, image_keys=True), root / FAST)
    if quantized:
        save_file(quantize(transformer), root / catalogue.TRANSFORMER_INT8)
        save_file(quantize(text_encoder), root / catalogue.TEXT_ENCODER_INT8)
    if infinitetalk:
        _write_infinitetalk(root, transformer, seed, quantized)
        if quantized:
            path = catalogue.QUANTIZED_TEXT_ENCODERS["fp8"]
            save_file(quantize(text_encoder, torch.float8_e4m3fn), root / path)
    return root


def _write_infinitetalk(root: Path, transformer: Tensors, seed: int, quantized: bool) -> None:
    """InfiniteTalk's audio layers, with other values; the file for one person replaces base tensors, too."""
    generator = torch.Generator().manual_seed(seed + 1)
    shapes = {key: tuple(tensor.shape) for key, tensor in transformer.items() if is_audio(key)}
    replaced = {key: tuple(transformer[key].shape) for key in REPLACED}
    for name, path in catalogue.INFINITETALK_LAYERS.items():
        more = replaced if name == "infinitetalk-single" else {}
        (root / path).parent.mkdir(parents=True)
        layers = _fill(shapes | more, generator)
        save_file(layers, root / path)
        for form, dtype in (("int8", torch.int8), ("fp8", torch.float8_e4m3fn)) if quantized else ():
            whole = root / catalogue.WHOLE_TRANSFORMERS[form][name]
            whole.parent.mkdir(exist_ok=True)
            save_file(quantize(transformer | layers, dtype), whole)


def linear(name: str, out_features: int, in_features: int) -> Shapes:
    return {f"{name}.weight": (out_features, in_features), f"{name}.bias": (out_features,)}


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def transformer_shapes(s: Sizes) -> Shapes:
    """Wan2.1 I2V and the audio layers."""
    shapes: Shapes = {"patch_embedding.weight": (s.dim, 36, 1, 2, 2), "patch_embedding.bias": (s.dim,)}
    shapes |= linear("text_embedding.0", s.dim, s.text_dim) | linear("text_embedding.2", s.dim, s.dim)
    shapes |= linear("time_embedding.0", s.dim, s.freq_dim) | linear("time_embedding.2", s.dim, s.dim)
    shapes |= linear("time_projection.1", 6 * s.dim, s.dim)
    shapes |= norm("img_emb.proj.0", s.image_dim) | linear("img_emb.proj.1", s.image_dim, s.image_dim)
    shapes |= linear("img_emb.proj.3", s.dim, s.image_dim) | norm("img_emb.proj.4", s.dim)
    shapes |= {"head.modulation": (1, 2, s.dim)} | linear("head.head", 64, s.dim)
    for block in (f"blocks.{index}" for index in range(s.layers)):
        shapes |= {f"{block}.modulation": (1, 6, s.dim)} | norm(f"{block}.norm3", s.dim)
        for name in ("q", "k", "v", "o"):
            shapes |= linear(f"{block}.self_attn.{name}", s.dim, s.dim)
        for name in ("q", "k", "v", "o", "k_img", "v_img"):
            shapes |= linear(f"{block}.cross_attn.{name}", s.dim, s.dim)
        for name in ("self_attn.norm_q", "self_attn.norm_k"):
            shapes[f"{block}.{name}.weight"] = (s.dim,)
        for name in ("norm_q", "norm_k", "norm_k_img"):
            shapes[f"{block}.cross_attn.{name}.weight"] = (s.dim,)
        shapes |= linear(f"{block}.ffn.0", s.ffn_dim, s.dim) | linear(f"{block}.ffn.2", s.dim, s.ffn_dim)
        shapes |= norm(f"{block}.norm_x", s.dim)
        shapes |= linear(f"{block}.audio_cross_attn.q_linear", s.dim, s.dim)
        shapes |= linear(f"{block}.audio_cross_attn.kv_linear", 2 * s.dim, s.audio_dim)
        shapes |= linear(f"{block}.audio_cross_attn.proj", s.dim, s.dim)
    feature = s.audio_layers * s.audio_channels
    shapes |= linear("audio_proj.proj1", s.audio_hidden_dim, AUDIO_WINDOW * feature)
    shapes |= linear("audio_proj.proj1_vf", s.audio_hidden_dim, LATER_AUDIO_WINDOW * feature)
    shapes |= linear("audio_proj.proj2", s.audio_hidden_dim, s.audio_hidden_dim)
    shapes |= linear("audio_proj.proj3", s.audio_tokens * s.audio_dim, s.audio_hidden_dim)
    return shapes | norm("audio_proj.norm", s.audio_dim)


def is_audio(key: str) -> bool:
    """Whether a tensor belongs to the audio layers, which are in a separate file."""
    return key.startswith("audio_proj.") or ".audio_cross_attn." in key or ".norm_x." in key


def text_encoder_shapes(s: Sizes) -> Shapes:
    """UMT5's encoder. The inner width of its attention differs from its width, as the config allows."""
    inner = s.text_heads * 16
    shapes: Shapes = {"token_embedding.weight": (128, s.text_dim)}
    for block in (f"blocks.{index}" for index in range(s.text_layers)):
        for name in ("q", "k", "v"):
            shapes[f"{block}.attn.{name}.weight"] = (inner, s.text_dim)
        shapes |= {
            f"{block}.norm1.weight": (s.text_dim,),
            f"{block}.attn.o.weight": (s.text_dim, inner),
            f"{block}.norm2.weight": (s.text_dim,),
            f"{block}.ffn.gate.0.weight": (2 * s.text_dim, s.text_dim),
            f"{block}.ffn.fc1.weight": (2 * s.text_dim, s.text_dim),
            f"{block}.ffn.fc2.weight": (s.text_dim, 2 * s.text_dim),
            f"{block}.pos_embedding.embedding.weight": (32, s.text_heads),
        }
    return shapes | {"norm.weight": (s.text_dim,)}


def image_encoder_shapes(s: Sizes) -> Shapes:
    """CLIP: the image encoder, and some tensors of the text encoder, which is not used."""
    width = s.image_dim
    shapes: Shapes = {
        "log_scale": (),
        "visual.cls_embedding": (1, 1, width),
        "visual.pos_embedding": (1, IMAGE_TOKENS, width),
        "visual.patch_embedding.weight": (width, 3, PATCH, PATCH),
        "visual.head": (width, 12),
        "textual.token_embedding.weight": (10, 8),
    }
    shapes |= norm("visual.pre_norm", width) | norm("visual.post_norm", width)
    for block in (f"visual.transformer.{index}" for index in range(s.image_layers)):
        shapes |= norm(f"{block}.norm1", width) | norm(f"{block}.norm2", width)
        shapes |= linear(f"{block}.attn.to_qkv", 3 * width, width)
        shapes |= linear(f"{block}.attn.proj", width, width)
        shapes |= linear(f"{block}.mlp.0", 3 * width, width) | linear(f"{block}.mlp.2", width, 3 * width)
    return shapes


def vae_shapes(s: Sizes) -> Shapes:
    """Wan's VAE: four levels; two residual blocks each on the way down, three on the way up."""
    widths = [s.vae_dim * factor for factor in (1, 2, 4, 4)]
    shapes = convolution("encoder.conv1", widths[0], 3, 3, 3, 3)
    width, index = widths[0], 0
    for level, out in enumerate(widths):
        for _ in range(2):
            shapes |= residual_block(f"encoder.downsamples.{index}", width, out)
            width, index = out, index + 1
        if level < 3:
            shapes |= convolution(f"encoder.downsamples.{index}.resample.1", width, width, 3, 3)
            if level > 0:
                shapes |= convolution(f"encoder.downsamples.{index}.time_conv", width, width, 3, 1, 1)
            index += 1
    shapes |= middle("encoder", width) | head("encoder", width, 32)
    shapes |= convolution("conv1", 32, 32, 1, 1, 1) | convolution("conv2", 16, 16, 1, 1, 1)
    shapes |= convolution("decoder.conv1", width, 16, 3, 3, 3) | middle("decoder", width)
    index = 0
    for level, out in enumerate(reversed(widths)):
        for _ in range(3):
            shapes |= residual_block(f"decoder.upsamples.{index}", width, out)
            width, index = out, index + 1
        if level < 3:
            shapes |= convolution(f"decoder.upsamples.{index}.resample.1", width // 2, width, 3, 3)
            if level < 2:
                shapes |= convolution(f"decoder.upsamples.{index}.time_conv", 2 * width, width, 3, 1, 1)
            width, index = width // 2, index + 1
    return shapes | head("decoder", width, 3)


def convolution(name: str, out_channels: int, in_channels: int, *kernel: int) -> Shapes:
    return {f"{name}.weight": (out_channels, in_channels, *kernel), f"{name}.bias": (out_channels,)}


def residual_block(name: str, in_channels: int, out_channels: int) -> Shapes:
    shapes: Shapes = {
        f"{name}.residual.0.gamma": (in_channels, 1, 1, 1),
        f"{name}.residual.3.gamma": (out_channels, 1, 1, 1),
    }
    shapes |= convolution(f"{name}.residual.2", out_channels, in_channels, 3, 3, 3)
    shapes |= convolution(f"{name}.residual.6", out_channels, out_channels, 3, 3, 3)
    if in_channels != out_channels:
        shapes |= convolution(f"{name}.shortcut", out_channels, in_channels, 1, 1, 1)
    return shapes


def middle(name: str, width: int) -> Shapes:
    shapes = residual_block(f"{name}.middle.0", width, width)
    shapes |= residual_block(f"{name}.middle.2", width, width)
    shapes[f"{name}.middle.1.norm.gamma"] = (width, 1, 1)
    shapes |= convolution(f"{name}.middle.1.to_qkv", 3 * width, width, 1, 1)
    return shapes | convolution(f"{name}.middle.1.proj", width, width, 1, 1)


def head(name: str, width: int, out_channels: int) -> Shapes:
    shapes: Shapes = {f"{name}.head.0.gamma": (width, 1, 1, 1)}
    return shapes | convolution(f"{name}.head.2", out_channels, width, 3, 3, 3)


def _fill(shapes: Shapes, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensors:
    """Random values, scaled to keep activations near 1."""
    tensors = {}
    for name, shape in shapes.items():
        values = torch.randn(shape, generator=generator)
        is_gain = name.endswith("gamma") or (len(shape) == 1 and name.endswith("weight"))
        if is_gain:
            values = 1 + 0.1 * values
        elif name.endswith("weight"):
            values = values / math.sqrt(math.prod(shape[1:]))
        else:
            values = 0.1 * values
        tensors[name] = values.to(dtype)
    return tensors


def fast_decoder_shapes(widths: Sequence[int], latent_channels: int = 16, encoder: int = 4) -> Shapes:
    """The small autoencoder (TAEHV) as published: two lists of modules, numbered with the activations."""

    def conv(name: str, out_channels: int, in_channels: int, size: int = 3, bias: bool = True) -> Shapes:
        shapes: Shapes = {f"{name}.weight": (out_channels, in_channels, size, size)}
        return shapes | ({f"{name}.bias": (out_channels,)} if bias else {})

    def memory_blocks(part: str, first: int, width: int) -> Shapes:
        shapes: Shapes = {}
        for index in range(first, first + 3):
            for number, in_channels in ((0, 2 * width), (2, width), (4, width)):
                shapes |= conv(f"{part}.{index}.conv.{number}", width, in_channels)
        return shapes

    shapes = conv("encoder.0", encoder, 3)
    for first, stride in ((2, 2), (7, 2), (12, 1)):
        shapes |= conv(f"encoder.{first}.conv", encoder, encoder * stride, 1, bias=False)
        shapes |= conv(f"encoder.{first + 1}", encoder, encoder, bias=False)
        shapes |= memory_blocks("encoder", first + 2, encoder)
    shapes |= conv("encoder.17", latent_channels, encoder) | conv("decoder.1", widths[0], latent_channels)
    for first, growth, width, following in zip((3, 9, 15), (1, 2, 2), widths[:-1], widths[1:], strict=True):
        shapes |= memory_blocks("decoder", first, width)
        shapes |= conv(f"decoder.{first + 4}.conv", width * growth, width, 1, bias=False)
        shapes |= conv(f"decoder.{first + 5}", following, width, bias=False)
    return shapes | conv("decoder.22", 3, widths[-1])


def make_lora(transformer: Tensors, generator: torch.Generator, rank: int, image_keys: bool) -> Tensors:
    """A LoRA of Wan's layers: for image-to-video of matrices only, else also of biases and norms."""
    lora: Tensors = {}
    for key, tensor in transformer.items():
        if is_audio(key) or key.startswith(("img_emb.", "patch_embedding.")) or "modulation" in key:
            continue
        if "_img" in key and not image_keys:
            continue
        module, _, parameter = key.rpartition(".")
        name = f"diffusion_model.{module}"
        if tensor.ndim == 2 and (key.startswith("blocks.") or not image_keys):
            down = torch.randn(rank, tensor.shape[1], generator=generator) / math.sqrt(tensor.shape[1])
            up = torch.randn(tensor.shape[0], rank, generator=generator)
            lora |= {f"{name}.lora_down.weight": down.half(), f"{name}.lora_up.weight": (0.1 * up).half()}
        elif tensor.ndim == 1 and not image_keys:
            suffix = "diff_b" if parameter == "bias" and ".norm" not in module else "diff"
            if parameter == "weight" or suffix == "diff_b":
                lora[f"{name}.{suffix}"] = (0.05 * torch.randn(tensor.shape, generator=generator)).half()
    return lora


def quantize(tensors: Tensors, dtype: torch.dtype = torch.int8) -> Tensors:
    """The published quantized form: one scale per output row of every matrix."""
    largest = 127 if dtype == torch.int8 else torch.finfo(dtype).max
    stored: Tensors = {}
    for key, tensor in tensors.items():
        if tensor.ndim != 2 or "embedding.weight" in key:
            stored[key] = tensor.bfloat16()
            continue
        scale = (tensor.float().abs().amax(dim=1, keepdim=True) / largest).bfloat16()
        values = (tensor.float() / scale.float()).clamp(-largest, largest)
        stored[f"{key}._data"] = (values.round() if dtype == torch.int8 else values).to(dtype)
        stored[f"{key}._scale"] = scale
        for unused in ("input_scale", "output_scale"):
            stored[f"{key.removesuffix('.weight')}.{unused}"] = torch.ones((), dtype=torch.bfloat16)
    return stored


def _write_transformer(root: Path, sizes: Sizes, tensors: Tensors, shards: int) -> None:
    wan = root / catalogue.WAN.folder
    config = {
        "model_type": "i2v",
        "dim": sizes.dim,
        "eps": 1e-06,
        "ffn_dim": sizes.ffn_dim,
        "freq_dim": sizes.freq_dim,
        "in_dim": 36,
        "num_heads": sizes.heads,
        "num_layers": sizes.layers,
        "out_dim": 16,
        "text_len": TEXT_LENGTH,
    }
    (wan / "config.json").write_text(json.dumps(config))
    audio = {key: tensor for key, tensor in tensors.items() if is_audio(key)}
    video = [key for key in tensors if key not in audio]
    size = math.ceil(len(video) / shards)
    weight_map = dict.fromkeys(audio, "multitalk.safetensors")
    save_file(audio, root / catalogue.AUDIO_LAYERS)
    for number in range(shards):
        name = f"diffusion_pytorch_model-{number + 1:05d}-of-{shards:05d}.safetensors"
        keys = video[number * size : (number + 1) * size]
        save_file({key: tensors[key] for key in keys}, wan / name)
        weight_map |= dict.fromkeys(keys, name)
    (root / catalogue.TRANSFORMER_INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def _write_audio_encoder(root: Path, sizes: Sizes, seed: int) -> None:
    folder = root / catalogue.WAV2VEC2.folder
    config = Wav2Vec2Config(
        hidden_size=sizes.audio_channels,
        num_hidden_layers=sizes.audio_layers,
        num_attention_heads=2,
        intermediate_size=2 * sizes.audio_channels,
        conv_dim=[8] * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        Wav2Vec2Model(config).save_pretrained(folder)
    extractor = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "do_normalize": True}
    extractor |= {"feature_size": 1, "padding_value": 0.0, "sampling_rate": 16000}
    (root / catalogue.FEATURE_EXTRACTOR_CONFIG).write_text(json.dumps(extractor))


def _write_tokenizer(folder: Path) -> None:
    """One token per character."""
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    vocabulary += [(character, -3.0) for character in CHARACTERS.strip()]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=2, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": TEXT_LENGTH}
    config |= {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
