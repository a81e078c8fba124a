"""BEiT-3 as its users hold it: sentences in, sentences out; what is done with one follows from its parts."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, TypeVar, get_args

import torch
from torch import Tensor

from koine.errors import InputError
from koine.registry import weights_folder
from koine.sentence import Image, Part, Reply, Sentence
from koine.systems.beit3.config import Head
from koine.systems.beit3.decoding import Decoding, write
from koine.systems.beit3.model import Beit3Model
from koine.systems.beit3.processor import Beit3Processor, Texts
from koine.systems.beit3.search import SearchIndex
from koine.systems.beit3.weights import load_folder

T = TypeVar("T")
Use = Literal["answer", "caption", "judge", "rank", "find", "classify"]
USES: tuple[Use, ...] = get_args(Use)
_HEAD_OF: dict[Use, Head] = {
    "answer": "vqa",
    "caption": "captioning",
    "judge": "nlvr2",
    "rank": "retrieval",
    "find": "retrieval",
    "classify": "classification",
}
_CAPTION_REQUEST = re.compile(r"\s*(describe|caption)\b[^?]*$", re.IGNORECASE)
_LIKELIEST = 5


class _Asked(NamedTuple):
    """What a sentence holds."""

    images: list[Image]
    texts: list[str]

    @property
    def text(self) -> str:
        return " ".join(self.texts)


class Beit3:
    """Answers questions about a picture, describes it, judges statements about two, and compares pictures with texts.

    Example:
        beit3 = koine.load("beit3")
        beit3.respond(image, "What colour is the cube?").text
        beit3.respond(image).text
        beit3.respond(left, right, "Both pictures show a ball.").text
        beit3.respond(image, "a red cube", "a blue ball").text
    """

    def __init__(self, model: Beit3Model, processor: Beit3Processor) -> None:
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
            weights: "nano", or a folder that `koine train` or `koine convert beit3` wrote.
            device: by default the CPU.
            dtype: by default float32.
        Raises:
            InputError: there are no such weights, they are damaged, or another model's.
        """
        folder = weights_folder("beit3") if weights == "nano" else Path(weights).expanduser()
        if not folder.is_dir():
            raise InputError(
                "BEiT-3's nano weights are not installed: make them with `make nano`, or name a folder"
                if weights == "nano"
                else f"there is no folder {folder} with weights: make one with `koine convert beit3`"
            )
        model = load_folder(folder, device=device, dtype=dtype)
        return cls(model, Beit3Processor.from_pretrained(folder, model.config))

    def respond(
        self,
        *parts: Part | Sentence,
        use: Use | None = None,
        beams: int | None = None,
        length_penalty: float | None = None,
        max_length: int = 64,
        seed: int = 0,
    ) -> Reply:
        """Does what the parts ask for.

        One picture and a question: the answer. One picture alone, or with a text that begins with "describe": a
        caption (or its class, if the weights can only classify). Two pictures and a statement: `true` or `false`. One
        picture and several texts: the texts, best first. More pictures and a text: the picture that fits.

        Args:
            use: what to do, where the parts leave a choice; by default as above.
            beams, length_penalty, max_length: of the search for a caption (`Decoding`); the first two by default as the
                configuration says.
            seed: without effect, since nothing is drawn.
        Returns:
            The answer; `details["use"]`, and by use `scores` (the likeliest answers or classes with probabilities),
            `probability` (that a statement is true), `similarities` (cosines), `index` (of the picture found), and
            `cut` (tokens lost) where a text was too long.
        Raises:
            InputError: the parts don't fit a use, the weights lack its head, or parts that BEiT-3 can't read.
        """
        return self.respond_batch(
            [Sentence(*parts)], use=use, beams=beams, length_penalty=length_penalty, max_length=max_length
        )[0]

    @torch.inference_mode()
    def respond_batch(
        self,
        prompts: Sequence[Sentence],
        *,
        use: Use | None = None,
        beams: int | None = None,
        length_penalty: float | None = None,
        max_length: int = 64,
        batch_size: int = 64,
    ) -> list[Reply]:
        """Does what each of many sentences asks for, as `respond` does it for one; those of one use go together.

        Args:
            batch_size: sentences that go through the network together.
        Raises:
            InputError: as `respond`, or a batch_size below 1.
        """
        decoding = self._decoding(beams, length_penalty, max_length)
        groups: dict[Use, list[tuple[int, _Asked]]] = {}
        for number, prompt in enumerate(prompts):
            images, texts = _images_and_texts(prompt)
            chosen = self._use(images, texts) if use is None else _checked(use)
            self.model.require(_HEAD_OF[chosen])
            groups.setdefault(chosen, []).append((number, _fitting(chosen, images, texts)))
        self.model.eval()
        replies: dict[int, Reply] = {}
        for chosen, group in groups.items():
            for part in _runs(group, batch_size):
                found = self._do(chosen, [asked for _, asked in part], decoding)
                for (number, _), reply in zip(part, found, strict=True):
                    reply.details["use"] = chosen
                    replies[number] = reply
        return [replies[number] for number in range(len(prompts))]

    @torch.inference_mode()
    def answers(self, questions: Sequence[tuple[Image, str]], *, batch_size: int = 64) -> list[str]:
        """The answer to each (picture, question)."""
        found: list[str] = []
        for part in _runs(questions, batch_size):
            replies = self._answer([image for image, _ in part], self._texts([text for _, text in part]))
            found += [reply.text for reply in replies]
        return found

    @torch.inference_mode()
    def captions(self, images: Sequence[Image], decoding: Decoding | None = None, *, batch_size: int = 64) -> list[str]:
        """A caption of each picture, searched for as the configuration says unless `decoding` does."""
        options = decoding or self._decoding()
        found: list[str] = []
        for part in _runs(images, batch_size):
            rows = write(self.model, self._pixels(part), options=options).ids.tolist()
            found += map(self.processor.decode, rows)
        return found

    @torch.inference_mode()
    def judgements(self, statements: Sequence[tuple[Image, Image, str]], *, batch_size: int = 64) -> list[float]:
        """The probability that each (left picture, right picture, statement) is true."""
        found: list[float] = []
        for part in _runs(statements, batch_size):
            replies = self._judge([pair for *pair, _ in part], self._texts([text for *_, text in part]))
            found += [reply.details["probability"] for reply in replies]
        return found

    @torch.inference_mode()
    def embed_images(self, images: Sequence[Image], *, batch_size: int = 64) -> Tensor:
        """Unit vectors float32 [images, width], on the CPU."""
        parts = [self.model.embed_images(self._pixels(part)).float().cpu() for part in _runs(images, batch_size)]
        return torch.cat(parts) if parts else torch.zeros(0, self.model.config.hidden_size)

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str], *, batch_size: int = 256) -> Tensor:
        """Unit vectors float32 [texts, width], on the CPU."""
        found = [self._embed(self._texts(part)) for part in _runs(texts, batch_size)]
        return torch.cat(found) if found else torch.zeros(0, self.model.config.hidden_size)

    @torch.inference_mode()
    def search(
        self, text: str, folder: str | os.PathLike[str], *, count: int = 5, cache: str | os.PathLike[str] | None = None
    ) -> Reply:
        """The pictures in a folder that fit a text best, the best first; their vectors are kept for the next time.

        Args:
            folder: its pictures and those of its folders.
            count: how many pictures to name.
            cache: where vectors are kept, see `SearchIndex`.
        Returns:
            The paths, each on a line; `details["found"]` lists (path, cosine), `details["pictures"]` counts the files
            that could be read, `details["encoded"]` the contents that had no vector yet, `details["skipped"]` lists
            the other files with the reason, and `details["cut"]` counts the tokens that a text lost as too long.
        Raises:
            InputError: a text without words; an empty folder, or one none of whose pictures can be read; or weights
                without retrieval.
        """
        self.model.require("retrieval")
        self.model.eval()
        if count < 1:
            raise InputError(f"count = {count} finds nothing: give at least 1")
        read = self._texts([text])
        index = SearchIndex.of_folder(folder, self.model, self.embed_images, cache=cache)
        found = index.nearest(self._embed(read)[0], count)
        lines = "\n".join(str(path) for path, _ in found)
        details = {
            "use": "search",
            "found": [[str(path), similarity] for path, similarity in found],
            "pictures": len(index.paths),
            "encoded": index.encoded,
            "skipped": [[str(path), reason] for path, reason in index.skipped],
            **_cut(read, 0),
        }
        return Reply(lines, details=details)

    def _decoding(
        self, beams: int | None = None, length_penalty: float | None = None, max_length: int = 64
    ) -> Decoding:
        config = self.model.config
        return Decoding(
            beams=config.caption_beams if beams is None else beams,
            length_penalty=config.caption_length_penalty if length_penalty is None else length_penalty,
            max_length=min(max_length, config.max_text_tokens),
        )

    def _use(self, images: Sequence[Image], texts: Sequence[str]) -> Use:
        """What a prompt with so many pictures and these texts is for."""
        heads = self.model.config.heads
        if not images:
            raise InputError("BEiT-3 speaks about pictures: give at least one")
        if not texts or (len(texts) == 1 and len(images) == 1 and _CAPTION_REQUEST.match(texts[0])):
            if len(images) > 1:
                raise InputError(
                    f"{len(images)} pictures without a text: give one picture, or a text to compare them by"
                )
            return "classify" if "captioning" not in heads and "classification" in heads else "caption"
        if len(images) == 1:
            if len(texts) > 1 or (heads and set(heads) == {"retrieval"}):
                return "rank"
            statement = texts[0].strip().endswith(".")
            return "judge" if "nlvr2" in heads and (statement or "vqa" not in heads) else "answer"
        if len(texts) > 1:
            raise InputError(f"{len(images)} pictures and {len(texts)} texts: give several of one and one of the other")
        return "judge" if len(images) == 2 and "nlvr2" in heads else "find"

    def _do(self, use: Use, asked: Sequence[_Asked], decoding: Decoding) -> list[Reply]:
        """Replies to sentences of one use, all at once."""
        if use == "caption":
            return [Reply(text) for text in self.captions([one.images[0] for one in asked], decoding)]
        if use == "classify":
            return self._classify([one.images[0] for one in asked])
        if use == "rank":
            return [self._rank(one.images[0], one.texts) for one in asked]
        if use == "find":
            return [self._find(one.images, one.text) for one in asked]
        texts = self._texts([one.text for one in asked])
        if use == "answer":
            return self._answer([one.images[0] for one in asked], texts)
        return self._judge([one.images for one in asked], texts)

    def _answer(self, images: Sequence[Image], texts: Texts) -> list[Reply]:
        logits = self.model.answer(self._pixels(images), texts.input_ids, texts.attention_mask)
        likeliest = _likeliest(logits, self.processor.answer)
        return [Reply(next(iter(one)), details={"scores": one, **_cut(texts, n)}) for n, one in enumerate(likeliest)]

    def _judge(self, pairs: Sequence[Sequence[Image]], texts: Texts) -> list[Reply]:
        left, right = (self._pixels(side) for side in zip(*pairs, strict=True))
        logits = self.model.judge(left, right, texts.input_ids, texts.attention_mask)
        chances = logits.float().softmax(dim=1)[:, 1].tolist()
        return [
            Reply("true" if chance >= 0.5 else "false", details={"probability": chance, **_cut(texts, number)})
            for number, chance in enumerate(chances)
        ]

    def _classify(self, images: Sequence[Image]) -> list[Reply]:
        pixels = self.processor.class_pixel_values(images)
        weight = self.model.beit3.vision_embed.proj.weight
        likeliest = _likeliest(self.model.classify(pixels.to(weight.device, weight.dtype)), self.processor.class_name)
        return [Reply(next(iter(one)), details={"scores": one}) for one in likeliest]

    def _rank(self, image: Image, texts: Sequence[str]) -> Reply:
        read = self._texts(texts)
        similarities = self._embed(read) @ self.embed_images([image])[0]
        order = similarities.argsort(descending=True).tolist()
        ranked: dict[str, Any] = {texts[place]: float(similarities[place]) for place in order}
        lost = {"cut": sum(read.cut)} if any(read.cut) else {}
        return Reply("\n".join(ranked), details={"similarities": ranked, **lost})

    def _find(self, images: Sequence[Image], text: str) -> Reply:
        read = self._texts([text])
        similarities = self.embed_images(images) @ self._embed(read)[0]
        index = int(similarities.argmax())
        details = {"index": index, "similarities": similarities.tolist(), **_cut(read, 0)}
        return Reply(images[index], details=details)

    def _embed(self, read: Texts) -> Tensor:
        """Unit vectors float32 [texts, width] of texts that were read, on the CPU."""
        return self.model.embed_texts(read.input_ids, read.attention_mask).float().cpu()

    def _pixels(self, images: Sequence[Image]) -> Tensor:
        weight = self.model.beit3.vision_embed.proj.weight
        return self.processor.pixel_values(images).to(weight.device, weight.dtype)

    def _texts(self, texts: Sequence[str]) -> Texts:
        read, device = self.processor.texts(texts), self.model.device
        return Texts(read.input_ids.to(device), read.attention_mask.to(device), read.cut)


