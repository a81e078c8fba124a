"""BEiT-3: image and text embeddings, the Multiway encoder, and its uses (arXiv 2208.10442, section 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput

from koine.errors import InputError
from koine.systems.beit3.config import POSITION_OFFSET, Beit3Config, Head
from koine.systems.beit3.heads import (
    HEAD_CLASSES,
    CaptioningHead,
    ClassificationHead,
    Nlvr2Head,
    PretrainingHead,
    RetrievalHead,
    VqaHead,
)
from koine.systems.beit3.multiway import KeyValueStore, Multiway, MultiwayLayer, Route, ScaledLinear


class VisionEmbedding(nn.Module):
    """An image's patches behind a class token."""

    def __init__(self, config: Beit3Config) -> None:
        super().__init__()
        width, patch = config.hidden_size, config.patch_size
        self.image_size = config.image_size
        self.proj = nn.Conv2d(config.num_channels, width, kernel_size=patch, stride=patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))

    def forward(self, pixel_values: Tensor, patch_mask: Tensor | None = None) -> Tensor:
        """
        Args:
            pixel_values: [images, 3, size, size].
            patch_mask: [images, patches] bool; the mask token takes the place of the patches that are True.
        Returns:
            [images, 1 + patches, width], patches row by row.
        Raises:
            InputError: the images have another size than the model's.
        """
        if pixel_values.shape[-2:] != (self.image_size, self.image_size):
            height, width = pixel_values.shape[-2:]
            raise InputError(
                f"an image of {width}x{height} pixels came to a BEiT-3 for {self.image_size}x{self.image_size}: "
                "resize it, or the model with resize_images"
            )
        patches = self.proj(pixel_values).flatten(2).transpose(1, 2)
        if patch_mask is not None:
            patches = torch.where(patch_mask[..., None], self.mask_token.to(patches.dtype), patches)
        return torch.cat((self.cls_token.expand(len(patches), -1, -1).to(patches.dtype), patches), dim=1)


class Encoder(nn.Module):
    """Positions, layers, and the norm behind them if the configuration has one."""

    def __init__(self, config: Beit3Config) -> None:
        super().__init__()
        width = config.hidden_size
        # Images and texts count from the first position each, in tables of their own.
        tables = {"A": config.image_tokens, **({"B": config.max_text_tokens} if config.has_text else {})}
        self.embed_positions = nn.ModuleDict(
            {letter: nn.Embedding(positions + POSITION_OFFSET, width) for letter, positions in tables.items()}
        )
        self.layers = nn.ModuleList(MultiwayLayer(config, number) for number in range(config.num_hidden_layers))
        self.layer_norm = (
            Multiway(lambda: nn.LayerNorm(width, eps=config.layer_norm_eps), separate=config.decoupled)
            if config.has_final_norm
            else None
        )

    def positions(self, letter: str) -> nn.Embedding:
        """The table of images (A) or of texts (B), [2 + positions, width]."""
        return cast(nn.Embedding, self.embed_positions[letter])

    def forward(
        self,
        tokens: Tensor,
        route: Route,
        *,
        mask: Tensor | None = None,
        store: KeyValueStore | None = None,
        keep_states: bool = False,
    ) -> BaseModelOutput:
        """Embedded tokens [batch, tokens, width] through all layers; `mask` and `store` as `MultiwayLayer`'s."""
        states = [tokens]
        for layer in self.layers:
            tokens = layer(tokens, route, mask, store)
            if keep_states:
                states.append(tokens)
        if self.layer_norm is not None:
            tokens = self.layer_norm(tokens, route)
        return BaseModelOutput(last_hidden_state=tokens, hidden_states=tuple(states) if keep_states else None)


