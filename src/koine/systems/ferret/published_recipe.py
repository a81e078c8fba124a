"""Ferret trained as published: on records of conversations about regions, from a Vicuna or from a Ferret.

Settings are those of the paper's section 5 (arXiv 2310.07704) and of the released training script. The data was never
released; whoever has records of its form (see `koine.data.grit`) can train on them. The published mixture took the
instructions written by a language model three times, relations and region descriptions of Visual Genome 0.2 times, and
the rest once.
"""

from __future__ import annotations

import copy
import math
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPVisionConfig, LlamaConfig, PreTrainedTokenizerBase

from koine.data import grit
from koine.data.folders import ImageFolder
from koine.data.grit import GritRecord, PointRule, RegionOptions
from koine.data.mixture import Mixture
from koine.data.records import read_object
from koine.errors import InputError
from koine.parts.injection import IGNORED_LABEL
from koine.systems.ferret.batches import EncodedExample
from koine.systems.ferret.checkpoint import Checkpoint, locate, read_json
from koine.systems.ferret.config import PUBLISHED_LONGEST_ANSWER, FerretConfig
from koine.systems.ferret.model import FerretForConditionalGeneration
from koine.systems.ferret.processor import FerretProcessor
from koine.systems.ferret.prompt import END_OF_ANSWER, REGION_TOKEN, TOKENIZER_FILE, load_tokenizer
from koine.systems.ferret.records import training_regions
from koine.systems.ferret.weights import DEFAULT_VISION_TOWER, NANO_WEIGHTS, build, convert_state, load_folder
from koine.training import Recipe, Stage, TrainingData
from koine.training.data import Batch

# The original finds the turns of a conversation by splitting its text at these and compares lengths afterwards; where
# a speaker wrote one of them, or the padding token, the lengths disagree. A region token too many has no feature.
_MARKS = (END_OF_ANSWER, " ASSISTANT: ", "<unk>", REGION_TOKEN)
_EMBEDDINGS = ("language_model.model.embed_tokens.weight", "language_model.lm_head.weight")


@dataclass(frozen=True)
class EpochStage(Stage):
    """A stage as long as some epochs of its data, whatever its batch size is set to.

    Attributes:
        epochs: how often each example is seen.
        examples: how many there are.
        computed: the steps that follow from them; `steps` differs where others were asked for.
    """

    epochs: float = 1.0
    examples: int = 0
    computed: int = 0

    def __post_init__(self) -> None:
        self._require("epochs", 0 < self.epochs < math.inf, "give a positive number")
        if self.steps == self.computed:
            steps = math.ceil(self.epochs * self.examples / max(self.batch_size, 1))
            object.__setattr__(self, "steps", steps)
            object.__setattr__(self, "computed", steps)
        super().__post_init__()


