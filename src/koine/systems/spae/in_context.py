"""A frozen language model as a reader and writer of pictures' words: prompts in, tokens out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from koine.errors import InputError
from koine.systems.spae.episodes import Piece

LONGEST_NAME = 16
"""Tokens that an unrestricted answer may have (the protocol's)."""


class OneOf(LogitsProcessor):
    """Lets each row write one of its own texts only, and then the end token."""

    def __init__(self, choices: Sequence[Sequence[Sequence[int]]], *, begin: int, end: int) -> None:
        """
        Args:
            choices: for each row the token rows that it may write.
            begin: where in the rows writing begins.
            end: the end token.
        """
        self.choices = [[[*choice, end] for choice in of_row] for of_row in choices]
        self.begin, self.end = begin, end

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        masked = torch.full_like(scores, -torch.inf)
        for row, written in enumerate(input_ids[:, self.begin :].tolist()):
            length = len(written)
            fitting = [choice for choice in self.choices[row] if choice[:length] == written and len(choice) > length]
            allowed = [choice[length] for choice in fitting] or [self.end]
            masked[row, allowed] = scores[row, allowed]
        return masked


class Only(LogitsProcessor):
    """Lets rows write tokens of the codebook only."""

    def __init__(self, token_ids: Tensor) -> None:
        self.token_ids = token_ids

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        masked = torch.full_like(scores, -torch.inf)
        masked[:, self.token_ids] = scores[:, self.token_ids]
        return masked


class InContextModel:
    """A causal language model with its tokenizer; frozen, and it sees tokens only."""

    def __init__(self, model: Any, tokenizer: Any, *, batch_size: int = 32) -> None:
        """
        Args:
            model: any `AutoModelForCausalLM`.
            batch_size: prompts that go through the model together.
        """
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.batch_size = batch_size

    def encode(self, pieces: Sequence[Piece], *, to_write: int = 1) -> list[int]:
        """One row of tokens; texts are tokenised each by itself, a picture's tokens stand as they are.

        Args:
            to_write: how many tokens may come behind it.
        Raises:
            InputError: more tokens, with those to be written, than the model has positions.
        """
        begin = [] if self.tokenizer.bos_token_id is None else [self.tokenizer.bos_token_id]
        row = [*begin, *(token for piece in pieces for token in self._tokens(piece))]
        longest = getattr(self.model.config, "max_position_embeddings", None)
        if longest is not None and len(row) + to_write > longest:
            raise InputError(
                f"a prompt of {len(row)} tokens and {to_write} to be written don't fit the language model's {longest} "
                "positions: show fewer or shorter examples, or use fewer layers of words"
            )
        return row

    def name(self, prompts: Sequence[Sequence[Piece]], choices: Sequence[Sequence[str]] | None = None) -> list[str]:
        """What the model writes after each prompt: the likeliest tokens, one line at most.

        Args:
            choices: for each prompt the only texts that may be written; by default anything.
        """
        written = [""] * len(prompts)
        allowed = [[self._tokens(choice) for choice in of_prompt] for of_prompt in choices or ()]
        # A text that may be written is written to its end, and the end token after it.
        length = max([LONGEST_NAME, *(len(choice) + 1 for of_prompt in allowed for choice in of_prompt)])
        for numbers, ids in self._batches([self.encode(pieces, to_write=length) for pieces in prompts]):
            processors = []
            if choices is not None:
                rows = [allowed[number] for number in numbers]
                processors.append(OneOf(rows, begin=ids["input_ids"].shape[1], end=self._end))
            found = self._generate(ids, processors, max_new_tokens=length)
            for number, text in zip(numbers, self.tokenizer.batch_decode(found, skip_special_tokens=True), strict=True):
                written[number] = text.strip().partition("\n")[0]
        return written

    def continue_with(self, prompts: Sequence[Sequence[Piece]], token_ids: Tensor, *, length: int) -> Tensor:
        """The likeliest `length` tokens after each prompt, of `token_ids` [codes] only: long [prompts, length]."""
        found = torch.zeros(len(prompts), length, dtype=torch.int64)
        for numbers, ids in self._batches([self.encode(pieces, to_write=length) for pieces in prompts]):
            written = self._generate(ids, [Only(token_ids)], max_new_tokens=length, min_new_tokens=length)
            found[numbers] = written.cpu()
        return found

    @property
    def _end(self) -> int:
        end = self.tokenizer.eos_token_id
        if end is None:
            end = self.model.config.eos_token_id
        if isinstance(end, list):
            end = end[0] if end else None
        if end is None:
            raise InputError("the language model has no end token: give its tokenizer one (eos_token)")
        return int(end)

    def _tokens(self, piece: Piece) -> list[int]:
        if isinstance(piece, str):
            return list(self.tokenizer(piece, add_special_tokens=False)["input_ids"])
        return piece

    def _batches(self, rows: Sequence[list[int]]) -> Any:
        """Prompts of about the same length together, padded on the left: (their numbers, tensors)."""
        order = sorted(range(len(rows)), key=lambda number: len(rows[number]))
        for begin in range(0, len(order), self.batch_size):
            numbers = order[begin : begin + self.batch_size]
            longest = max(len(rows[number]) for number in numbers)
            ids = torch.full((len(numbers), longest), self._end)
            mask = torch.zeros_like(ids)
            for place, number in enumerate(numbers):
                ids[place, longest - len(rows[number]) :] = torch.tensor(rows[number])
                mask[place, longest - len(rows[number]) :] = 1
            device = self.model.device
            yield numbers, {"input_ids": ids.to(device), "attention_mask": mask.to(device)}

    @torch.inference_mode()
    def _generate(self, ids: dict[str, Tensor], processors: list[Any], **options: Any) -> Tensor:
        """The new tokens [rows, n], greedy."""
        written = self.model.generate(
            **ids,
            do_sample=False,
            pad_token_id=self._end,
            eos_token_id=self._end,
            logits_processor=LogitsProcessorList(processors),
            # A folder's own settings may forbid to repeat what the prompt has, which is what examples are for.
            num_beams=1,
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
            **options,
        )
        new: Tensor = written[:, ids["input_ids"].shape[1] :]
        return new
