"""SPAE as its users hold it: pictures become words, words become pictures, and a language model reads them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from torch import Tensor

from koine.errors import InputError
from koine.foundations.language_model import IN_CONTEXT_WEIGHTS, load_language_model
from koine.foundations.tokenizer import FILE, load_tokenizer
from koine.sentence import Image, Part, Reply, Sentence
from koine.systems.spae.episodes import DIALOGUE, Episode, Piece, Wording, prompt
from koine.systems.spae.generation import (
    CORRUPTIONS,
    InContextPair,
    Schedule,
    corrupt,
    decode_progressively,
    denoise,
)
from koine.systems.spae.in_context import InContextModel
from koine.systems.spae.model import SpaeModel
from koine.systems.spae.processor import SpaeProcessor
from koine.systems.spae.weights import NANO_WEIGHTS, load_folder

_TEXT_LAYERS = 3
"""Layers whose words are the text of a reply (21 words); `details["layers"]` has all."""


@dataclass(frozen=True)
class Spelling:
    """Pictures as codes.

    Attributes:
        tokens: for each layer long [pictures, h_l, w_l].
        flat: all of them, [pictures, n].
    """

    tokens: tuple[Tensor, ...]
    flat: Tensor


class Spae:
    """Spells pictures in words and paints what words spell.

    Example:
        spae = koine.load("spae")
        reply = spae.respond(image)
        reply.text, reply.image
        spae.respond(reply.text).image                    # from the same words
        spae.respond(cube, "cube", ball, "ball", another).text  # a name, by a language model that sees words only
    """

    def __init__(
        self, model: SpaeModel, processor: SpaeProcessor, *, language_model: str | os.PathLike[str] | Any = "nano"
    ) -> None:
        """
        Args:
            language_model: what reads the words: "nano", a folder or hub id, or an `InContextModel`.
        """
        self.model = model
        self.processor = processor
        self._language_model = language_model

    @classmethod
    def load(
        cls,
        weights: str | os.PathLike[str] = "nano",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        language_model: str | os.PathLike[str] = "nano",
    ) -> Self:
        """
        Args:
            weights: "nano", or a folder that `koine train` wrote.
            device: by default the CPU.
            dtype: by default float32.
            language_model: see `__init__`.
        Raises:
            InputError: there are no such weights, they are damaged, or another model's.
        """
        if weights == "nano" and not NANO_WEIGHTS.is_dir():
            raise InputError("SPAE's nano weights are not installed: make them with `make nano`, or name a folder")
        folder = NANO_WEIGHTS if weights == "nano" else Path(weights).expanduser()
        model = load_folder(folder, device=device, dtype=dtype)
        if model.config.codebook == "learnt":
            raise InputError(f"{folder} holds a network with a learnt codebook, which spells no words: use its model")
        return cls(model, processor_of(model, read_tokenizer(folder)), language_model=language_model)

    @cached_property
    def language_model(self) -> InContextModel:
        """The frozen language model, loaded when it is first needed, to where the network is.

        Raises:
            InputError: it isn't there, its tokens are others than those of the codebook, or its table lacks some.
        """
        given = self._language_model
        if isinstance(given, InContextModel):
            found = given
        else:
            found = read_language_model(given)
            found.model.to(self.model.device)
        theirs = found.tokenizer.convert_ids_to_tokens(self.model.token_ids.tolist())
        ours = self.processor.tokenizer.convert_ids_to_tokens(self.model.token_ids.tolist())
        if theirs != ours:
            raise InputError(
                "the language model has other tokens than the codebook was made of: give the one SPAE was trained with"
            )
        rows, last = found.model.get_input_embeddings().num_embeddings, int(self.model.token_ids.max())
        if rows <= last:
            raise InputError(
                f"the language model's table has {rows} rows, but a word of the codebook is token {last}: give the one "
                "that the tokenizer belongs to"
            )
        return found

    def respond(
        self, *parts: Part | Sentence, layers: int | None = None, wording: Wording = DIALOGUE, seed: int = 0
    ) -> Reply:
        """Spells a picture, paints a text of words, or names a picture by examples.

        Args:
            parts: one picture; or words, as many as end with a layer; or pictures with a name behind each, and the
                one to be named at the end.
            layers: how many layers of words the picture is painted from, all by default; or a name is read from, 2 by
                default.
            wording: around the examples, for the language model.
            seed: without effect, since nothing is drawn.
        Returns:
            The words of the upper three layers and the picture painted from all; `details["layers"]` has the words of
            each layer. Or the picture that the words spell. Or a name, and in `details["layers"]` the words that it was
            read from.
        Raises:
            InputError: parts of another kind or order, an unknown word, a number of words that ends within a layer, or
                more layers than there are.
        """
        sentence = Sentence(*parts)
        if others := [part for part in sentence if not isinstance(part, str | Image)]:
            raise InputError(
                f"SPAE reads pictures and words, not a part of kind {type(others[0]).__name__}: leave it out"
            )
        pictures = [part for part in sentence if isinstance(part, Image)]
        text = " ".join(part for part in sentence if isinstance(part, str)).strip()
        if not pictures:
            if not text:
                raise InputError("there is nothing to spell or to paint: give a picture, or words")
            return self._painted(text, layers)
        if len(pictures) == 1:
            if text:
                raise InputError(
                    f"one picture with the text {text[:40]!r}: give the picture alone to spell it, or examples with "
                    "names before it to have it named"
                )
            return self._spelt(pictures[0], layers)
        return self._named(sentence, 2 if layers is None else layers, wording)

    @torch.inference_mode()
    def spell(self, images: Sequence[Image], *, batch_size: int = 64) -> Spelling:
        """The words of pictures, as codes on the CPU."""
        found = []
        for begin in range(0, len(images), batch_size):
            pixels = self.processor.pixel_values(images[begin : begin + batch_size]).to(self._like)
            found.append([part.cpu() for part in self.model.quantize(self.model.encode(pixels)).tokens])
        if not found:
            raise InputError("there is no picture to spell: give at least one")
        tokens = tuple(torch.cat(parts) for parts in zip(*found, strict=True))
        return Spelling(tokens, torch.cat([part.flatten(1) for part in tokens], dim=1))

    @torch.inference_mode()
    def paint(self, tokens: Sequence[Tensor], *, size: tuple[int, int] | None = None) -> list[Image]:
        """The pictures of the codes [pictures, h_l, w_l] of the first layers, brought to `size` (width, height)."""
        codes = [part.to(self.model.device) for part in tokens]
        return [self.processor.image(pixels, size) for pixels in self.model.pixels_of_codes(codes)]

    def prompts(
        self, episodes: Sequence[Episode], spelling: Spelling, *, layers: int, induction: bool, wording: Wording
    ) -> list[list[Piece]]:
        """What the language model reads of each episode about the pictures of `spelling`.

        Raises:
            InputError: there are not so many layers.
        """
        words = self._language_tokens(spelling.flat[:, : self.processor.pyramid.length(layers)])
        return [prompt(episode, words, induction=induction, wording=wording) for episode in episodes]

    def classify(
        self,
        episodes: Sequence[Episode],
        spelling: Spelling,
        *,
        layers: int = 2,
        induction: bool = True,
        wording: Wording = DIALOGUE,
    ) -> list[str]:
        """What the language model calls the query of each episode (section 4.1 of the paper).

        Args:
            layers: whose words it reads: 2 are 5 words, 3 are 21.
            induction: name the classes first, and let it write these names only.
        """
        prompts = self.prompts(episodes, spelling, layers=layers, induction=induction, wording=wording)
        return self.language_model.name(prompts, [episode.names for episode in episodes] if induction else None)

    def generate(
        self,
        examples: Sequence[tuple[str | Image, Image]],
        condition: str | Image,
        *,
        layers: int | None = None,
        schedule: Schedule | None = None,
        wording: Wording = DIALOGUE,
    ) -> Reply:
        """A picture for `condition`, written by the language model after examples (section 3.4 of the paper).

        Args:
            examples: (condition, picture) pairs; conditions are texts, or pictures of which the upper layers are shown.
            layers: how many to write; all by default.
        Raises:
            InputError: no examples, more layers than there are, or prompts that don't fit the language model.
        """
        if not examples:
            raise InputError("there is no example to write a picture after: give pairs of a condition and a picture")
        spelling = self.spell([picture for _, picture in examples])
        pairs = [
            InContextPair(self._condition(given), codes)
            for (given, _), codes in zip(examples, spelling.flat, strict=True)
        ]
        flat = decode_progressively(
            self.language_model,
            pairs,
            self._condition(condition),
            self.processor.pyramid,
            self.model.token_ids.cpu(),
            layers=layers,
            schedule=schedule,
            wording=wording,
        )
        return self._written(flat)

    def denoise(
        self,
        query: Image,
        examples: Sequence[Image],
        *,
        shares: Sequence[float] = CORRUPTIONS,
        layers: int | None = None,
        schedule: Schedule | None = None,
        wording: Wording = DIALOGUE,
        seed: int = 0,
    ) -> Reply:
        """A picture whose finer words the language model writes anew, after pictures that lost some of theirs.

        In-context denoising (section 3.4 of the paper). The coarse words stay, of examples and query alike.

        Args:
            query: the picture to mend: noisy, blurred, with a part painted over.
            examples: clean pictures, such as variants of one; they are shown in turn, one for each of `shares`.
            shares: of the words of each shown picture that are replaced by any others on the left side of its pair.
            layers: how many to write; all by default.
            seed: of the replacements.
        Raises:
            InputError: no examples or shares, shares beyond 0 to 1, more layers than there are, or prompts that don't
                fit the language model.
        """
        if not examples or not shares:
            raise InputError(
                f"{len(examples)} pictures and {len(shares)} shares show nothing: give one of each at least"
            )
        if not all(0 <= share <= 1 for share in shares):
            raise InputError(f"shares of words {list(shares)}: give numbers from 0 to 1")
        schedule = schedule or Schedule()
        length, generator = self.processor.pyramid.length(layers), torch.Generator().manual_seed(seed)
        *clean, noisy = self.spell([*examples, query]).flat[:, :length]
        shown = [clean[place % len(clean)] for place in range(len(shares))]
        size = len(self.model.token_ids)
        corrupted = [
            corrupt(codes, share, size, generator, keep=schedule.one_by_one)
            for codes, share in zip(shown, shares, strict=True)
        ]
        flat = denoise(
            self.language_model,
            shown,
            corrupted,
            noisy,
            self.model.token_ids.cpu(),
            schedule=schedule,
            wording=wording,
        )
        return self._written(torch.cat([noisy[: schedule.one_by_one], flat[schedule.one_by_one :]]))

    def _written(self, flat: Tensor) -> Reply:
        """The picture of codes [n] of whole layers, with their words."""
        tokens = self.processor.pyramid.split(flat[None])
        words = self.processor.words_of([part[0] for part in tokens])
        picture = self.paint(tokens)[0]
        return Reply(Sentence(" ".join(_joined(words[:_TEXT_LAYERS])), picture), details={"layers": words})

    @property
    def _like(self) -> Tensor:
        """A tensor of the network's device and number type."""
        return self.model.decoder.conv_in.weight

    def _spelt(self, image: Image, layers: int | None) -> Reply:
        self.processor.pyramid.length(layers)  # says so if there are not so many
        tokens = self.spell([image]).tokens
        words = self.processor.words_of([part[0] for part in tokens])
        picture = self.paint(tokens[:layers], size=image.size)[0]
        text = " ".join(_joined(words[: min(layers or _TEXT_LAYERS, _TEXT_LAYERS)]))
        return Reply(Sentence(text, picture), details={"layers": words, "words": len(_joined(words))})

    def _painted(self, text: str, layers: int | None) -> Reply:
        tokens = self.processor.codes_of(text)
        if layers is not None and not 0 < layers <= len(tokens):
            raise InputError(f"layers = {layers} of words that spell {len(tokens)}: give 1 to {len(tokens)}")
        words = self.processor.words_of([part[0] for part in tokens])
        return Reply(Sentence(self.paint(tokens[:layers])[0]), details={"layers": words})

    def _named(self, sentence: Sentence, layers: int, wording: Wording) -> Reply:
        *shown, query = _examples(sentence)
        if query[1] or any(not name for _, name in shown):
            raise InputError(
                "examples are pictures with a name behind each, and the last picture has none: give cube.jpg, 'cube', "
                "ball.jpg, 'ball', unknown.jpg"
            )
        names = tuple(dict.fromkeys(name for _, name in shown))
        shots = tuple((place, name) for place, (_, name) in enumerate(shown))
        episode = Episode(names, shots, query=len(shown), answer="")
        spelling = self.spell([picture for picture, _ in (*shown, query)])
        induction = len(names) > 1
        name = self.classify([episode], spelling, layers=layers, induction=induction, wording=wording)[0]
        tokens = [part[-1] for part in spelling.tokens[:layers]]
        return Reply(Sentence(name), details={"names": list(names), "layers": self.processor.words_of(tokens)})

    def _language_tokens(self, flat: Tensor) -> list[list[int]]:
        """Codes [pictures, n] as rows of the language model's tokens."""
        rows: list[list[int]] = self.model.token_ids.cpu()[flat].tolist()
        return rows

    def _condition(self, given: str | Image) -> list[Piece]:
        if isinstance(given, str):
            return [given]
        upper = self.processor.pyramid.lengths[min(_TEXT_LAYERS, len(self.processor.pyramid.layers)) - 1]
        return [self._language_tokens(self.spell([given]).flat[:, :upper])[0]]


