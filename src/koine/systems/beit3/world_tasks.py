"""What a nano BEiT-3 learns from: the world's pictures and the texts about them, as batches."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from koine.systems.beit3.config import Beit3Config
from koine.systems.beit3.pretraining import Masking
from koine.systems.beit3.processor import normalized
from koine.systems.beit3.tokenizer import Beit3Tokenizer
from koine.systems.beit3.world_texts import TASKS, UNLISTED, TextKind, WorldData, rendered, tokenized
from koine.training import TrainingData
from koine.training.data import Batch


@lru_cache(maxsize=1)
def _images(data: WorldData) -> Tensor:
    """uint8 [scenes, H, W, 3], of all scenes."""
    return torch.from_numpy(rendered(data).images)


class WorldTasks(TrainingData):
    """Pairs of scenes with questions and captions about each and statements about both."""

    def __init__(
        self,
        data: WorldData,
        tokenizer: Beit3Tokenizer,
        answers: Sequence[str],
        *,
        tasks: Collection[str] = TASKS,
        questions: int = 6,
        statements: int = 4,
        captions: int = 1,
    ) -> None:
        """
        Args:
            tasks: of `TASKS`; a batch has what they need.
            questions, captions: of each scene in a batch; of questions an even number.
            statements: of each pair.
        """
        self.asked, self.stated, self.told = questions, statements, captions
        kept, self.rows = tokenized(data, tokenizer, tuple(answers), tuple(tasks))
        self.images, self.scenes = _images(data), kept.nonzero()[:, 0]

    def __len__(self) -> int:
        return len(self.scenes) // 2

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """Of b pairs first the left scenes, then the right ones.

        Returns:
            pixel_values [2b, 3, H, W]; short_questions and long_questions [2b, questions / 2, tokens] with
            short_answers and long_answers [2b, questions / 2]; captions [2b, captions, tokens]; statements [b,
            statements, tokens] with labels [b, statements], -100 where a pair has none; descriptions [2b, tokens].
        """
        scenes = torch.cat((2 * indices, 2 * indices + 1))
        found = {"pixel_values": normalized(self.images[self.scenes[scenes]])}
        if (rows := self.rows.get("questions")) is not None:
            halves = rows.draw(scenes, self.asked, generator).chunk(2, dim=1)
            for kind, places in zip(("short", "long"), halves, strict=True):
                found |= {f"{kind}_questions": rows.at(places), f"{kind}_answers": rows.labels[places]}
        if (rows := self.rows.get("statements")) is not None:
            places = rows.draw(indices, self.stated, generator)
            labels = rows.labels[places].masked_fill(rows.counts[indices][:, None] == 0, UNLISTED)
            found |= {"statements": rows.at(places), "labels": labels}
        if (rows := self.rows.get("captions")) is not None:
            found["captions"] = rows.at(rows.draw(scenes, self.told, generator))
        if (rows := self.rows.get("retrieval")) is not None:
            found["descriptions"] = rows.at(rows.draw(scenes, 1, generator)[:, 0])
        return found


class MaskedWorld(TrainingData):
    """Scenes alone, texts alone, and scenes with their texts, parts of each hidden (masked data modelling)."""

    def __init__(
        self,
        data: WorldData,
        tokenizer: Beit3Tokenizer,
        codes: Tensor,
        masking: Masking,
        config: Beit3Config,
        *,
        streams: Sequence[str] = ("image", "text", "pair"),
        texts: TextKind = "documents",
    ) -> None:
        """
        Args:
            codes: [scenes, patches], the visual tokenizer's.
            streams: which of the three there are; a batch has as many examples in all, whichever there are.
            texts: see `TextKind`.
        """
        kept, rows = tokenized(data, tokenizer, (), (texts,))
        self.texts = rows[texts]
        self.images, self.scenes = _images(data), kept.nonzero()[:, 0]
        self.codes = codes
        self.masking, self.config, self.streams = masking, config, tuple(streams)

    def __len__(self) -> int:
        return len(self.scenes)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """Equal shares of the streams; each tensor's name begins with its stream's.

        Returns:
            for "image" and "pair": pixel_values, patch_mask, codes; for "text" and "pair": input_ids, token_mask, ids.
        """
        found: Batch = {}
        for stream, part in zip(self.streams, indices.chunk(len(self.streams)), strict=True):
            if stream != "text":
                scenes = self.scenes[part]
                found[f"{stream}.pixel_values"] = normalized(self.images[scenes])
                found[f"{stream}.patch_mask"] = self.masking.patches(len(part), self.config.grid, generator)
                found[f"{stream}.codes"] = self.codes[scenes].long()
            if stream != "image":
                ids = self.texts.at(self.texts.draw(part, 1, generator)[:, 0])
                real = ids != self.config.pad_token_id
                hidden, chosen = self.masking.words(
                    ids, real, self.config, paired=stream == "pair", generator=generator
                )
                found |= {f"{stream}.input_ids": hidden, f"{stream}.token_mask": chosen, f"{stream}.ids": ids}
        return found
