"""Nano stand-ins for what the papers start from: a tokenizer, a language model, CLIP. Classes of transformers, so
that the same code runs with the real ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from koine.training import Recipe


def _language_model() -> Recipe:
    from koine.foundations.language_model_recipe import LanguageModelRecipe

    return LanguageModelRecipe()


def _clip() -> Recipe:
    from koine.foundations.clip_recipe import ClipRecipe

    return ClipRecipe()


def _in_context() -> Recipe:
    from koine.foundations.in_context_recipe import InContextRecipe

    return InContextRecipe()


RECIPES: dict[str, Callable[[], Recipe]] = {
    "language-model": _language_model,
    "clip": _clip,
    "in-context-language-model": _in_context,
}
"""Trainings of the foundations, in the order in which they can be run."""
