"""Ferret's part of the tour: point, box, scribble, ask; then let it ground its own words."""

from __future__ import annotations

from koine.data.world_exhibits import region_exhibits
from koine.report.contents import Answer, Section
from koine.systems.ferret.system import Ferret

PAPER = "https://arxiv.org/abs/2310.07704"


def page(ferret: Ferret, seed: int) -> Section:
    """Every answer beside the truth, on scenes drawn by `seed` that no training saw."""
    exhibits = region_exhibits(seed)
    replies = ferret.respond_batch([exhibit.example.prompt for exhibit in exhibits])
    answers = []
    for exhibit, reply in zip(exhibits, replies, strict=True):
        verdict = exhibit.judge(reply)
        question, truth = exhibit.example.prompt, exhibit.example.target
        task, _, aspect = exhibit.task.partition(": ")  # a heading for each way of asking, not for each attribute too
        note = ", ".join(filter(None, (aspect, verdict.note)))
        answers.append(Answer(task, question, reply, truth, verdict.correct, note))
    return Section(
        title="Ferret: refer to anything, ground everything",
        lead="Somebody points at a thing, boxes it or scribbles over it, and asks. Ferret answers in words, and puts "
        "a box after what it names. In nested scenes two things share one box: only the scribble tells which is meant.",
        link=PAPER,
        answers=answers,
    )
