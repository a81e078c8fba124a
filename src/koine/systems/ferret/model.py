"""The network: a CLIP vision tower, a projector and a region sampler in front of a LLaMA. Tensors in, tensors out.

Paper section 3 (arXiv 2310.07704). An image becomes a run of embeddings, each region one embedding, and both take
the places of their placeholders in the token sequence.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPVisionModel, GenerationMixin, LlamaForCausalLM, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast

from koine.errors import InputError
from koine.parts.injection import IGNORED_LABEL, Injected, Segments, inject
from koine.parts.key_value_cache import CACHE
from koine.systems.ferret.config import FerretConfig
from koine.systems.ferret.sampler import AverageRegionPooling, GeoRegionSampler


class FerretForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """Ferret: answers a prompt in which an image and regions of it stand among the words.

    A pure function of its tensors: points of regions are drawn by the processor, so nothing here is random.
    """

    config: FerretConfig
    config_class = FerretConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _no_split_modules: ClassVar[list[str]] = ["CLIPEncoderLayer", "LlamaDecoderLayer"]  # type: ignore[misc]

    def __init__(self, config: FerretConfig) -> None:
        super().__init__(config)
        width, hidden = config.vision_config.hidden_size, config.text_config.hidden_size
        self.vision_tower = CLIPVisionModel(config.vision_config)
        self.projector = nn.Linear(width, hidden)
        self.image_positions = nn.Parameter(grid_waves(config.grid, hidden)) if config.image_positions else None
        self.region_sampler: GeoRegionSampler | AverageRegionPooling | None = None
        if config.region_features == "sampler":
            self.region_sampler = GeoRegionSampler(
                width,
                hidden,
                anchors=config.sampler_anchors,
                neighbours=config.sampler_neighbours,
                pooling=config.sampler_pooling,
                orientation=config.region_orientation,
                alignment=config.region_alignment,
            )
        elif config.region_features == "average":
            self.region_sampler = AverageRegionPooling(
                width, hidden, orientation=config.region_orientation, alignment=config.region_alignment
            )
        self.language_model = LlamaForCausalLM(config.text_config)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        # Projector and sampler start from PyTorch's own initialisation, as the original's do; the tower and the
        # language model bring their own rules.
        if isinstance(module, nn.Linear | nn.LayerNorm):
            module.reset_parameters()

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        return self.language_model.get_output_embeddings()

    def encode_images(self, pixel_values: Tensor) -> Tensor:
        """The features that the language model and the sampler read, before any projection.

        Args:
            pixel_values: [images, 3, height, width], normalised with CLIP's mean and deviation.
        Returns:
            [images, tokens, width]: row-major patches; with `select_feature="cls_patch"`, the class token before them.
        """
        # The published tower is frozen: without trainable weights its activations aren't kept.
        trained = any(weight.requires_grad for weight in self.vision_tower.parameters())
        with torch.set_grad_enabled(torch.is_grad_enabled() and trained):
            output = self.vision_tower(pixel_values.to(self.vision_tower.dtype), output_hidden_states=True)
        features = output.hidden_states[self.config.feature_layer]
        return features if self.config.select_feature == "cls_patch" else features[:, 1:]

    def project_images(self, vision_features: Tensor) -> Tensor:
        """[images, tokens, hidden]: what of an image stands in the language model's sequence."""
        projected = self.projector(vision_features)
        if self.image_positions is None:
            return projected
        places = self.image_positions.to(projected.dtype)
        if self.config.select_feature == "cls_patch":  # the class token has no place
            return torch.cat((projected[:, :1], projected[:, 1:] + places), dim=1)
        return projected + places

    def embed_regions(
        self,
        vision_features: Tensor,
        region_points: Tensor,
        region_images: Tensor,
        region_starts: Tensor | None = None,
        region_counts: Tensor | None = None,
    ) -> Tensor:
        """[regions, hidden]: one embedding for each region; the arguments are those of `forward`."""
        patches = vision_features[:, 1:] if self.config.select_feature == "cls_patch" else vision_features
        if isinstance(self.region_sampler, GeoRegionSampler):
            return self.region_sampler(patches, region_points, region_images, starts=region_starts)
        if isinstance(self.region_sampler, AverageRegionPooling):
            return self.region_sampler(patches, region_points, region_images, counts=region_counts)
        raise InputError(
            "this Ferret has region_features='none' and takes no region points: write regions as coordinates only"
        )

    def embed(
        self,
        input_ids: Tensor,
        *,
        pixel_values: Tensor | None = None,
        vision_features: Tensor | None = None,
        region_points: Tensor | None = None,
        region_images: Tensor | None = None,
        region_starts: Tensor | None = None,
        region_counts: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        padding_side: Literal["left", "right"] = "right",
        padding: Literal["zeros", "tokens"] = "zeros",
    ) -> Injected:
        """The sequence that the language model sees: text, image and regions merged; arguments as in `forward`.

        `padding_side` and `padding` are those of `koine.parts.injection.inject`.
        """
        if vision_features is None and pixel_values is not None:
            vision_features = self.encode_images(pixel_values)
        segments: list[Segments] = []
        if vision_features is not None:
            shown = self._shown_images(input_ids, vision_features)
            segments.append(Segments.uniform(self.config.image_token_id, self.project_images(shown), "image"))
        if region_points is not None and len(region_points):
            if vision_features is None or region_images is None:
                raise InputError(
                    "region_points came without region_images or without an image: give the index of each region's "
                    "image, and pixel_values or vision_features"
                )
            embeddings = self.embed_regions(vision_features, region_points, region_images, region_starts, region_counts)
            segments.append(Segments.uniform(self.config.region_token_id, embeddings, "region"))
        elif self.region_sampler is not None:
            hidden = self.config.text_config.hidden_size
            empty = self.projector.weight.new_zeros(0, hidden)
            segments.append(Segments.uniform(self.config.region_token_id, empty, "region"))
        return inject(
            input_ids,
            self.get_input_embeddings(),
            segments,
            attention_mask=attention_mask,
            labels=labels,
            padding_side=padding_side,
            padding=padding,
        )

    def forward(
        self,
        input_ids: Tensor | None = None,
        *,
        pixel_values: Tensor | None = None,
        vision_features: Tensor | None = None,
        region_points: Tensor | None = None,
        region_images: Tensor | None = None,
        region_starts: Tensor | None = None,
        region_counts: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **options: Any,
    ) -> CausalLMOutputWithPast:
        """
        Args:
            input_ids: [batch, tokens] long, with one `image_token_id` per image and one `region_token_id` per region.
            pixel_values: [images, 3, height, width]; one image per placeholder in reading order, or one per row, in
                which case a text row's is not looked at.
            vision_features: [images, patches, width], what `encode_images` makes of `pixel_values`; instead of them.
            region_points: [regions, points, 2] float32, points drawn from each region, (x, y) relative to its image,
                0..1; regions in reading order of their placeholders.
            region_images: [regions] long, the image that each region lies in.
            region_starts: [regions, stages] long, where the sampler's farthest point sampling starts.
            region_counts: [regions] long, how many of the points are different ones (only the "average" variant asks).
            attention_mask: [batch, tokens], 0 for padding on either side.
            labels: [batch, tokens] long, -100 where nothing is to be learnt.
            inputs_embeds: [batch, length, hidden], a merged sequence in place of all of the above.
            cache, past_key_values: keys and values of earlier steps of generation, under the newer or the older name.
        Returns:
            With labels: the loss (mean over supervised tokens; 0 if there are none) and no logits, because the output
            layer is applied to supervised positions only. Without labels: logits [batch, length, vocabulary].
        Raises:
            InputError: placeholders and images or regions differ in number.
        """
        cache = past_key_values if cache is None else cache
        if cache is not None and input_ids is not None and cache.get_seq_length() > 0:
            # A later step of generation: the new token is plain text, also if it is the region token.
            inputs_embeds = self.get_input_embeddings()(input_ids)
        elif inputs_embeds is None:
            if input_ids is None:
                raise InputError("neither input_ids nor inputs_embeds were given: give one of them")
            injected = self.embed(
                input_ids,
                pixel_values=pixel_values,
                vision_features=vision_features,
                region_points=region_points,
                region_images=region_images,
                region_starts=region_starts,
                region_counts=region_counts,
                attention_mask=attention_mask,
                labels=labels,
            )
            inputs_embeds, attention_mask = injected.inputs_embeds, injected.attention_mask
            labels, position_ids = injected.labels, injected.position_ids
        output = self.language_model.model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            use_cache=use_cache if labels is None else False,
            **{CACHE: cache},
            **options,
        )
        hidden = output.last_hidden_state
        loss = logits = None
        if labels is not None:
            loss = self._loss(hidden, labels)
        else:
            kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
            logits = self.language_model.lm_head(hidden[:, kept])
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            hidden_states=output.hidden_states,
            attentions=output.attentions,
            **{CACHE: getattr(output, CACHE)},
        )

    @torch.no_grad()
    def generate(self, input_ids: Tensor | None = None, **options: Any) -> Any:
        """Continues each prompt with the key-value cache; greedy unless asked otherwise.

        Args:
            input_ids: [batch, tokens], prompts of any lengths, padded on either side (see `attention_mask`).
            options: the tensors that `forward` takes, and those of `transformers.GenerationMixin.generate`
                (max_new_tokens, do_sample, temperature, ...).
        Returns:
            [batch, new tokens] long: the answers alone, filled up with the padding id; or what
            `return_dict_in_generate` asks for.
        """
        if input_ids is not None:
            tensors = {name: options.pop(name) for name in _PROMPT_TENSORS if name in options}
            injected = self.embed(input_ids, **tensors, padding_side="left")
            options |= {"inputs_embeds": injected.inputs_embeds, "attention_mask": injected.attention_mask}
        text = self.config.text_config
        options = {"pad_token_id": text.pad_token_id, "eos_token_id": text.eos_token_id, "do_sample": False} | options
        return super().generate(**options)

    def _shown_images(self, input_ids: Tensor, features: Tensor) -> Tensor:
        """The features of the images that have a placeholder: with one image per row, text rows' are left out."""
        shown = (input_ids == self.config.image_token_id).sum(dim=1)
        if len(features) == len(input_ids) and int(shown.sum()) < len(features) and int(shown.max()) <= 1:
            return features[shown.bool()]
        return features

    def _loss(self, hidden: Tensor, labels: Tensor) -> Tensor:
        """Mean cross entropy of the next token over supervised positions: hidden [b, t, d], labels [b, t] -> []."""
        targets = labels[:, 1:]
        supervised = targets != IGNORED_LABEL
        logits = self.language_model.lm_head(hidden[:, :-1][supervised])
        total = F.cross_entropy(logits.float(), targets[supervised], reduction="sum")
        loss = total / supervised.sum().clamp(min=1)
        if self.training:
            # With several processes each must hold a gradient for every trained weight, also where its share of the
            # batch has no image or no region, and for what of the tower lies above the features.
            loss = loss + 0.0 * sum(weight.sum() for weight in self._multimodal_weights())
        return loss

    def _multimodal_weights(self) -> list[Tensor]:
        modules = (self.vision_tower, self.projector, self.region_sampler)
        weights = [weight for module in modules if module is not None for weight in module.parameters()]
        if self.image_positions is not None:
            weights.append(self.image_positions)
        return [weight for weight in weights if weight.requires_grad]


def grid_waves(grid: int, width: int) -> Tensor:
    """[grid * grid, width]: sines and cosines of a patch's row and column (the 2-D form of Vaswani et al. 2017).

    Half the width is for rows, half for columns; wavelengths run from two patches to four times the grid.
    """
    wavelengths = 2 * torch.logspace(0, 1, width // 4, base=2 * grid)
    angles = 2 * torch.pi * (torch.arange(grid)[:, None] + 0.5) / wavelengths  # [grid, width / 4]
    axis = torch.cat((angles.sin(), angles.cos()), dim=1)
    rows, columns = axis[:, None].expand(-1, grid, -1), axis[None].expand(grid, -1, -1)
    return 0.5 * torch.cat((rows, columns), dim=-1).flatten(0, 1)


_PROMPT_TENSORS = (
    "pixel_values",
    "vision_features",
    "region_points",
    "region_images",
    "region_starts",
    "region_counts",
    "attention_mask",
)
