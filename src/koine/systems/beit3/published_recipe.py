"""BEiT-3 fine-tuned as published: VQAv2, NLVR2, COCO captions and COCO retrieval, on files that lie on this machine.

Settings are those of the released training scripts for weights of plain pre-training (and for retrieval -itc), see
`published_settings`.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from koine.data import karpathy, nlvr2, vqav2
from koine.data.folders import ImageFolder, find_file
from koine.data.vqav2 import VqaQuestion
from koine.errors import InputError
from koine.evaluation.vqav2 import normalize, soft_score
from koine.parts.contrastive import contrastive_loss
from koine.parts.masking import WordMasking, mask_words
from koine.parts.views import random_view
from koine.systems.beit3.config import SIZES, Beit3Config
from koine.systems.beit3.fine_tuning import parameter_groups, published_rate
from koine.systems.beit3.losses import captioning_loss, reasoning_loss, vqa_loss
from koine.systems.beit3.model import Beit3Model
from koine.systems.beit3.processor import Beit3Processor, read_answers
from koine.systems.beit3.published_settings import LEAST_RATE, SETTINGS, Setting, Size, Task
from koine.systems.beit3.rand_augment import rand_augment
from koine.systems.beit3.weights import load_config, load_folder
from koine.training import Recipe, Stage, TrainingData
from koine.training.data import Batch

KEPT_WORDS = 0.8
"""Share of a caption batch's hidden words that count late in training, those predicted best."""


@dataclass(frozen=True)
class Record:
    """One example without its pictures' pixels.

    Attributes:
        images: names of its pictures.
        text: question, statement or caption.
        scores: of a question, output of the head -> how right it is.
        label: of a statement.
    """

    images: tuple[str, ...]
    text: str
    scores: tuple[tuple[int, float], ...] = ()
    label: bool = False


class TaskData(TrainingData):
    """Records whose pictures are opened, cropped and changed when their turn comes."""

    def __init__(self, records: Sequence[Record], images: ImageFolder, recipe: FineTuningRecipe) -> None:
        self.records, self.images, self.recipe = records, images, recipe
        self.processor = recipe.processor

    def __len__(self) -> int:
        return len(self.records)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        """`pixel_values`, of a statement's second picture `other_pixel_values`, `input_ids`, `attention_mask`, and
        `targets`: [b, answers] scores, [b] labels, or [b, tokens] words of a caption with `places` to predict.
        """
        chosen = [self.records[index] for index in indices.tolist()]
        views = [[self._view(name, generator) for name in record.images] for record in chosen]
        names = ("pixel_values", "other_pixel_values")
        batch = dict(zip(names, map(torch.stack, zip(*views, strict=True)), strict=False))
        texts = self.processor.tokenize([record.text for record in chosen], longest=self.recipe.setting.text_length)
        batch |= {"input_ids": texts.input_ids, "attention_mask": texts.attention_mask}
        if self.recipe.task == "vqa":
            batch["targets"] = torch.zeros(len(chosen), self.processor.config.num_answers)
            for row, record in enumerate(chosen):
                for answer, score in record.scores:
                    batch["targets"][row, answer] = score
        elif self.recipe.task == "nlvr2":
            batch["targets"] = torch.tensor([record.label for record in chosen]).long()
        elif self.recipe.task == "captioning":
            how = WordMasking(self.processor.config.mask_token_id, self.processor.config.mask_token_id + 1)
            batch["targets"] = texts.input_ids
            batch["input_ids"], batch["places"] = mask_words(
                texts.input_ids, texts.attention_mask.sum(1), self.recipe.masked, how, generator=generator
            )
        return batch

    def _view(self, name: str, generator: torch.Generator) -> Tensor:
        size = self.processor.config.image_size
        view = random_view(self.images.open(name), size, generator, flips=self.recipe.flips)
        if self.recipe.setting.augmented:
            view = rand_augment(view, generator)
        return view * 2 - 1