def _images_and_texts(prompt: Sentence) -> tuple[list[Image], list[str]]:
    images: list[Image] = []
    texts: list[str] = []
    for part in prompt:
        if isinstance(part, Image):
            images.append(part)
        elif isinstance(part, str):
            texts += [part] if part.strip() else []
        else:
            raise InputError(f"BEiT-3 reads pictures and texts, not a part of kind {type(part).__name__}: leave it out")
    return images, texts


def _checked(use: str) -> Use:
    for known in USES:
        if use == known:
            return known
    raise InputError.unknown("use of BEiT-3", use, USES)


def _fitting(use: Use, images: list[Image], texts: list[str]) -> _Asked:
    """
    Raises:
        InputError: this use takes other parts.
    """
    if use in ("answer", "caption", "classify", "rank") and len(images) != 1:
        raise InputError(f"to {use}, BEiT-3 looks at one picture, {len(images)} given: give one")
    if use == "judge" and len(images) != 2:
        raise InputError(
            f"a statement is judged on a left and a right picture, {len(images)} given: give two, or ask a "
            "question about the one"
        )
    if use == "rank" and not texts:
        raise InputError("there are no texts to rank: give at least one beside the picture")
    if use == "find" and not images:
        raise InputError("there are no pictures to find one among: give at least one beside the text")
    return _Asked(images, texts)


def _likeliest(logits: Tensor, name: Callable[[int], str]) -> list[dict[str, float]]:
    """The best classes of each row [rows, classes] by name, with probabilities, the best first."""
    best = logits.float().softmax(dim=1).topk(min(_LIKELIEST, logits.shape[1]))
    rows = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [dict(zip(map(name, places), chances, strict=True)) for places, chances in rows]


def _cut(texts: Texts, number: int) -> dict[str, int]:
    return {"cut": texts.cut[number]} if texts.cut[number] else {}


def _runs(items: Sequence[T], size: int) -> list[Sequence[T]]:
    if size < 1:
        raise InputError(f"batch_size = {size} takes nothing at a time: give at least 1")
    return [items[begin : begin + size] for begin in range(0, len(items), size)]
