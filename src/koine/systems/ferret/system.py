"""Ferret as its users hold it: sentences in, sentences out."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from koine.errors import InputError
from koine.sentence import Part, Reply, Sentence
from koine.systems.ferret.batches import EncodedExample, normalize
from koine.systems.ferret.checkpoint import locate
from koine.systems.ferret.model import FerretForConditionalGeneration
from koine.systems.ferret.processor import FerretProcessor, History, image_of
from koine.systems.ferret.weights import NANO_WEIGHTS, load_folder

# Features of so many different images are kept, so that further questions about them skip the vision tower.
_REMEMBERED_IMAGES = 64


class Ferret:
    """Answers questions about regions of an image, and puts boxes to its own words.

    Example:
        ferret = koine.load("ferret")
        reply = ferret.respond("What is ", Region.scribble(image, mask), "for?")
        reply.text, reply.regions
    """

    def __init__(self, model: FerretForConditionalGeneration, processor: FerretProcessor) -> None:
        self.model = model
        self.processor = processor
        self._features: OrderedDict[bytes, Tensor] = OrderedDict()

    @classmethod
    def load(
        cls,
        weights: str | os.PathLike[str] = "nano",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Self:
        """
        Args:
            weights: "nano", a folder that `koine train` or `koine convert ferret` wrote, or a hub id of such a folder.
            device: by default the CPU.
            dtype: by default as stored.
        Raises:
            InputError: there are no such weights, they are damaged, or another model's.
        """
        if weights == "nano" and not NANO_WEIGHTS.is_dir():
            raise InputError("Ferret's nano weights are not installed: make them with `make nano`, or name a folder")
        folder = NANO_WEIGHTS if weights == "nano" else locate(weights)
        model = load_folder(folder, device=device, dtype=dtype)
        return cls(model, FerretProcessor.from_pretrained(folder, model.config))

    def respond(
        self,
        *parts: Part | Sentence,
        history: History = (),
        max_new_tokens: int | None = None,
        seed: int = 0,
        temperature: float = 0.0,
    ) -> Reply:
        """Answers the sentence made of these parts.

        Args:
            parts: text, one image, and regions of it; a region brings its image along.
            history: earlier (question, answer) pairs about the same image.
            max_new_tokens: where an answer is cut off; by default at the config's `longest_answer`.
            seed: of the points drawn from the regions, and of sampling.
            temperature: 0 takes the likeliest token each time; above, tokens are drawn.
        Returns:
            The answer, each box in it as a `Region`; `details["raw"]` is the text as written, `details["phrases"]`
            lists (words, (x0, y0, x1, y1) in pixels).
        Raises:
            InputError: parts that Ferret can't read, more than one image, or nothing asked.
        """
        return self.respond_batch(
            [Sentence(*parts)],
            histories=[history],
            max_new_tokens=max_new_tokens,
            seed=seed,
            temperature=temperature,
        )[0]

    @torch.inference_mode()
    def respond_batch(
        self,
        prompts: Sequence[Sentence],
        *,
        histories: Sequence[History] | None = None,
        max_new_tokens: int | None = None,
        seed: int = 0,
        temperature: float = 0.0,
        batch_size: int = 32,
    ) -> list[Reply]:
        """Answers many sentences; at temperature 0 as `respond` answers each alone with the same seed.

        Args:
            histories: one for each prompt.
            batch_size: sentences that go through the network together.
        Raises:
            InputError: as `respond`, or there are not as many histories as prompts.
        """
        longest = self.model.config.longest_answer if max_new_tokens is None else max_new_tokens
        _check_options(longest, temperature, batch_size)
        histories = [()] * len(prompts) if histories is None else histories
        if len(histories) != len(prompts):
            raise InputError(
                f"there are {len(histories)} histories for {len(prompts)} prompts: give one for each, empty where "
                "nothing was said before"
            )
        asked = list(zip(prompts, histories, strict=True))
        images = [image_of(prompt, *(side for pair in history for side in pair)) for prompt, history in asked]
        encoded = [self.processor.encode_prompt(prompt, history) for prompt, history in asked]
        sampling: dict[str, Any] = {"do_sample": True, "temperature": temperature} if temperature else {}
        # Rows of about the same length waste least on padding.
        order = sorted(range(len(encoded)), key=lambda number: len(encoded[number].input_ids))
        replies: dict[int, Reply] = {}
        self.model.eval()
        with torch.random.fork_rng(enabled=bool(sampling)):
            if sampling:
                torch.manual_seed(seed)  # transformers draws from the global generator, which fork_rng puts back
            for begin in range(0, len(order), batch_size):
                numbers = order[begin : begin + batch_size]
                tensors = self._batch([encoded[number] for number in numbers], seed)
                written = self.model.generate(**tensors, **sampling, max_new_tokens=longest)
                for number, ids in zip(numbers, written.cpu(), strict=True):
                    replies[number] = self.processor.decode(ids, images[number])
        return [replies[number] for number in range(len(encoded))]

    def _batch(self, encoded: Sequence[EncodedExample], seed: int) -> dict[str, Tensor]:
        """The tensors of prompts, with the images' features in place of their pixels."""
        packed = self.processor.pack(encoded)
        packed.vision_features = self._encode_images(packed.images)
        batch = packed.batch(torch.arange(len(encoded)), seed)
        return batch.to(self.model.device).prompt_tensors()

    def _encode_images(self, images: Tensor) -> Tensor | None:
        """Features [images, tokens, width] of uint8 [images, size, size, 3]; those seen lately are remembered."""
        if not len(images):
            return None
        keys = [hashlib.blake2b(image.numpy().tobytes(), digest_size=16).digest() for image in images]
        kind = self.model.vision_tower.dtype  # the model may have been cast since
        known = {key: found for key in keys if (found := self._features.get(key)) is not None and found.dtype == kind}
        new = {key: place for place, key in enumerate(keys) if key not in known}
        if new:
            pixels = normalize(images[list(new.values())]).to(self.model.device)
            known |= zip(new, self.model.encode_images(pixels).cpu(), strict=True)
        for key in keys:
            self._features[key] = known[key]
            self._features.move_to_end(key)
        while len(self._features) > _REMEMBERED_IMAGES:
            self._features.popitem(last=False)
        return torch.stack([known[key] for key in keys])


def _check_options(max_new_tokens: int, temperature: float, batch_size: int) -> None:
    for name, value, least in (
        ("max_new_tokens", max_new_tokens, 1),
        ("temperature", temperature, 0),
        ("batch_size", batch_size, 1),
    ):
        if value < least:
            raise InputError(f"{name} is {value}: give at least {least}")
