"""Names of tensors in published VQ-VAEs and priors, and ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from koine.errors import InputError

State = dict[str, Tensor]
Rules = Sequence[tuple[str, str | Callable[[re.Match[str]], str]]]
"""Pattern of a published name -> ours."""

_SONNET: Rules = (
    (r"(?:.*/)?(encoder|decoder)/residual_stack/res3x3_(\d+)/", r"\1.blocks.\2.spatial."),
    (r"(?:.*/)?(encoder|decoder)/residual_stack/res1x1_(\d+)/", r"\1.blocks.\2.pointwise."),
    (r"(?:.*/)?encoder/enc_(\d+)/", lambda found: f"encoder.convolutions.{int(found[1]) - 1}."),
    (r"(?:.*/)?decoder/dec_1/", "decoder.entry."),
    (r"(?:.*/)?decoder/dec_(\d+)/", lambda found: f"decoder.convolutions.{int(found[1]) - 2}."),
    (r"(?:.*/)?to_vq/", "projection."),
    (r"(?:.*/)?embeddings$", "quantizer.codebook"),
    (r"(?:.*/)?ema_cluster_size/hidden$", "quantizer.counts"),
    (r"(?:.*/)?ema_dw/hidden$", "quantizer.sums"),
    (r"(?:.*/)?ema_dw/counter$", "quantizer.steps"),
)
_SONNETS_DERIVED = re.compile(r"(?:.*/)?(?:ema_(?:cluster_size|dw)/average|ema_cluster_size/counter)$")
"""What follows from its hidden averages and the other counter, which is equal."""
_PYTORCH_VQVAE: Rules = (
    (r"(encoder|decoder)\.(\d+)\.block\.1\.", lambda found: f"{_stack(found)}.spatial."),
    (r"(encoder|decoder)\.(\d+)\.block\.2\.", lambda found: f"{_stack(found)}.spatial_norm."),
    (r"(encoder|decoder)\.(\d+)\.block\.4\.", lambda found: f"{_stack(found)}.pointwise."),
    (r"(encoder|decoder)\.(\d+)\.block\.5\.", lambda found: f"{_stack(found)}.pointwise_norm."),
    (r"encoder\.0\.", "encoder.convolutions.0."),
    (r"encoder\.1\.", "encoder.norms.0."),
    (r"encoder\.3\.", "encoder.convolutions.1."),
    (r"codebook\.embedding\.weight$", "quantizer.codebook"),
    (r"decoder\.3\.", "decoder.convolutions.0."),
    (r"decoder\.4\.", "decoder.norms.0."),
    (r"decoder\.6\.", "decoder.convolutions.1."),
)
_PIXELCNN: Rules = (
    (r"embedding\.", "embedding."),
    (r"layers\.(\d+)\.class_cond_embedding\.", r"layers.\1.condition.attributes.0."),
    (r"layers\.(\d+)\.vert_stack\.", r"layers.\1.vertical."),
    (r"layers\.(\d+)\.vert_to_horiz\.", r"layers.\1.vertical_to_horizontal."),
    (r"layers\.(\d+)\.horiz_stack\.", r"layers.\1.horizontal."),
    (r"layers\.(\d+)\.horiz_resid\.", r"layers.\1.horizontal_out."),
    (r"output_conv\.(\d)\.", r"head.\1."),
)
_RESIDUAL = {"conv1": "first", "conv2": "second", "aux_conv": "auxiliary", "condition": "condition"}
_PIXELSNAIL: Rules = (
    (r"horizontal\.", "above."),
    (r"vertical\.", "left."),
    (
        r"blocks\.(\d+)\.resblocks\.(\d+)\.(\w+)\.",
        lambda found: f"blocks.{found[1]}.blocks.{found[2]}.{_RESIDUAL[found[3]]}.",
    ),
    (
        r"blocks\.(\d+)\.(key|query|out)_resblock\.(\w+)\.",
        lambda found: f"blocks.{found[1]}.{found[2]}.{_RESIDUAL[found[3]]}.",
    ),
    (r"blocks\.(\d+)\.causal_attention\.(query|key|value)\.", r"blocks.\1.attention.\2."),
    (r"blocks\.(\d+)\.out\.", r"blocks.\1.mix."),
    (
        r"cond_resnet\.blocks\.(\d+)\.(conv1|conv2)\.",
        lambda found: f"coarse_blocks.{int(found[1]) - 1}.{_RESIDUAL[found[2]]}.",
    ),
    (r"cond_resnet\.blocks\.0\.", "coarse_in."),
    (r"out\.(\d+)\.(conv1|conv2)\.", lambda found: f"out_blocks.{found[1]}.{_RESIDUAL[found[2]]}."),
    (r"out\.\d+\.", "head."),
)
_NORMED_TAIL = re.compile(r"(?:conv\.)*(?:parametrizations\.weight\.)?(weight_g|weight_v|original0|original1|bias)$")
_NORMED = {
    "weight_g": "gain",
    "original0": "gain",
    "weight_v": "direction",
    "original1": "direction",
    "bias": "bias",
}


def from_sonnet(published: Mapping[str, Tensor]) -> State:
    """An autoencoder's tensors from those of DeepMind's example, whatever stands before the paths it gives them.

    Kernels are [rows, columns, in, out] there, of transposed convolutions [rows, columns, out, in]; the codebook and
    its sums are [D, codes].

    Raises:
        InputError: a tensor is none of the example's.
    """
    state: State = {}
    for given, tensor in published.items():
        if _SONNETS_DERIVED.match(given):
            continue
        name = _renamed(given, _SONNET, "Sonnet's VQ-VAE")
        if name.endswith((".w", ".b")):
            name = name.removesuffix("w").removesuffix("b") + {"w": "weight", "b": "bias"}[name[-1]]
        if tensor.ndim == 4:
            tensor = tensor.permute(3, 2, 0, 1)
        elif tensor.ndim == 2:
            tensor = tensor.T
        state[name] = tensor.reshape(()) if name.endswith("steps") else tensor.contiguous()
    return state


def from_pytorch_vqvae(published: Mapping[str, Tensor]) -> State:
    """An autoencoder's tensors from those of R. Kumar's port.

    Raises:
        InputError: a tensor is none of the port's.
    """
    return {_renamed(given, _PYTORCH_VQVAE, "pytorch-vqvae"): tensor for given, tensor in published.items()}


def from_pixelcnn(published: Mapping[str, Tensor]) -> State:
    """A gated PixelCNN's tensors from those of R. Kumar's port.

    Raises:
        InputError: a tensor is none of the port's.
    """
    return {_renamed(given, _PIXELCNN, "the gated PixelCNN"): tensor for given, tensor in published.items()}


def from_vqvae2(published: Mapping[str, Tensor]) -> State:
    """An autoencoder's tensors from those of K. Seonghyeon's VQ-VAE-2, with or without `module.` before them.

    Raises:
        InputError: a tensor is none of the port's.
    """
    names = {given.removeprefix("module."): tensor for given, tensor in published.items()}
    stack = sum(bool(re.fullmatch(r"dec\.blocks\.\d+\.conv\.1\.bias", name)) for name in names)
    state: State = {}
    for given, tensor in names.items():
        name = _vqvae2_name(given, stack)
        state[name] = tensor.T.contiguous() if given.endswith(("embed", "embed_avg")) else tensor
    return state


def from_pixelsnail(published: Mapping[str, Tensor]) -> State:
    """A PixelSNAIL's tensors from those of the same port, whose background channels are computed here.

    Raises:
        InputError: a tensor is none of the port's.
    """
    state: State = {}
    for given, tensor in published.items():
        name = given.removeprefix("module.")
        if name == "background":
            continue
        name = _renamed(name, _PIXELSNAIL, "PixelSNAIL")
        if (tail := _NORMED_TAIL.search(name)) is None:
            raise _foreign(given, "PixelSNAIL")
        # Linear maps are pointwise convolutions here.
        tensor = tensor[:, :, None, None] if tensor.ndim == 2 else tensor
        state[name[: tail.start()] + _NORMED[tail[1]]] = tensor
    return state


def _renamed(name: str, rules: Rules, what: str) -> str:
    """The name with its beginning replaced by the first rule whose pattern it begins with."""
    for pattern, replacement in rules:
        if match := re.match(pattern, name):
            ours = replacement(match) if callable(replacement) else match.expand(replacement)
            return ours + name[match.end() :]
    raise _foreign(name, what)


def _stack(found: re.Match[str]) -> str:
    """A residual block of pytorch-vqvae: the encoder's begin at 4, the decoder's at 0."""
    return f"{found[1]}.blocks.{int(found[2]) - (4 if found[1] == 'encoder' else 0)}"


_VQVAE2_PARTS = {
    "enc_b": "bottom_encoder",
    "enc_t": "top_encoder",
    "dec_t": "top_decoder",
    "dec": "decoder",
    "quantize_conv_t": "top_projection",
    "quantize_conv_b": "bottom_projection",
    "upsample_t": "upsampling",
    "quantize_t": "top_quantizer",
    "quantize_b": "bottom_quantizer",
}
_VQVAE2_BUFFERS = {"embed": "codebook", "cluster_size": "counts", "embed_avg": "sums"}
_FIRST_RESIDUAL = {"enc_b": 5, "enc_t": 3, "dec": 1, "dec_t": 1}


def _vqvae2_name(name: str, stack: int) -> str:
    """Our name of a VQ-VAE-2's tensor; `stack` residual blocks precede the decoders' transposed convolutions."""
    part, _, rest = name.partition(".")
    if part not in _VQVAE2_PARTS:
        raise _foreign(name, "VQ-VAE-2")
    ours = _VQVAE2_PARTS[part]
    if rest in _VQVAE2_BUFFERS:
        return f"{ours}.{_VQVAE2_BUFFERS[rest]}"
    if match := re.fullmatch(r"blocks\.(\d+)\.conv\.([13])\.(weight|bias)", rest):
        inner = {"1": "spatial", "3": "pointwise"}[match[2]]
        return f"{ours}.blocks.{int(match[1]) - _FIRST_RESIDUAL[part]}.{inner}.{match[3]}"
    if match := re.fullmatch(r"blocks\.(\d+)\.(weight|bias)", rest):
        place = int(match[1])
        if part.startswith("enc"):
            return f"{ours}.convolutions.{place // 2}.{match[2]}"
        return (
            f"{ours}.entry.{match[2]}" if place == 0 else f"{ours}.convolutions.{(place - stack - 2) // 2}.{match[2]}"
        )
    if rest in ("weight", "bias"):
        return f"{ours}.{rest}"
    raise _foreign(name, "VQ-VAE-2")


def _foreign(name: str, what: str) -> InputError:
    return InputError(f"the checkpoint has a tensor {name!r} that {what} has not: give one of its checkpoints")
