"""From sentences to the network's tensors, and from its tokens back to sentences."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from koine.errors import InputError
from koine.sentence import Example, Image, Region, Reply, Sentence
from koine.systems.ferret.batches import DrawOptions, EncodedExample, FerretBatch, PackedExamples, normalize
from koine.systems.ferret.config import FerretConfig
from koine.systems.ferret.parsing import read_answer
from koine.systems.ferret.prompt import (
    IMAGE_MARK,
    REGION_TOKEN,
    Turn,
    check_unreserved,
    load_tokenizer,
    tokenize_conversation,
    with_region_token,
    write_region,
)
from koine.systems.ferret.regions import RegionPixels, pixels_of_region

History = Sequence[tuple[Sentence, Sentence]]


class FerretProcessor:
    """Writes sentences as token rows, images as pixels and regions as points, as the config's model expects them.

    Args:
        tokenizer: a LLaMA tokenizer; `<region_fea>` is added to it if missing.
    Raises:
        InputError: the tokenizer doesn't belong to the config.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, config: FerretConfig) -> None:
        self.tokenizer = with_region_token(tokenizer)
        self.config = config
        region_id = int(tokenizer.convert_tokens_to_ids(REGION_TOKEN))  # type: ignore[arg-type]
        if config.region_features != "none" and region_id != config.region_token_id:
            raise InputError(
                f"the tokenizer gives {REGION_TOKEN} the id {region_id} but the model expects "
                f"{config.region_token_id}: give the tokenizer that belongs to the weights"
            )
        if len(tokenizer) > config.text_config.vocab_size + (config.region_features == "none"):
            raise InputError(
                f"the tokenizer has {len(tokenizer)} tokens but the model knows {config.text_config.vocab_size}: "
                "give the tokenizer that belongs to the weights"
            )
        with_sampler = config.region_features == "sampler"
        self.drawing = DrawOptions(
            points=config.sampler_points,
            anchors=tuple(config.sampler_anchors) if with_sampler else (),
            pixel_offset=0.5 if config.region_alignment == "centers" else 0.0,
        )
        self._latest: tuple[Image, NDArray[np.uint8]] | None = None

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str], config: FerretConfig) -> FerretProcessor:
        """The processor of the model in that folder, which must hold `tokenizer.model`."""
        return cls(load_tokenizer(folder), config)

    def resize(self, image: Image) -> NDArray[np.uint8]:
        """[size, size, 3] uint8: the whole image squeezed into the tower's square, bicubic, aspect ratio not kept."""
        # The questions about one image usually come one after another and share its pixels.
        if self._latest is None or self._latest[0] is not image:
            size = self.config.image_size
            pixels = image.pixels
            if pixels.shape[:2] != (size, size):
                resized = PIL.Image.fromarray(pixels).resize((size, size), PIL.Image.Resampling.BICUBIC)
                pixels = np.asarray(resized)
            self._latest = (image, np.array(pixels))
        return self._latest[1]

    def pixel_values(self, images: Sequence[Image]) -> Tensor:
        """[images, 3, size, size] float32, as `FerretForConditionalGeneration.encode_images` takes them."""
        return normalize(torch.from_numpy(np.stack([self.resize(image) for image in images])))

    def encode(self, example: Example, regions: Sequence[RegionPixels] | None = None) -> EncodedExample:
        """An exercise with its answer; every answer of the conversation is to be learnt.

        Args:
            regions: the pixels of the questions' regions in order, where more is known of them than the example
                says (see `records.training_regions`).
        """
        return self._encode([*example.history, (example.prompt, example.target)], regions)

    def encode_prompt(self, prompt: Sentence, history: History = ()) -> EncodedExample:
        """A question that waits for its answer."""
        return self._encode([*history, (prompt, None)])

    def pack(self, examples: Sequence[EncodedExample]) -> PackedExamples:
        """Encoded examples side by side, from which training draws its batches."""
        return PackedExamples.pack(examples, self.drawing, self._padding_id)

    def collate(self, examples: Sequence[EncodedExample], randomness: torch.Generator | int = 0) -> FerretBatch:
        """One batch of encoded examples; see `PackedExamples.batch`."""
        return self.pack(examples).batch(torch.arange(len(examples)), randomness)

    def batch(
        self, examples: Sequence[Example], *, training: bool, randomness: torch.Generator | int = 0
    ) -> FerretBatch:
        """One batch of examples: with their answers for training, without for evaluation."""
        if training:
            return self.collate([self.encode(example) for example in examples], randomness)
        return self.collate([self.encode_prompt(example.prompt, example.history) for example in examples], randomness)

    def decode(self, ids: list[int] | Tensor, image: Image | None = None) -> Reply:
        """What the model wrote, as a sentence: text, and each box in it as a `Region` of the image.

        `details["raw"]` is the text as written; `details["phrases"]` has a (phrase, box in pixels) for each box.
        """
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        return read_answer(str(text).strip(), image, self.config.coordinate_bins)

    @property
    def _padding_id(self) -> int:
        return int(self.config.text_config.pad_token_id or 0)

    def encode_turns(
        self, turns: Sequence[Turn], image: Image | None, regions: Sequence[RegionPixels] = ()
    ) -> EncodedExample:
        """A conversation whose text is in template form already: `<image>` and `<region_fea>` where they belong.

        Args:
            regions: one for each `<region_fea>`, in order.
        Raises:
            InputError: a question that waits for its answer is longer than the model reads.
        """
        ids, labels = tokenize_conversation(
            turns, self.config.system_prompt, self.tokenizer, self.config.image_token_id
        )
        limit = self.config.max_text_tokens
        if len(ids) > limit and turns[-1].answer is None:
            raise InputError(
                f"the question with its history has {len(ids)} tokens but Ferret reads at most {limit}: shorten it"
            )
        ids, labels = ids[:limit], labels[:limit]
        # A conversation cut short loses the regions behind the cut, too.
        kept = tuple(regions[: ids.count(self.config.region_token_id)])
        pixels = None if image is None else self.resize(image)
        return EncodedExample(np.array(ids, dtype=np.int64), np.array(labels, dtype=np.int64), pixels, kept)

    def _encode(
        self, exchanges: Sequence[tuple[Sentence, Sentence | None]], regions: Sequence[RegionPixels] | None = None
    ) -> EncodedExample:
        image = image_of(*(part for exchange in exchanges for part in exchange if part is not None))
        turns = [
            Turn(self._write(question, as_question=True), None if answer is None else self._write(answer))
            for question, answer in exchanges
        ]
        if image is not None:
            turns[0] = Turn(f"{IMAGE_MARK}\n{turns[0].question}", turns[0].answer)
        if regions is None:
            asked = (region for question, _ in exchanges for region in question.regions)
            regions = [pixels_of_region(region, self.config.point_reach(region.image.size)) for region in asked]
        return self.encode_turns(turns, image, regions if self.config.region_features != "none" else ())

    def _write(self, sentence: Sentence, *, as_question: bool = False) -> str:
        """A sentence as template text; images are left out, for they stand at the beginning of the conversation."""
        written = write_sentence(sentence, self._question_region if as_question else self._answer_region)
        if as_question and not written:
            raise InputError("the question is empty: say what you want to know")
        return written

    def _question_region(self, region: Region) -> str:
        parts = [write_region(region, self.config.coordinate_bins)] if self.config.region_coordinates else []
        return " ".join(parts + [REGION_TOKEN] * (self.config.region_features != "none"))

    def _answer_region(self, region: Region) -> str:
        return write_region(region, self.config.coordinate_bins) if self.config.region_coordinates else ""