def read_tokenizer(source: str | os.PathLike[str]) -> Any:
    """The tokenizer of a folder, the nano one's file or any of transformers', or of a hub id.

    Raises:
        InputError: there is none.
    """
    folder = Path(source)
    if (folder / FILE).is_file() and not (folder / "tokenizer_config.json").is_file():
        return load_tokenizer(folder)
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise InputError(f"{source} has no tokenizer of the language model: put its files there") from error


def processor_of(model: SpaeModel, tokenizer: Any) -> SpaeProcessor:
    """The processor that belongs to a model with a frozen codebook."""
    config = model.config
    return SpaeProcessor(
        tokenizer, image_size=config.image_size, token_ids=model.token_ids.tolist(), pyramid=config.layers
    )


def read_language_model(source: str | os.PathLike[str]) -> InContextModel:
    """The nano language model that learns in context, or any causal one of transformers by its folder or hub id.

    Raises:
        InputError: there is no such model, it is quantised by a package that isn't here, or its files are damaged.
    """
    if source == "nano":
        return InContextModel(*load_language_model(IN_CONTEXT_WEIGHTS))
    from transformers import AutoModelForCausalLM

    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(source, output_loading_info=True)
    except (SafetensorError, ImportError, OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            f"there is no causal language model to be read at {source} ({reason}): give a folder or hub id of one that "
            "isn't quantised"
        ) from error
    model, report = loaded
    if missing := sorted(report["missing_keys"]):
        # transformers draws what is missing at random and only logs it: words of such a table would mean nothing.
        raise InputError(f"the language model at {source} lacks {missing[0]}: get its files again")
    return InContextModel(model, read_tokenizer(source))


def _joined(layers: Sequence[Sequence[str]]) -> list[str]:
    return [word for layer in layers for word in layer]


def _examples(sentence: Sentence) -> list[tuple[Image, str]]:
    """Each picture with the text behind it."""
    found: list[tuple[Image, str]] = []
    for part in sentence:
        if isinstance(part, Image):
            found.append((part, ""))
        elif isinstance(part, str) and part.strip():
            if not found:
                raise InputError(f"the text {part[:40]!r} stands before the first picture: put names behind pictures")
            picture, name = found[-1]
            found[-1] = (picture, f"{name} {part.strip()}".strip())
    return found