class Backbone(nn.Module):
    """The transformer without any head."""

    def __init__(self, config: Beit3Config) -> None:
        super().__init__()
        self.text_embed = nn.Embedding(config.vocab_size, config.hidden_size) if config.has_text else None
        self.vision_embed = VisionEmbedding(config)
        self.encoder = Encoder(config)

    def embed_images(self, pixel_values: Tensor, patch_mask: Tensor | None = None) -> Tensor:
        """Image tokens with positions [images, 1 + patches, width]; the arguments are `VisionEmbedding`'s."""
        tokens = self.vision_embed(pixel_values, patch_mask)
        return tokens + self.encoder.positions("A").weight[POSITION_OFFSET:].to(tokens.dtype)

    def embed_texts(self, input_ids: Tensor, positions: Tensor | None = None) -> Tensor:
        """Text tokens with positions [texts, tokens, width].

        Args:
            input_ids: [texts, tokens].
            positions: where each stands in its text, [tokens] or [texts, tokens]; counted from 0 by default.
        Raises:
            InputError: the text is longer than there are positions, or this model reads images only.
        """
        if self.text_embed is None:
            raise InputError("this BEiT-3 has no language branch: load other weights than a classifier's")
        table = self.encoder.positions("B")
        if positions is None:
            longest = table.num_embeddings - POSITION_OFFSET
            if input_ids.shape[1] > longest:
                raise InputError(
                    f"a text of {input_ids.shape[1]} tokens is longer than the {longest} that this BEiT-3 has "
                    "positions for: shorten it"
                )
            positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        return self.text_embed(input_ids) + table(positions + POSITION_OFFSET)

    def forward(
        self,
        pixel_values: Tensor | None = None,
        input_ids: Tensor | None = None,
        *,
        attention_mask: Tensor | None = None,
        patch_mask: Tensor | None = None,
        positions: Tensor | None = None,
        source_tokens: int | None = None,
        store: KeyValueStore | None = None,
        fused: bool | None = None,
        keep_states: bool = False,
    ) -> BaseModelOutput:
        """
        Args:
            pixel_values: [batch, 3, size, size].
            input_ids: [batch, tokens].
            attention_mask: [batch, tokens], 0 for padding in the text.
            patch_mask: [batch, patches] bool, patches that are hidden.
            positions: of the text tokens, see `embed_texts`.
            source_tokens: with a number, the tokens from there on see what is before them only, and those before
                see each other only (sequence to sequence); by default all see all.
            store: takes each layer's keys and values.
            fused: whether the tokens belong to pairs; by default if both are given.
            keep_states: return the states between the layers, too.
        Returns:
            `last_hidden_state` [batch, tokens of image and text, width], and if asked for `hidden_states`: the
            embedded tokens and each layer's output.
        Raises:
            InputError: neither images nor texts are given.
        """
        parts: list[Tensor] = []
        if pixel_values is not None:
            parts.append(self.embed_images(pixel_values, patch_mask))
        image_tokens = parts[0].shape[1] if parts else 0
        if input_ids is not None:
            parts.append(self.embed_texts(input_ids, positions))
        if not parts:
            raise InputError("BEiT-3 was given neither an image nor a text: give at least one of them")
        tokens = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
        mask = None
        if attention_mask is not None and input_ids is not None:
            real = F.pad(attention_mask.bool(), (image_tokens, 0), value=True)
            tokens = tokens * real[..., None].to(tokens.dtype)
            mask = real[:, None, None]
        if source_tokens is not None:
            causal = sequence_to_sequence_mask(source_tokens, tokens.shape[1], device=tokens.device)
            mask = causal if mask is None else causal & mask
        route = Route(image_tokens, fused=len(parts) > 1 if fused is None else fused)
        return self.encoder(tokens, route, mask=mask, store=store, keep_states=keep_states)

    def continue_text(
        self, input_ids: Tensor, *, positions: Tensor, mask: Tensor, store: KeyValueStore, fused: bool
    ) -> Tensor:
        """Features [batch, tokens, width] of text tokens that follow on what `store` holds.

        Args:
            input_ids, positions: [batch, tokens].
            mask: bool [batch or 1, 1, tokens, held + tokens], True where a token may look.
            fused: whether what they follow on is an image.
        """
        tokens = self.embed_texts(input_ids, positions)
        return self.encoder(tokens, Route(0, fused=fused), mask=mask, store=store).last_hidden_state


@dataclass(frozen=True)
class MaskedPrediction:
    """What is predicted at masked places, in the order of the rows and then of the places in them.

    Attributes:
        image_logits: [masked patches, codes], if there were images.
        text_logits: [masked tokens, words], if there were texts.
    """

    image_logits: Tensor | None = None
    text_logits: Tensor | None = None