def write_sentence(sentence: Sentence, write: Callable[[Region], str]) -> str:
    """The text of a sentence with its regions written by `write`, one space between them and the words around.

    Raises:
        InputError: a part that is neither text, image nor region, or text with the template's own marks.
    """
    text = ""
    after_region = False
    for part in sentence:
        if isinstance(part, Image):
            continue
        if isinstance(part, Region):
            written = write(part)
            text += (" " if text and not text[-1].isspace() and text[-1] not in "([" else "") + written
            after_region = True
        elif isinstance(part, str):
            check_unreserved(part)
            text += (" " if after_region and part[:1].isalnum() else "") + part
            after_region = after_region and not part
        else:
            raise InputError(
                f"Ferret reads text, images and regions, not {type(part).__name__}: leave it out of the sentence"
            )
    return text.strip()


def image_of(*sentences: Sentence) -> Image | None:
    """The one image that the sentences show or point into; None if they are text only.

    Raises:
        InputError: they are about more than one image.
    """
    found: Image | None = None
    for sentence in sentences:
        for part in sentence:
            image = part.image if isinstance(part, Region) else part
            if not isinstance(image, Image) or image is found:
                continue
            if found is not None and image != found:
                raise InputError(
                    f"the sentence is about more than one image ({found!r} and {image!r}): Ferret looks at one at a "
                    "time"
                )
            found = found or image
    return found
