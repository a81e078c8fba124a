"""BEiT-3's part of the tour: answer, describe, judge two pictures, search a folder."""

from __future__ import annotations

import tempfile
from pathlib import Path

from koine.data.world_gallery import Gallery, gallery, side_by_side
from koine.evaluation.world_captions import judge
from koine.evaluation.world_regions import same_answer
from koine.report.contents import Answer, Section
from koine.sentence import Sentence
from koine.systems.beit3.system import Beit3
from koine.world.facts import members, observe
from koine.world.language import article, listed, name

PAPER = "https://arxiv.org/abs/2208.10442"


def page(beit3: Beit3, seed: int) -> Section:
    """Every reply beside the truth, on scenes drawn by `seed` that no training saw."""
    shown = gallery(seed)
    return Section(
        title="BEiT-3: one transformer for pictures, texts and both",
        lead="The same network answers questions about a picture, writes a caption, says whether a statement holds for "
        "two pictures, and maps pictures and texts to one space, in which a folder is searched. A caption is judged "
        "by looking up everything that it says in the scene.",
        link=PAPER,
        answers=[*_answered(beit3, shown), *_captioned(beit3, shown), *_judged(beit3, shown), *_searched(beit3, shown)],
    )


def _answered(beit3: Beit3, shown: Gallery) -> list[Answer]:
    answers = []
    for here, question in shown.questions:
        reply = beit3.respond(here.image, question.text)
        answers.append(
            Answer(
                task="answer a question",
                question=Sentence(here.image, question.text),
                answer=reply,
                truth=Sentence(question.answer),
                correct=same_answer(reply.text, question.answer),
            )
        )
    return answers


def _captioned(beit3: Beit3, shown: Gallery) -> list[Answer]:
    answers = []
    for here in shown.scenes:
        reply = beit3.respond(here.image)
        verdict = judge(reply.text, here.scene, here.view)
        there = [article(name(here.scene.things[index])) for index in members(observe(here.scene, here.view).seen)]
        answers.append(
            Answer(
                task="describe a picture",
                question=Sentence(here.image),
                answer=reply,
                truth=Sentence(f"there: {listed(there)}"),
                correct=verdict.true,
                note=verdict.reason or ("names all things" if verdict.complete else "true, but not all things"),
            )
        )
    return answers


def _judged(beit3: Beit3, shown: Gallery) -> list[Answer]:
    answers = []
    for left, right, statement in shown.statements:
        reply = beit3.respond(left.image, right.image, statement.text)
        truth = "true" if statement.label else "false"
        answers.append(
            Answer(
                task="judge a statement about two pictures",
                question=Sentence(statement.text),
                answer=reply,
                truth=Sentence(truth),
                correct=reply.text == truth,
                note=f"probability that it is true: {reply.details['probability']:.2f}",
                picture=side_by_side(left.image, right.image),
            )
        )
    return answers


def _searched(beit3: Beit3, shown: Gallery) -> list[Answer]:
    """A search in a folder of pictures, as `koine run beit3 --search` does it."""
    answers = []
    with tempfile.TemporaryDirectory() as place:
        folder, cache = Path(place) / "pictures", Path(place) / "cache"
        folder.mkdir()
        for number, here in enumerate(shown.pictures):
            here.image.to_pil().save(folder / f"{number:02d}.png")
        for text, wanted in shown.wanted:
            reply = beit3.search(text, folder, count=3, cache=cache)
            found = [int(Path(path).stem) for path, _ in reply.details["found"]]
            answers.append(
                Answer(
                    task=f"search {len(shown.pictures)} pictures",
                    question=Sentence(text),
                    answer=Sentence(f"picture {found[0]}, then {', '.join(map(str, found[1:]))}"),
                    truth=Sentence(f"picture {wanted}"),
                    correct=found[0] == wanted,
                    picture=shown.pictures[found[0]].image,
                )
            )
    return answers