@dataclass
class PublishedRecipe(Recipe):
    """The published training, or the same for a Ferret that exists already: all but CLIP is trained.

    Every process holds the whole model: training all of it takes 16 bytes a parameter (110 GB for 7B) and what the
    activations need; with `lora` 4 bytes a parameter (31 GB for 7B). More `gradient_accumulation` means smaller slices.
    A checkpoint takes about as much on disk as the training in memory, with `lora` as the merged model; two are kept.

    Attributes:
        data_files: files of records in the original's format, each as `FILE` or `FILE=REPEAT`; or JSON files that map
            names of such files, relative to them, to repeats.
        images: the folder of their pictures.
        base: what training starts from, a folder or hub id: a language model (Vicuna v1.3 as published), which gets
            eyes and a sampler; or a Ferret (`nano`, or a folder that koine trained or converted), which is fine-tuned.
        vision_tower: folder or hub id of the CLIP of a new Ferret; by default the published one.
        projector: LLaVA's `mm_projector.bin` after its first stage, as the projector of a new Ferret; by default the
            projector starts from nothing.
        reading: how a new Ferret reads its feature map at a point: at the point's place, or mirrored and a little off,
            as the original code does (see `region_orientation` and `region_alignment` of `FerretConfig`).
        form, point, answers: how boxes become regions, see `koine.data.grit.RegionOptions`. `"mask_center"` is what
            the original calls `segment_mask|center`, `"as_asked"` its `refer_previous_point`.
        epochs: how often each example is seen.
        lora: rank of LoRA on the language model's linear layers, merged when the model is saved; None trains the
            language model itself, as published.
        gradient_checkpointing: whether the language model computes its activations twice to keep fewer.
        seed: of what starts from nothing, of the mixture and of the stage.
    """

    data_files: tuple[str, ...] = ()
    images: str | None = None
    base: str | None = None
    vision_tower: str | None = None
    projector: str | None = None
    reading: Literal["corrected", "published"] | None = None
    form: Literal["either", "point", "box"] = "either"
    point: PointRule = "mask_center"
    answers: Literal["box", "as_asked"] = "box"
    epochs: float = 3.0
    lora: int | None = None
    gradient_checkpointing: bool = True
    seed: int = 0

    name = "ferret-published"

    @cached_property
    def stages(self) -> tuple[Stage, ...]:  # type: ignore[override]  # its length depends on the data
        config = self.processor.config
        optional = {"region_sampler": config.region_features != "none", "image_positions": config.image_positions}
        return (
            EpochStage(
                "tune",
                steps=0,
                epochs=self.epochs,
                examples=len(self.examples),
                batch_size=128,
                learning_rate=2e-5,
                warmup=0.03,
                # One process then sees 16 examples at a time, as each of the published eight did.
                gradient_accumulation=8,
                precision="auto",  # bfloat16, as published, on whatever computes in it
                seed=self.seed,
                trainable=("projector", *(part for part, there in optional.items() if there), "language_model"),
            ),
        )

    @cached_property
    def folder(self) -> Path:
        """Where the base is."""
        if self.base is None:
            raise InputError("there is nothing to start from: set base to a Vicuna v1.3 or to a Ferret")
        return NANO_WEIGHTS if self.base == "nano" else locate(self.base, "base weights")

    @cached_property
    def is_new(self) -> bool:
        """Whether the base is a language model, so that the Ferret is a new one."""
        kind = _settings(self.folder, "base").get("model_type")
        if kind not in ("llama", FerretConfig.model_type):
            raise InputError(
                f"base {self.base} is a model of type {kind!r}: give a Vicuna v1.3, or a Ferret that koine trained or "
                "made of a published one (`koine convert ferret`)"
            )
        if kind != "llama":
            for option in ("vision_tower", "projector", "reading"):
                if getattr(self, option) is not None:
                    raise InputError(
                        f"{option} = {getattr(self, option)!r} is for a new Ferret, but base {self.base} is one "
                        f"already and has its own: leave {option} away, or give a Vicuna as base"
                    )
        return kind == "llama"

    @cached_property
    def processor(self) -> FerretProcessor:
        if self.is_new:
            tokenizer = load_tokenizer(self.folder)
            return FerretProcessor(tokenizer, self._new_config(tokenizer))
        return FerretProcessor.from_pretrained(self.folder, FerretConfig.from_pretrained(self.folder))

    @cached_property
    def examples(self) -> Mixture[GritRecord]:
        """The records in the order of their numbers; they are in memory, their pictures aren't."""
        if not self.data_files or self.images is None:
            raise InputError("there is no training data: give files of records (data_files) and the folder images")
        return read_mixture(self.data_files, self.seed)

    def build_model(self) -> FerretForConditionalGeneration:
        torch.manual_seed(self.seed)
        if self.is_new:
            model = build(self.processor.config, self._new_state())
        else:
            model = load_folder(self.folder, dtype=torch.float32)
        if self.lora is not None:
            add_lora(model, self.lora)
        if self.gradient_checkpointing:
            language: Any = model.language_model
            # Early versions of transformers 5 know it by its older name only.
            enable = getattr(language, "activation_checkpointing_enable", language.gradient_checkpointing_enable)
            enable({"use_reentrant": False})
        return model

    def data(self, stage: Stage) -> TrainingData:
        options = RegionOptions(form=self.form, point=self.point, answers=self.answers)
        return RecordConversations(self.examples, ImageFolder(self.images or ""), self.processor, options)

    def loss(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        """The loss, and how many tokens an example has to learn: conversations may be cut before their first answer."""
        learnt = (batch["labels"] != IGNORED_LABEL).sum() / len(batch["labels"])
        return {"loss": model(**batch).loss, "answer_tokens": learnt}

    def save(self, model: Any, folder: Path) -> None:
        model.save_pretrained(folder, state_dict=None if self.lora is None else merged_state(model))
        shutil.copyfile(self.folder / TOKENIZER_FILE, folder / TOKENIZER_FILE)

    def rebuilt(self, model: Any) -> frozenset[str]:
        """With LoRA the language model under the adapters: it comes from the base again."""
        if self.lora is None:
            return frozenset()
        return frozenset(
            name
            for name, weight in model.named_parameters(remove_duplicate=False)
            if name.startswith("language_model.") and not weight.requires_grad
        )

    @cached_property
    def _tower(self) -> Path:
        return locate(self.vision_tower or DEFAULT_VISION_TOWER, "vision tower weights")

    def _new_config(self, tokenizer: PreTrainedTokenizerBase) -> FerretConfig:
        """The configuration of a new Ferret on this language model and this tower."""
        _settings(self._tower, "vision_tower")
        text = LlamaConfig.from_pretrained(self.folder)
        text.vocab_size = max(text.vocab_size, len(tokenizer))
        text.pad_token_id, text.bos_token_id, text.eos_token_id = 0, 1, 2
        as_published = self.reading == "published"
        return FerretConfig(
            vision_config=CLIPVisionConfig.from_pretrained(self._tower),
            text_config=text,
            region_token_id=int(tokenizer.convert_tokens_to_ids(REGION_TOKEN)),  # type: ignore[arg-type]
            region_orientation="published" if as_published else "corrected",
            region_alignment="corners" if as_published else "centers",
            longest_answer=PUBLISHED_LONGEST_ANSWER,
        )

    def _new_state(self) -> dict[str, Tensor]:
        """The weights of a new Ferret: what is there already, and projector and sampler as they start."""
        config = self.processor.config
        base, tower = Checkpoint(self.folder), Checkpoint(self._tower)
        state = _untrained(config) | convert_state({key: base.read(key) for key in base.files})
        for name in _EMBEDDINGS:
            if name in state:
                state[name] = _grown(state[name], config.text_config.vocab_size)
        # The stock CLIP comes with its text half, which isn't wanted.
        state |= convert_state({key: tower.read(key) for key in tower.files if key.startswith("vision_model.")})
        return state if self.projector is None else state | _read_projector(Path(self.projector))


class RecordConversations(TrainingData):
    """Records as conversations whose regions take another form each time; pictures are opened when they are shown.

    Raises:
        InputError: a record's picture is missing.
    """

    def __init__(
        self, records: Sequence[GritRecord], images: ImageFolder, processor: FerretProcessor, options: RegionOptions
    ) -> None:
        self.records, self.images, self.processor, self.options = records, images, processor, options
        # A missing picture should be noticed now and not on the second day.
        for record in {record.image: record for record in records}.values():
            with _naming(record):
                images.find(record.image)

    def __len__(self) -> int:
        return len(self.records)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Batch:
        draws = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        encoded = [self._encode(self.records[number], draws) for number in indices.tolist()]
        return self.processor.collate(encoded, generator).tensors()

    def _encode(self, record: GritRecord, draws: np.random.Generator) -> EncodedExample:
        """One conversation, with the coin tossed and the points put from `draws`."""
        with _naming(record):
            example = grit.example(record, self.images.open(record.image), draws, self.options)
            questions = [*(question for question, _ in example.history), example.prompt]
            asked = [region for question in questions for region in question.regions]
            reach = self.processor.config.point_reach((record.width, record.height))
            return self.processor.encode(example, training_regions(record, asked, reach))


def read_mixture(data_files: Sequence[str], seed: int) -> Mixture[GritRecord]:
    """The records of these files (see `PublishedRecipe.data_files`), each as often as it says.

    A record in whose text a mark of the template occurs is left out, and their number is told in a warning: the
    original ignores all labels of such a conversation, so nothing is learnt from it there either.

    Raises:
        InputError: a file is missing, a record is faulty, or nothing is left.
    """
    sources = [source for given in data_files for source in _sources(given)]
    found = [list(grit.read(path)) for path, _ in sources]
    kept = [[record for record in records if not _marks_in(record)] for records in found]
    ignored = [record for records in found for record in records if _marks_in(record)]
    if ignored:
        marks = ", ".join(repr(mark) for mark in _marks_in(ignored[0]))
        warnings.warn(
            f"{len(ignored)} of {sum(map(len, found))} records are ignored, since their text holds marks of Ferret's "
            f"own template: the first is {ignored[0].where}, with {marks}",
            stacklevel=2,
        )
    mixture = Mixture(kept, [repeat for _, repeat in sources], np.random.default_rng(seed))
    if not len(mixture):
        raise InputError(f"{', '.join(data_files)} holds no records to train on: give at least one")
    return mixture


def _marks_in(record: GritRecord) -> list[str]:
    return [mark for mark in _MARKS if any(mark in turn.text for turn in record.turns)]


def _sources(given: str) -> Iterator[tuple[Path, float]]:
    """The files behind `FILE`, `FILE=REPEAT` or a mixture, each with its repeats."""
    name, _, number = given.rpartition("=")
    repeat = 1.0
    if name and not Path(given).exists():
        try:
            repeat = float(number)
        except ValueError as error:
            raise InputError(f"{given} ends in no number: give FILE or FILE=REPEAT, such as {name}=0.2") from error
        given = name
    path = Path(given)
    if not path.is_file() or not _is_object(path):
        yield path, repeat
        return
    mixture = read_object(path)
    for file in mixture.values:
        yield path.parent / file, repeat * mixture.field(file, float)


def _is_object(path: Path) -> bool:
    """Whether a JSON file holds an object: files of records hold an array, and may be too large to read twice."""
    with path.open("rb") as file:
        return file.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")


@contextmanager
def _naming(record: GritRecord) -> Iterator[None]:
    """Lets complaints about one record say which it is."""
    try:
        yield
    except InputError as error:
        raise InputError(str(error) if record.where in str(error) else f"{record.where}: {error}") from error


def _settings(folder: Path, thing: str) -> dict[str, Any]:
    """The config.json of a folder."""
    if not (folder / "config.json").is_file():
        raise InputError(f"{thing} {folder} has no config.json: give the folder of a model as published")
    return read_json(folder / "config.json")


def _untrained(config: FerretConfig) -> dict[str, Tensor]:
    """Projector and sampler of a Ferret as they start, under our names."""
    bare = copy.deepcopy(config)
    bare.text_config.num_hidden_layers = bare.vision_config.num_hidden_layers = 0
    bare.text_config.vocab_size = 1
    state = FerretForConditionalGeneration(bare).state_dict()
    return {name: weight for name, weight in state.items() if name.startswith(("projector.", "region_sampler."))}


def _grown(table: Tensor, rows: int) -> Tensor:
    """[tokens, width] -> [rows, width]: new tokens start as the mean of the others."""
    mean = table.float().mean(dim=0, keepdim=True).to(table.dtype)
    return torch.cat((table, mean.expand(rows - len(table), -1)))


def _read_projector(file: Path) -> dict[str, Tensor]:
    """LLaVA's projector under our names; torch files are read without running code."""
    weights = Checkpoint(file)
    state = {f"projector.{key.rpartition('mm_projector.')[2]}": weights.read(key) for key in weights.files}
    if state.keys() != {"projector.weight", "projector.bias"}:
        raise InputError(
            f"projector {file} holds {', '.join(sorted(weights.files))}: give the mm_projector.bin of a LLaVA with one "
            "linear layer (before LLaVA-1.5)"
        )
    return state


def add_lora(model: FerretForConditionalGeneration, rank: int) -> None:
    """Puts LoRA beside every linear layer of the language model but the last, and freezes the rest of it.

    Raises:
        InputError: peft isn't installed, or the rank is below 1.
    """
    if rank < 1:
        raise InputError(f"lora = {rank} is no rank: give a whole number of at least 1, or none")
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise InputError("lora needs the package peft: install it with `pip install 'koine[lora]'`") from error
    options = LoraConfig(r=rank, lora_alpha=16, lora_dropout=0.05, bias="none", target_modules="all-linear")
    inject_adapter_in_model(options, model.language_model)


@torch.no_grad()
def merged_state(model: FerretForConditionalGeneration) -> dict[str, Tensor]:
    """The weights with LoRA added in, under the names of a model without it; the model stays as it is."""
    from peft.tuners.lora import Linear

    state = {name: weight for name, weight in model.state_dict().items() if ".lora_" not in name}
    for name, layer in model.named_modules():
        if isinstance(layer, Linear):
            change = layer.get_delta_weight("default")
            state[f"{name}.base_layer.weight"] = (state[f"{name}.base_layer.weight"] + change).cpu()
    return {name.replace(".base_layer.", "."): weight for name, weight in state.items()}
