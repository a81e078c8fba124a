"""VQ-VAE as its users hold it: a picture or sound to codes and back, and new ones from the prior."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from koine.errors import InputError
from koine.sentence import Audio, Image, Part, Reply, Sentence
from koine.systems.vqvae.likelihood import NATS_PER_BIT, bits_per_dim, fitted_deviation, gaussian_bits, uniform_bits
from koine.systems.vqvae.model import VQVAEModel
from koine.systems.vqvae.processor import VQVAEProcessor, psnr, request_of, snr, to_levels
from koine.systems.vqvae.sampling import SamplingOptions
from koine.systems.vqvae.text_encoder import TextEncoder
from koine.systems.vqvae.weights import NANO_WEIGHTS, load_folder

GUIDANCE = 3.0
"""How closely words are followed by default: with the nano prior more drawings show what was asked for than at 1."""
CANDIDATES = 4
"""Drawings among which a model that has a classifier of codes chooses by default."""


class VQVAE:
    """Turns pictures into grids of discrete codes and back, and draws new ones from a prior over the codes.

    With weights of signals it does all this with sounds.

    Example:
        vqvae = koine.load("vqvae")
        vqvae.respond(image).image  # its reconstruction
        vqvae.sample(4, "a red cube")  # four new pictures
    """

    def __init__(self, model: VQVAEModel, processor: VQVAEProcessor) -> None:
        self.model = model
        self.processor = processor

    @classmethod
    def load(
        cls,
        weights: str | os.PathLike[str] = "nano",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Self:
        """
        Args:
            weights: "nano", a folder that `koine train` or `koine convert vqvae` wrote, or a hub id of such a folder.
            device: by default the CPU.
            dtype: by default float32.
        Raises:
            InputError: there are no such weights, they are damaged, or another model's.
        """
        if weights == "nano" and not NANO_WEIGHTS.is_dir():
            raise InputError("VQ-VAE's nano weights are not installed: make them with `make nano`, or name a folder")
        model = load_folder(NANO_WEIGHTS if weights == "nano" else weights, device=device, dtype=dtype)
        return cls(model, VQVAEProcessor(model.config))

    def respond(
        self,
        *parts: Part | Sentence,
        samples: int = 1,
        seed: int = 0,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        guidance: float = GUIDANCE,
        candidates: int | None = None,
    ) -> Reply:
        """Rebuilds a picture, or with a model of signals a sound, from its codes, or draws new ones.

        Args:
            parts: one picture or sound; or words for what a new one is to show, or nothing at all.
            samples: how many new ones.
            seed: of what is drawn.
            temperature, top_k, top_p, guidance: see `SamplingOptions`.
            candidates: of so many drawings the fittest is kept, see there; by default of `CANDIDATES` if the model has
                a classifier of codes, else 1.
        Returns:
            For a picture: its reconstruction, of the same size unless it was shrunk (`VQVAEProcessor.encode`). In
            `details`: `codes`, for each level the rows of its grid; `psnr` in decibels; `bits` of all codes at
            log2 K each; and if the model has a prior, `prior_bits` under it, and `bits_per_dim` of the picture,
            whose Gaussian pixels have the deviation that fits this picture best. For a sound the same, at the rate that
            the model was trained on, with `snr` in place of `psnr` and without `bits_per_dim`. Else the new pictures or
            sounds, and their `codes`.
        Raises:
            InputError: parts that aren't pictures, sounds or words, more than one of the former, one of them and
                words, or words that the prior doesn't know.
        """
        prompt = Sentence(*parts)
        if others := [part for part in prompt if not isinstance(part, str | Image | Audio)]:
            raise InputError(
                f"VQ-VAE reads a picture, a sound or words, not a part of kind {type(others[0]).__name__}: leave it out"
            )
        given = [part for part in prompt if isinstance(part, Image | Audio)]
        request = request_of([part for part in prompt if isinstance(part, str)])
        if len(given) > 1:
            raise InputError(f"{len(given)} pictures or sounds: VQ-VAE rebuilds one at a time")
        if given and request:
            raise InputError("a picture or sound is rebuilt and words are drawn: give one or the other")
        if given:
            return self._rebuilt(given[0]) if isinstance(given[0], Image) else self._heard(given[0])
        options = SamplingOptions(
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            guidance=guidance,
            candidates=self.candidates if candidates is None else candidates,
        )
        drawn, grids = self._drawn(samples, request, seed, options)
        return Reply(*drawn, details={"codes": [[grid.tolist() for grid in of_one] for of_one in grids]})

    def sample(
        self,
        count: int,
        condition: str = "",
        *,
        seed: int = 0,
        options: SamplingOptions | None = None,
        grid: Sequence[int] | None = None,
    ) -> list[Image] | list[Audio]:
        """New pictures from the prior; new sounds, if it is one of signals.

        Args:
            count: how many.
            condition: what they are to show, in words that the prior knows; the nano one knows a size, a colour and a
                shape, each of which may be left out. A prior that takes texts takes any.
            seed: the same seed draws the same.
            options: by default everything as the prior says, with `GUIDANCE` and this model's `candidates`.
            grid: rows and columns of the coarsest grid of codes, by default those that the prior learnt; for sounds
                the steps.
        Raises:
            InputError: the model has no prior, a word that it doesn't know, a grid that can't be drawn, or a model of
                signals that doesn't say their rate.
        """
        options = options or SamplingOptions(guidance=GUIDANCE, candidates=self.candidates)
        return self._drawn(count, condition, seed, options, grid)[0]

    @property
    def candidates(self) -> int:
        """Of how many drawings the fittest is kept by default."""
        return 1 if self.model.classifier is None else CANDIDATES

    def text_vectors(self, texts: Sequence[str]) -> Tensor:
        """What a prior that takes texts is told for each of them, [n, width].

        Raises:
            InputError: the text encoder that the model was trained with isn't there.
        """
        return self._text_encoder.embed_texts(texts).to(self.model.device, self.model.dtype)

    @torch.inference_mode()
    def encode(self, part: Image | Audio) -> list[Tensor]:
        """The grids of codes [rows, columns] long of a picture, coarse to fine, or those [steps] of a sound.

        Edges are padded as `respond` does.
        """
        given = self._samples(self.processor.at_rate(part)) if isinstance(part, Audio) else self._pixels(part)[0]
        return [grid[0].cpu() for grid in self.model.encode(given)]

    @torch.inference_mode()
    def decode(self, grids: Sequence[Tensor | Sequence[Sequence[int]] | Sequence[int]]) -> Image | Audio:
        """The picture or sound of grids of codes as `encode` gives them: tensors, or lists as in a reply's details.

        Raises:
            InputError: see `VQVAEModel.decode`; or rows of different lengths.
        """
        try:
            tensors = [torch.as_tensor(grid, device=self.model.device) for grid in grids]
        except (TypeError, ValueError) as error:
            raise InputError(f"a grid of codes isn't one ({error}): give rows of whole numbers, all as long") from error
        return self._made(self.model.decode([grid[None] for grid in tensors]))[0]

    def _made(self, decoded: Tensor) -> list[Image] | list[Audio]:
        """What the decoder made, as pictures or as sounds."""
        if self.model.config.dimensions == 2:
            return self.processor.decode(decoded)
        return self.processor.decode_sounds(decoded, self._rate)

    @property
    def _rate(self) -> int:
        """Of the sounds that the model makes by itself.

        Raises:
            InputError: it isn't known.
        """
        rate = self.model.config.sample_rate
        if rate is None:
            raise InputError("this VQ-VAE doesn't say at which rate its signals were taken: set config.sample_rate")
        return rate

    def _samples(self, sound: Audio) -> Tensor:
        return self.processor.encode_sound(sound).to(self.model.device, self.model.dtype)

    def _pixels(self, image: Image) -> tuple[Tensor, tuple[int, int]]:
        padded = self.processor.encode(image)
        return padded.pixels.to(self.model.device, self.model.dtype), padded.size

    @torch.inference_mode()
    def _rebuilt(self, image: Image) -> Reply:
        pixels, size = self._pixels(image)
        grids = self.model.encode(pixels)
        decoded = self.model.decode(grids)
        [rebuilt] = self.processor.decode(decoded, size)
        [original] = self.processor.decode(pixels, size)
        details = {"psnr": psnr(original.pixels, rebuilt.pixels), **self._coded(grids)}
        if len(self.model.priors):
            nats, (width, height) = self.model.prior_nats(grids), size
            levels, means = (
                to_levels(one.float(), self.model.config)[:, :, :height, :width] for one in (pixels, decoded)
            )
            levels = levels.round()  # as they were before the model's range
            pixel_bits = gaussian_bits(levels, means, fitted_deviation([levels], [means]))
            details["prior_bits"] = float(nats.sum()) / NATS_PER_BIT
            details["bits_per_dim"] = float(bits_per_dim(pixel_bits, nats))
        return Reply(rebuilt, details=details)

    @torch.inference_mode()
    def _heard(self, sound: Audio) -> Reply:
        sound = self.processor.at_rate(sound)
        grids = self.model.encode(self._samples(sound))
        [rebuilt] = self.processor.decode_sounds(self.model.decode(grids), sound.rate, len(sound.samples))
        details = {"snr": snr(sound.samples, rebuilt.samples), **self._coded(grids)}
        if len(self.model.priors):
            details["prior_bits"] = float(self.model.prior_nats(grids).sum()) / NATS_PER_BIT
        return Reply(rebuilt, details=details)

    def _coded(self, grids: Sequence[Tensor]) -> dict[str, Any]:
        """The codes of one picture or sound, and their bits if all are as likely."""
        bits = sum(grid.numel() for grid in grids) * uniform_bits(self.model.config.codes)
        return {"codes": [grid[0].tolist() for grid in grids], "bits": bits}

    def _drawn(
        self, count: int, request: str, seed: int, options: SamplingOptions, grid: Sequence[int] | None = None
    ) -> tuple[list[Image] | list[Audio], list[list[Tensor]]]:
        """New pictures or sounds and the grids of each."""
        if count < 1:
            raise InputError(f"{count} new pictures can't be drawn: give at least 1")
        classes = text = None
        if request and self.model.config.prior_text_width:
            text = self.text_vectors([request]).expand(count, -1)
        elif request:
            classes = self.processor.classes(request)
            classes = None if classes is None else classes.expand(count, -1).to(self.model.device)
        generator = torch.Generator().manual_seed(seed)
        conditions = {"classes": classes, "text": text}
        grids = self.model.sample(count, **conditions, options=options, generator=generator, grid=grid)
        with torch.inference_mode():
            made = self._made(self.model.decode(grids))
        return made, [list(of_one) for of_one in zip(*(grid.cpu() for grid in grids), strict=True)]

    @cached_property
    def _text_encoder(self) -> TextEncoder:
        """The CLIP whose text vectors the prior was conditioned on."""
        return TextEncoder.load(self.model.config.prior_text_encoder)