@dataclass
class FineTuningRecipe(Recipe):
    """A published pre-trained BEiT-3 on one of the published tasks.

    Attributes:
        data_files: the folder with the task's annotations as published, one entry.
        images: the folder of the pictures, by default the annotations'.
        start: folder that `koine convert beit3` made of a pre-trained checkpoint; for retrieval the -itc one.
        task: which.
        answers: the folder with answer2label.txt for VQA; by default answers are taken from the training questions.
        held_out: of VQAv2's validation pictures so many stay out of training, drawn at random; with the questions
            about the others it goes on after those of the training split. (Which 1,000 the original drew, it doesn't
            say.)
        masked: share of a caption's words that are hidden.
        flips: probability of a mirrored picture. The original mirrors half of them, also where a question or caption
            says "left"; the default is not to.
        drop_worst_after: captioning counts all hidden words up to this step, counted from 0, and later the best
            predicted 80 % of each slice of a batch only, to be spared wrong captions.
    """

    data_files: tuple[str, ...] = ()
    images: str | None = None
    start: str = ""
    task: Task = "vqa"
    answers: str = ""
    held_out: int = 1000
    masked: float = 0.7
    flips: float = 0.0
    drop_worst_after: int = 12_000

    name = "beit3-fine-tuning"

    def __post_init__(self) -> None:
        if self.task not in SETTINGS:
            raise InputError.unknown("task of BEiT-3's published fine-tuning", self.task, get_args(Task))
        setting = self.setting
        self.stages = (
            Stage(
                "tune",
                steps=setting.steps,
                batch_size=setting.batch,
                learning_rate=setting.rate[self._size()],
                weight_decay=setting.weight_decay,
                betas=setting.betas,
                warmup=setting.warmup / setting.epochs,
                max_grad_norm=0.0,
                precision="fp16",
                min_learning_rate=LEAST_RATE,
            ),
        )

    @property
    def setting(self) -> Setting:
        """Of the task."""
        return SETTINGS[self.task]

    @cached_property
    def processor(self) -> Beit3Processor:
        start = load_config(self._start())
        named = self._answers() if self.task == "vqa" else ()
        config = Beit3Config.from_dict(
            {
                **start.to_dict(),
                "heads": [self.task],
                "image_size": self.setting.image_size,
                "drop_path_rate": self.setting.drop_path[self._size()],
                "num_answers": len(named) or start.num_answers,
            }
        )
        return Beit3Processor(Beit3Processor.from_pretrained(self._start(), start).tokenizer, config, answers=named)

    def build_model(self) -> Beit3Model:
        model = Beit3Model(self.processor.config)
        model.start_from(load_folder(self._start()))
        return model

    def data(self, stage: Stage) -> TrainingData:
        records = list(self._records())
        if not records:
            raise InputError(f"there are no training examples in {self._data()}: give the published annotations")
        return TaskData(records, ImageFolder(self.images or self._data()), self)

    def loss(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        """The task's; of captioning with all hidden words, as in the first steps."""
        pixels, ids, real = batch["pixel_values"], batch["input_ids"], batch["attention_mask"]
        if self.task == "captioning":
            return self._captioning_loss(model, batch, kept=1.0)
        if self.task == "vqa":
            return {"loss": vqa_loss(model.answer(pixels, ids, real), batch["targets"])}
        if self.task == "nlvr2":
            logits = model.judge(pixels, batch["other_pixel_values"], ids, real)
            return {"loss": reasoning_loss(logits, batch["targets"])}
        images, texts = model.embed_images(pixels), model.embed_texts(ids, real)
        return {"loss": contrastive_loss(images.float(), texts.float(), model.logit_scale)}

    def loss_at(self, model: Any, batch: Batch, step: int) -> dict[str, Tensor]:
        if self.task == "captioning" and step - 1 > self.drop_worst_after:
            return self._captioning_loss(model, batch, kept=KEPT_WORDS)
        return self.loss(model, batch)

    def learning_rate(self, stage: Stage, step: int) -> float:
        return published_rate(stage, step)

    def parameter_groups(self, trained: dict[str, nn.Parameter], stage: Stage) -> list[dict[str, Any]]:
        groups = parameter_groups(
            trained,
            self.processor.config,
            weight_decay=stage.weight_decay,
            layer_decay=self.setting.layer_decay[self._size()],
            head_scale=self.setting.head_scale,
        )
        return [
            {
                "params": [trained[name] for name in group.names],
                "weight_decay": group.weight_decay,
                "scale": group.scale,
            }
            for group in groups
        ]

    def save(self, model: Any, folder: Path) -> None:
        model.save_pretrained(folder)
        self.processor.save_pretrained(folder)

    def _answers(self) -> Sequence[str]:
        """The outputs of a VQA head, in their order."""
        if not self.answers:
            return common_answers(itertools.chain(self._questions("train2014"), self._questions("val2014")))
        if named := read_answers(Path(self.answers)):
            return named
        raise InputError(
            f"folder {self.answers} holds no list of answers: put answer2label.txt there, or leave answers out"
        )

    def _captioning_loss(self, model: Any, batch: Batch, *, kept: float) -> dict[str, Tensor]:
        places = batch["places"]
        logits = model.predict_words(
            batch["input_ids"], batch["pixel_values"], attention_mask=batch["attention_mask"], places=places
        )
        return {"loss": captioning_loss(logits, batch["targets"][places], kept=kept)}

    def _records(self) -> Iterable[Record]:
        if self.task == "vqa":
            numbers = {answer: number for number, answer in enumerate(self.processor.answers)}
            for question in itertools.chain(self._questions("train2014"), self._validation_questions()):
                counted = Counter(question.answers)
                scores = tuple((numbers[a], soft_score(n)) for a, n in counted.items() if a in numbers)
                if scores:  # as published, a question that the head can't answer teaches nothing
                    yield Record((question.image,), question.text, scores=scores)
        elif self.task == "nlvr2":
            for statement in nlvr2.read(self._data(), split="train"):
                yield Record(statement.images, statement.sentence, label=statement.label)
        else:
            file = find_file(self._data(), "dataset_coco.json", what="Karpathy's dataset_coco.json")
            for picture in karpathy.read(file, split="train"):
                for caption in picture.captions:
                    yield Record((picture.image,), caption)

    def _questions(self, split: str) -> Iterable[VqaQuestion]:
        return vqav2.read(self._data(), split=split)

    def _validation_questions(self) -> Iterable[VqaQuestion]:
        """Those that are trained on, too."""
        pictures = sorted({question.image for question in self._questions("val2014")})
        drawn = np.random.default_rng(0).permutation(len(pictures))[: self.held_out]
        held_out = {pictures[place] for place in drawn}
        return (question for question in self._questions("val2014") if question.image not in held_out)

    def _data(self) -> str:
        if len(self.data_files) != 1:
            raise InputError(
                f"fine-tuning takes one folder of annotations as published, not {len(self.data_files)}: give it with "
                "--data"
            )
        return self.data_files[0]

    def _start(self) -> Path:
        if not self.start:
            raise InputError("there is nothing to fine-tune: give a converted checkpoint with --set start=FOLDER")
        return Path(self.start)

    def _size(self) -> Size:
        """The size of the model that training starts from; base as long as none is named."""
        if not self.start or not (self._start() / "config.json").is_file():
            return "base"
        width = load_config(self._start()).hidden_size
        return "large" if width == SIZES["large"]["hidden_size"] else "base"


def common_answers(questions: Iterable[VqaQuestion], *, least: int = 9) -> list[str]:
    """The answers that a VQA head has outputs for: each question's commonest, normalised, if so many have it.

    They are in the order in which they first occur, so that they depend on the order of the questions, as published.
    Of answers that as many people gave, the first counts; the original reads the choice of the annotations' authors.
    """
    counted = Counter(
        normalize(max(dict.fromkeys(question.answers), key=question.answers.count))
        for question in questions
        if question.answers
    )
    return [answer for answer, count in counted.items() if count >= least]
