"""Metrics and benchmark protocols, each with its published definition: pure functions on answers and annotations.

`BENCHMARKS` maps names to loaders; `load_benchmark(name)` gives the `Benchmark`. A new protocol is a module with a
`score(answers, annotations)` and an entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from koine.errors import InputError

if TYPE_CHECKING:
    from koine.evaluation.benchmark import Benchmark

__all__ = ["BENCHMARKS", "load_benchmark"]

_FERRET = "arXiv:2310.07704"


def _lvis_referring() -> Benchmark:
    from koine.data.lvis_referring import FORMS
    from koine.evaluation import lvis_referring
    from koine.evaluation.benchmark import Benchmark

    return Benchmark(
        name="lvis-referring",
        title="referring object classification: a point, a box or a free-form region, two classes",
        citation=f"{_FERRET}, section 5.1",
        headline="accuracy",
        data_set="lvis-referring",
        metrics=lvis_referring.score,
        choices={"form": ("box", *(form for form in FORMS if form != "box"))},
    )


def _refcoco(data_set: str, splits: tuple[str, ...]) -> Callable[[], Benchmark]:
    def load() -> Benchmark:
        from koine.evaluation import refcoco
        from koine.evaluation.benchmark import Benchmark

        return Benchmark(
            name=data_set,
            title="referring expression comprehension: the box of what an expression means",
            citation=f"arXiv:1608.00272; as scored in {_FERRET}, section 5.2",
            headline=f"{data_set}.top1",
            data_set="refcoco",
            metrics=refcoco.score,
            choices={"split": splits},
            fixed={"data_set": data_set},
        )

    return load


def _flickr30k_entities() -> Benchmark:
    from koine.evaluation import flickr30k_entities
    from koine.evaluation.benchmark import Benchmark

    return Benchmark(
        name="flickr30k-entities",
        title="phrase grounding: the boxes of a caption's phrases",
        citation=f"arXiv:1505.04870; as scored in arXiv:2104.12763 and {_FERRET}, section 5.2",
        headline="recall@1.all",
        data_set="flickr30k-entities",
        metrics=flickr30k_entities.score,
        choices={"split": ("test", "val")},
    )


def _grounded_captioning() -> Benchmark:
    from koine.evaluation import grounded_captioning
    from koine.evaluation.benchmark import Benchmark

    return Benchmark(
        name="grounded-captioning",
        title="captions whose object words come with boxes",
        citation="arXiv:1812.06587 (F1_all, F1_loc); arXiv:1411.5726 (CIDEr-D)",
        headline="cider",
        data_set="grounded-captions",
        metrics=grounded_captioning.score,
        choices={"split": ("test", "val")},
    )


def _pope() -> Benchmark:
    from koine.data.pope import CATEGORIES
    from koine.evaluation import pope
    from koine.evaluation.benchmark import Benchmark

    return Benchmark(
        name="pope",
        title="object hallucination: yes or no",
        citation="arXiv:2305.10355, section 5",
        headline="accuracy",
        data_set="pope",
        metrics=pope.score,
        choices={"category": ("all", *CATEGORIES)},
    )


def _ferret_bench() -> Benchmark:
    from koine.data.ferret_bench import FOLDERS
    from koine.evaluation import ferret_bench
    from koine.evaluation.judged import JudgedBenchmark

    return JudgedBenchmark(
        name="ferret-bench",
        title="descriptions, reasoning and conversation about regions, judged by a language model",
        citation=f"{_FERRET}, section 5.4",
        headline="mean",
        data_set="ferret-bench",
        metrics=ferret_bench.score,
        choices={"category": ("all", *FOLDERS)},
        categories=tuple(FOLDERS),
        judge_prompt=ferret_bench.answer_prompt,
        review_metrics=ferret_bench.score_reviews,
    )


def _vqav2() -> Benchmark:
    from koine.data.vqav2 import SPLITS
    from koine.evaluation import vqav2
    from koine.evaluation.benchmark import Benchmark

    return Benchmark(
        name="vqav2",
        title="open questions about pictures, ten people's answers each",
        citation="arXiv:1505.00468, section 4 (accuracy); arXiv:1612.00837 (data)",
        headline="accuracy",
        data_set="vqav2",
        metrics=vqav2.score,
        choices={"split": SPLITS},
        unscored=tuple(split for split in SPLITS if split.startswith("test")),
        submission=vqav2.submission,
    )


def _statements(data_set: str, title: str, citation: str, splits: tuple[str, ...]) -> Callable[[], Benchmark]:
    def load() -> Benchmark:
        from koine.evaluation import nlvr2
        from koine.evaluation.benchmark import Benchmark

        return Benchmark(
            name=data_set,
            title=title,
            citation=citation,
            headline="accuracy",
            data_set=data_set,
            metrics=nlvr2.score,
            choices={"split": splits},
        )

    return load


def _captioning(name: str, data_set: str) -> Callable[[], Benchmark]:
    def load() -> Benchmark:
        from koine.data.karpathy import SPLITS
        from koine.evaluation import captioning
        from koine.evaluation.benchmark import Benchmark

        return Benchmark(
            name=name,
            title="captions against five people's, Karpathy's division",
            citation="arXiv:1411.5726 (CIDEr-D), Papineni et al. 2002 (BLEU), arXiv:1412.2306 (division)",
            headline="cider",
            data_set=data_set,
            metrics=captioning.score,
            choices={"split": SPLITS},
        )

    return load


def _retrieval(name: str, data_set: str) -> Callable[[], Benchmark]:
    def load() -> Benchmark:
        from koine.data.karpathy import SPLITS
        from koine.evaluation.retrieval import RetrievalBenchmark

        return RetrievalBenchmark(
            name=name,
            title="texts for pictures and pictures for texts, Karpathy's division",
            citation="arXiv:1412.2306, section 4.2",
            headline="text_to_image.r1",
            data_set=data_set,
            choices={"split": SPLITS},
        )

    return load


def _imagenet() -> Benchmark:
    from koine.evaluation import imagenet
    from koine.evaluation.benchmark import Benchmark

    return Benchmark(
        name="imagenet",
        title="which of the classes is it?",
        citation="arXiv:1409.0575, section 4.1 (top-1)",
        headline="top1",
        data_set="imagenet",
        metrics=imagenet.score,
        choices={"split": ("val", "train")},
    )


BENCHMARKS: Mapping[str, Callable[[], Benchmark]] = {
    "lvis-referring": _lvis_referring,
    "refcoco": _refcoco("refcoco", ("val", "testA", "testB")),
    "refcoco+": _refcoco("refcoco+", ("val", "testA", "testB")),
    "refcocog": _refcoco("refcocog", ("val", "test")),
    "flickr30k-entities": _flickr30k_entities,
    "grounded-captioning": _grounded_captioning,
    "pope": _pope,
    "ferret-bench": _ferret_bench,
    "vqav2": _vqav2,
    "nlvr2": _statements(
        "nlvr2",
        "is a sentence true of two photographs?",
        "arXiv:1811.00491, section 5",
        ("dev", "test1", "test2", "balanced_dev", "unbalanced_dev", "balanced_test1", "unbalanced_test1", "train"),
    ),
    "nlvr": _statements(
        "nlvr", "is a sentence true of a drawing?", "Suhr et al., ACL 2017; as arXiv:1811.00491", ("hidden", "dev")
    ),
    "coco-captioning": _captioning("coco-captioning", "coco-karpathy"),
    "flickr30k-captioning": _captioning("flickr30k-captioning", "flickr30k-karpathy"),
    "coco-retrieval": _retrieval("coco-retrieval", "coco-pairs"),
    "flickr30k-retrieval": _retrieval("flickr30k-retrieval", "flickr30k-pairs"),
    "imagenet": _imagenet,
}
"""Name -> loader of the benchmark; nothing heavy is imported before it is called."""


def load_benchmark(name: str) -> Benchmark:
    """The benchmark of this name.

    Raises:
        InputError: there is none.
    """
    if name not in BENCHMARKS:
        raise InputError.unknown("benchmark", name, BENCHMARKS)
    return BENCHMARKS[name]()
