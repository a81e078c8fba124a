"""A benchmark: questions from a data set, a score for the replies, and the loop between the two."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from koine.errors import InputError
from koine.evaluation.answers import Answer, answer_of
from koine.sentence import Part, Reply, Sentence

if TYPE_CHECKING:
    from koine.data.annotated import AnnotatedExample

RespondBatch = Callable[[Sequence[Sentence]], Sequence[Reply]]


class Responds(Protocol):
    """A system, as far as a benchmark needs to know it."""

    def respond(self, *parts: Part | Sentence) -> Reply:
        """Answers the sentence made of these parts."""
        ...


def asking(system: Responds) -> RespondBatch:
    """How a system answers many sentences: together where it can (`respond_batch`), else one by one."""
    together: RespondBatch | None = getattr(system, "respond_batch", None)
    return together or (lambda prompts: [system.respond(*prompt) for prompt in prompts])


@dataclass(frozen=True)
class Benchmark:
    """One published protocol.

    Attributes:
        name: what it is called by.
        title: what it measures, for people.
        citation: where it is defined.
        headline: the metric that papers report first.
        data_set: the name in `koine.data.DATA_SETS` of the data that it asks about.
        metrics: scores answers against annotations, a pure function.
        choices: the options of the data set that select a part of the benchmark, each with its values, the default
            first.
        fixed: options of the data set that the benchmark decides.
        required: options of the protocol without which it can't score.
        unscored: splits whose truth only an evaluation server knows.
        submission: answers and annotations as that server reads them, to be written as JSON.
    """

    name: str
    title: str
    citation: str
    headline: str
    data_set: str
    metrics: Callable[..., dict[str, float]]
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    unscored: tuple[str, ...] = ()
    submission: Callable[..., list[dict[str, Any]]] | None = None

    def examples(
        self, path: str | os.PathLike[str], *, images: str | os.PathLike[str] | None = None, **chosen: str
    ) -> Iterator[AnnotatedExample]:
        """The questions, pictures opened one at a time.

        Args:
            path: the data set's folder.
            images: the folder of the pictures, by default `path`.
            chosen: one of the values in `choices` for some of its options.
        Raises:
            InputError: an unknown option or value, or what the data set raises.
        """
        from koine.data import examples

        for option, value in chosen.items():
            if option not in self.choices:
                raise InputError.unknown(f"option of the benchmark {self.name}", option, self.choices)
            if value not in self.choices[option]:
                raise InputError.unknown(f"{option} of the benchmark {self.name}", value, self.choices[option])
        defaults = {option: values[0] for option, values in self.choices.items()}
        return examples(self.data_set, path, images=images, **{**defaults, **chosen, **self.fixed})

    def score(
        self, replies: Iterable[Reply | Answer | str], examples: Iterable[AnnotatedExample], **options: Any
    ) -> dict[str, float]:
        """The metrics of replies to the examples, pair by pair.

        Args:
            replies: a string is read as Ferret writes: where the annotation knows its picture's size, boxes in
                brackets are decoded (`Answer.of_written`).
            options: of the protocol, such as `judge` for ferret-bench.
        Raises:
            InputError: another number of replies than examples, or none; a required option is missing.
        """
        self.check_options(options)
        answers = list(replies)
        annotations = [example.annotation for example in examples]
        if len(answers) != len(annotations) or not answers:
            raise InputError(
                f"{self.name}: {len(answers)} replies to {len(annotations)} examples: give one reply for each example"
            )
        read = [_answer(reply, annotation) for reply, annotation in zip(answers, annotations, strict=True)]
        return self.metrics(read, annotations, **options)

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raises `InputError` if an option is missing that the protocol can't score without."""
        for option in self.required:
            if options.get(option) is None:
                raise InputError(f"the benchmark {self.name} needs {option}=...: see the docstring of its module")


@dataclass(frozen=True)
class Evaluation:
    """The outcome of a benchmark.

    Attributes:
        metrics: see the benchmark's module; interval bounds end in `_low` and `_high`.
        answers: what was said, in order.
        examples: what was asked, in order, without pictures: id, task and annotation.
    """

    benchmark: str
    metrics: dict[str, float]
    answers: tuple[Answer, ...]
    examples: tuple[AnnotatedExample, ...]


def ask(
    benchmark: Benchmark,
    respond_batch: RespondBatch,
    examples: Iterable[AnnotatedExample],
    *,
    limit: int | None = None,
    batch_size: int = 32,
    progress: Callable[[int, AnnotatedExample, Answer], None] | None = None,
) -> Evaluation:
    """Asks a system every question; the outcome has no metrics yet.

    Pictures are let go as soon as they are answered, so that the size of the data set doesn't matter.

    Args:
        respond_batch: a system's answers to sentences: `asking(system)`.
        limit: how many questions to ask at most.
        batch_size: how many are asked together.
        progress: called after each with its number from 1, the example (with its picture) and the answer.
    Raises:
        InputError: there are no examples, and what the data set raises.
    """
    answers: list[Answer] = []
    asked: list[AnnotatedExample] = []
    questions = islice(examples, limit)
    while part := list(islice(questions, batch_size)):
        replies = respond_batch([example.prompt for example in part])
        for example, reply in zip(part, replies, strict=True):
            answers.append(answer_of(reply))
            asked.append(replace(example, prompt=Sentence(), target=Sentence(), history=()))
            if progress is not None:
                progress(len(answers), example, answers[-1])
    if not asked:
        raise InputError(f"{benchmark.name}: there are no questions: give another folder, split or category")
    return Evaluation(benchmark.name, {}, tuple(answers), tuple(asked))


def evaluate(
    benchmark: Benchmark,
    respond_batch: RespondBatch,
    examples: Iterable[AnnotatedExample],
    *,
    limit: int | None = None,
    batch_size: int = 32,
    progress: Callable[[int, AnnotatedExample, Answer], None] | None = None,
    **options: Any,
) -> Evaluation:
    """Asks a system every question, as `ask`, and scores its replies.

    Args:
        options: of the protocol, see `Benchmark.score`; the others as in `ask`.
    Raises:
        InputError: there are no examples, a required option is missing, and what the data set raises.
    """
    benchmark.check_options(options)  # before hours of answering, not after
    outcome = ask(benchmark, respond_batch, examples, limit=limit, batch_size=batch_size, progress=progress)
    return replace(outcome, metrics=benchmark.score(outcome.answers, outcome.examples, **options))


def _answer(reply: Reply | Answer | str, annotation: Any) -> Answer:
    size = getattr(annotation, "width", None), getattr(annotation, "height", None)
    if isinstance(reply, str) and None not in size:
        return Answer.of_written(reply, annotation.width, annotation.height)
    return answer_of(reply)