class Beit3Model(PreTrainedModel):
    """The transformer with the heads that its configuration names; a published checkpoint has one.

    Texts are padded on the right. Padding that no text of a batch needs is cut off before the transformer runs.
    """

    config_class = Beit3Config
    config: Beit3Config
    base_model_prefix = "beit3"
    main_input_name = "pixel_values"
    supports_gradient_checkpointing = True
    _no_split_modules = ["MultiwayLayer"]  # noqa: RUF012
    _supports_sdpa = True

    def __init__(self, config: Beit3Config) -> None:
        super().__init__(config)
        self.beit3 = Backbone(config)
        self.heads = nn.ModuleDict({head: HEAD_CLASSES[head](config) for head in config.heads})
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.beit3.vision_embed if self.beit3.text_embed is None else self.beit3.text_embed

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.beit3.text_embed = cast(nn.Embedding, value)

    def forward(
        self,
        pixel_values: Tensor | None = None,
        input_ids: Tensor | None = None,
        *,
        attention_mask: Tensor | None = None,
        patch_mask: Tensor | None = None,
        output_hidden_states: bool = False,
        **options: Any,
    ) -> BaseModelOutput:
        """The transformer's features of images, of texts, or of pairs; the arguments are `Backbone`'s.

        Returns:
            `last_hidden_state` [batch, 1 + patches + tokens, width].
        """
        return self.beit3(
            pixel_values,
            input_ids,
            attention_mask=attention_mask,
            patch_mask=patch_mask,
            keep_states=output_hidden_states,
        )

    def classify(self, pixel_values: Tensor) -> Tensor:
        """Logits [images, classes] of images [images, 3, size, size] in ImageNet's normalisation."""
        head: ClassificationHead = self.require("classification")
        return head(self.beit3(pixel_values).last_hidden_state)

    def answer(self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Logits [pairs, answers] of questions [pairs, tokens] about images [pairs, 3, size, size]."""
        head: VqaHead = self.require("vqa")
        input_ids, attention_mask = trim_padding(input_ids, attention_mask)
        return head(self.beit3(pixel_values, input_ids, attention_mask=attention_mask).last_hidden_state)

    def judge(self, first: Tensor, second: Tensor, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Logits [statements, 2] (false, true) of statements [statements, tokens] about two images each.

        Args:
            first, second: [statements, 3, size, size].
        """
        head: Nlvr2Head = self.require("nlvr2")
        input_ids, attention_mask = trim_padding(input_ids, attention_mask)
        output = self.beit3(
            torch.cat((first, second)),
            torch.cat((input_ids, input_ids)),
            attention_mask=None if attention_mask is None else torch.cat((attention_mask, attention_mask)),
        )
        return head(output.last_hidden_state, self.config.image_tokens)

    def embed_images(self, pixel_values: Tensor) -> Tensor:
        """Unit vectors [images, width] of images [images, 3, size, size], to compare with those of texts."""
        head: RetrievalHead = self.require("retrieval")
        return head.embed_images(self.beit3(pixel_values).last_hidden_state)

    def embed_texts(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Unit vectors [texts, width] of texts [texts, tokens], to compare with those of images."""
        head: RetrievalHead = self.require("retrieval")
        input_ids, attention_mask = trim_padding(input_ids, attention_mask)
        return head.embed_texts(self.beit3(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state)

    @property
    def logit_scale(self) -> Tensor:
        """What cosine similarities are multiplied with in retrieval, []."""
        head: RetrievalHead = self.require("retrieval")
        return head.logit_scale.exp()

    def predict_words(
        self,
        input_ids: Tensor,
        pixel_values: Tensor | None = None,
        *,
        attention_mask: Tensor | None = None,
        source_ids: Tensor | None = None,
        source_attention_mask: Tensor | None = None,
        places: Tensor | None = None,
    ) -> Tensor:
        """Words of a text that is written from an image, a source text, or both; what stands there may be masked.

        All tokens of the source see each other; those of the text see the source and what is before them (section 3.4
        of the paper). A word is predicted at its own place, where the input has the mask token.

        Args:
            input_ids: [batch, tokens], the text.
            pixel_values: [batch, 3, size, size], the source image.
            attention_mask: [batch, tokens], 0 for padding.
            source_ids, source_attention_mask: [batch, source tokens], a source text, for instance a question.
            places: [batch, tokens] bool, where to predict.
        Returns:
            Logits [places, words] in the order of rows, or [batch, tokens, words] without `places`.
        Raises:
            InputError: there is no source.
        """
        head: CaptioningHead = self.require("captioning")
        source = 0 if pixel_values is None else self.config.image_tokens
        positions, given, attended = None, input_ids, attention_mask
        if source_ids is not None:
            positions, given, attended = join_texts(
                source_ids, input_ids, first_mask=source_attention_mask, second_mask=attention_mask
            )
            source += source_ids.shape[1]
        if not source:
            raise InputError("there is nothing to write from: give an image or a source text")
        hidden = self.beit3(
            pixel_values, given, attention_mask=attended, positions=positions, source_tokens=source
        ).last_hidden_state[:, source:]
        return head(hidden if places is None else hidden[places.bool()])

    def predict_masked(
        self,
        pixel_values: Tensor | None = None,
        input_ids: Tensor | None = None,
        *,
        attention_mask: Tensor | None = None,
        patch_mask: Tensor | None = None,
        token_mask: Tensor | None = None,
    ) -> MaskedPrediction:
        """Codes of hidden patches and words at masked places, all tokens seeing all (masked data modelling).

        Args:
            pixel_values: [batch, 3, size, size], if there are images.
            input_ids: [batch, tokens] with mask tokens, if there are texts.
            attention_mask: [batch, tokens], 0 for padding.
            patch_mask: [batch, patches] bool, hidden patches.
            token_mask: [batch, tokens] bool, where words are to be predicted.
        """
        head: PretrainingHead = self.require("pretraining")
        hidden = self.beit3(
            pixel_values,
            input_ids,
            attention_mask=attention_mask,
            patch_mask=None if patch_mask is None else patch_mask.bool(),
        ).last_hidden_state
        images = 0 if pixel_values is None else self.config.image_tokens
        return MaskedPrediction(
            None if patch_mask is None else head.mim_head(hidden[:, 1:images][patch_mask.bool()]),
            None if token_mask is None else head.mlm_head(hidden[:, images:][token_mask.bool()]),
        )

    def resize_images(self, image_size: int) -> None:
        """Makes this a model for images of another size: its image positions are interpolated.

        Raises:
            InputError: the size is no multiple of the patch size.
        """
        config = type(self.config).from_dict({**self.config.to_dict(), "image_size": image_size})
        table = self.beit3.encoder.positions("A")
        resized = resize_positions(table.weight.data, config.grid)
        self.beit3.encoder.embed_positions["A"] = nn.Embedding.from_pretrained(resized, freeze=False)
        self.beit3.vision_embed.image_size = self.config.image_size = image_size

    def start_from(self, other: Beit3Model) -> list[str]:
        """Takes the weights of a model trained before, for fine-tuning: the transformer, and heads that both have.

        As published, image positions are interpolated to this model's size, the final norm is left behind if this
        model has none, and captioning takes its words from the pre-training head.

        Returns:
            The names of this model's tensors that the other has none for, which keep their initial values.
        Raises:
            InputError: the transformers differ in more than that.
        """
        given = other.state_dict()
        words = "heads.pretraining.mlm_head."
        for name in ("weight", "bias"):
            if words + name in given:
                given.setdefault(f"heads.captioning.mlm_head.{name}", given[words + name])
        own = self.state_dict()
        table = "beit3.encoder.embed_positions.A.weight"
        given[table] = resize_positions(given[table], self.config.grid)
        fitting = {name: given[name] for name in own if name in given and given[name].shape == own[name].shape}
        missing = sorted(own.keys() - fitting.keys())
        if lost := [name for name in missing if name.startswith("beit3.") and "layer_norm" not in name.split(".")[2]]:
            raise InputError(f"the pre-trained model has no tensor that fits {lost[0]}: give one of the same size")
        self.load_state_dict(fitting, strict=False)
        return missing

    def require(self, name: Head) -> Any:
        """The head of that name.

        Raises:
            InputError: these weights have no such head.
        """
        if name not in self.heads:
            have = ", ".join(self.config.heads) or "no head at all"
            raise InputError(f"this BEiT-3 has no {name} head, it has {have}: load weights with {name}")
        return self.heads[name]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Conv2d):
            self._init_linear(module)
        elif isinstance(module, nn.Embedding):
            # Published tables start far larger (deviation 1 for positions), which drowns everything else at first.
            init.normal_(module.weight, std=0.02)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, VisionEmbedding):
            init.zeros_(module.cls_token)
            init.zeros_(module.mask_token)
        if isinstance(module, ClassificationHead):
            self._init_small(module.head)
        elif isinstance(module, Nlvr2Head):
            self._init_small(module.head.get_submodule("dense1"))
            self._init_small(module.head.get_submodule("dense2"))

    def _init_linear(self, module: nn.Linear | nn.Conv2d) -> None:
        if self.config.initialization == "published" and isinstance(module, nn.Linear):
            init.trunc_normal_(module.weight, std=0.02, a=-0.02, b=0.02)
            if module.bias is not None:
                init.zeros_(module.bias)
            return
        gain = module.gain if isinstance(module, ScaledLinear) and self.config.initialization == "sub-ln" else 1.0
        bound = gain * module.weight[0].numel() ** -0.5
        init.uniform_(module.weight, -bound, bound)
        if module.bias is not None:
            init.uniform_(module.bias, -bound, bound)

    def _init_small(self, module: nn.Module) -> None:
        """A head that says next to nothing at first, a thousandth of the usual."""
        if isinstance(module, nn.Linear):
            init.trunc_normal_(module.weight, std=2e-5, a=-2e-5, b=2e-5)
            init.zeros_(module.bias)


def trim_padding(input_ids: Tensor, attention_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Cuts off columns that are padding in every text; without any padding left there is no mask either.

    Args:
        input_ids, attention_mask: [texts, tokens], padded on the right.
    """
    if attention_mask is None:
        return input_ids, None
    real = attention_mask.bool()
    used = real.any(dim=0).nonzero()
    length = int(used[-1]) + 1 if len(used) else 1
    real = real[:, :length]
    return input_ids[:, :length], None if bool(real.all()) else real


def join_texts(
    first: Tensor, second: Tensor, *, first_mask: Tensor | None = None, second_mask: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Two texts in a row as one sequence, in which the second goes on counting where the first really ends.

    Args:
        first, second, first_mask, second_mask: [batch, tokens]; masks are 0 for padding.
    Returns:
        positions, ids and mask of the sequence, each [batch, tokens of both].
    """
    of_first = torch.ones_like(first) if first_mask is None else first_mask.long()
    of_second = torch.ones_like(second) if second_mask is None else second_mask.long()
    counted = torch.arange(first.shape[1], device=first.device).expand_as(first)
    going_on = of_first.sum(1, keepdim=True) + torch.arange(second.shape[1], device=first.device)
    mask = None if first_mask is None and second_mask is None else torch.cat((of_first, of_second), 1)
    return torch.cat((counted, going_on), 1), torch.cat((first, second), 1), mask


def sequence_to_sequence_mask(source: int, total: int, *, device: torch.device | None = None) -> Tensor:
    """[total, total] bool, True where the row's token sees the column's (as UniLM's).

    The first `source` tokens see each other; each later one sees these, what is before it, and itself.
    """
    places = torch.arange(total, device=device)
    return (places < source) | ((places <= places[:, None]) & (places[:, None] >= source))


def resize_positions(table: Tensor, grid: int) -> Tensor:
    """Image positions [2 + 1 + patches, width] for a square of `grid` x `grid` patches, interpolated bicubically.

    The first three rows, two that are never used and the class token's, stay as they are.
    """
    kept = POSITION_OFFSET + 1
    old = round((len(table) - kept) ** 0.5)
    if old == grid:
        return table
    patches = table[kept:].float().T.reshape(1, -1, old, old)
    resized = F.interpolate(patches, size=(grid, grid), mode="bicubic", align_corners=False)
    return torch.cat((table[:kept], resized[0].flatten(1).T.to(table.dtype)))
