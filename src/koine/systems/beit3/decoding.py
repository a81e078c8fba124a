"""Writing texts from images with a masked language model: each next word is the one predicted at a mask token.

The published search in another order of work. Image and source text see nothing of what is written, so they go through
the transformer once, and all beams of an example share their keys and values: the beams stand side by side in one row
of tokens, each word seeing the source and its own beam. On CPUs the weights are packed for that few rows. Results are
those of the original, word for word.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from koine.errors import InputError
from koine.systems.beit3.backbone import trim_padding
from koine.systems.beit3.config import Beit3Config
from koine.systems.beit3.model import Beit3Model
from koine.systems.beit3.multiway import Multiway, Route
from koine.systems.beit3.packed_linear import with_packed

_IMPOSSIBLE = -1e9
_STEEPEST = 10
"""The power of a text's length that its score is divided by, at most."""


@dataclass(frozen=True)
class Decoding:
    """How texts are searched for.

    Attributes:
        beams: candidates that are followed; 1 takes the likeliest word each time.
        length_penalty: a text's score is its log-probability divided by its length to this power; length counts the
            first token and the placeholder, as published.
        max_length: longest text with its three special tokens; the last word that it allows is left out, as published.

    Raises:
        InputError: a value out of range.
    """

    beams: int = 3
    length_penalty: float = 0.6
    max_length: int = 64

    def __post_init__(self) -> None:
        if self.beams < 1:
            raise InputError(f"beams = {self.beams} follows nothing: give at least 1")
        if self.max_length < 4:
            raise InputError(f"max_length = {self.max_length} leaves no room for a word: give at least 4")
        if not abs(self.length_penalty) <= _STEEPEST:  # nan is refused, too
            raise InputError(
                f"length_penalty = {self.length_penalty} drowns what a text scores: give a number from -{_STEEPEST} to "
                f"{_STEEPEST}, such as 0.6"
            )


@dataclass(frozen=True)
class Decoded:
    """Texts as they were found.

    Attributes:
        ids: [texts, max_length] long: first token, words, a mask token, end token, then padding.
        scores: [texts] float32: log-probability divided by length to the power of the penalty.
        hypotheses: how many ended texts were compared, over all examples.
    """

    ids: Tensor
    scores: Tensor
    hypotheses: int


class BeamCache:
    """Keys and values of a source and of what its beams have written so far, for all layers.

    A row of keys is: the source's tokens, then for each place of the text the tokens of all beams. The first `length`
    of them are in use, so that what is written grows at the end and is never moved but between beams.
    """

    def __init__(self, config: Beit3Config, *, places: int, beams: int) -> None:
        self.layers, self.heads = config.num_hidden_layers, config.num_attention_heads
        self.places, self.beams = places, beams
        self.source = 0
        self.length = 0
        self.added = 0
        self.held: Tensor | None = None

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """See `KeyValueStore`; what a call adds counts as held after `advance`."""
        self.added = keys.shape[2]
        end = self.length + self.added
        if self.held is None:
            room = self.added + self.places * self.beams
            shape = (2, self.layers, len(keys), self.heads, room, keys.shape[-1])
            self.held = keys.new_empty(shape)
        self.held[0, layer, :, :, self.length : end] = keys
        self.held[1, layer, :, :, self.length : end] = values
        return self.held[0, layer, :, :, :end], self.held[1, layer, :, :, :end]

    def close_source(self) -> None:
        """What was added so far is the source."""
        self.source = self.length = self.added

    def advance(self) -> None:
        """Holds one more place of the text; what else was added with it, the mask tokens, is forgotten."""
        self.length += self.beams

    def reorder(self, parents: Tensor) -> None:
        """Beam b goes on from what beam `parents[i, b]` of example i has written."""
        if self.beams == 1 or self.held is None:
            return
        text = self.held[..., self.source : self.length, :].unflatten(4, (-1, self.beams))
        index = parents[None, None, :, None, None, :, None].expand(text.shape)
        self.held[..., self.source : self.length, :] = text.gather(5, index).flatten(4, 5)

    def keep(self, examples: Tensor) -> None:
        """Forgets all examples but these, [kept] long."""
        if self.held is not None:
            self.held = self.held[:, :, examples]


@torch.inference_mode()
def write(
    model: Beit3Model,
    pixel_values: Tensor | None = None,
    *,
    source_ids: Tensor | None = None,
    source_attention_mask: Tensor | None = None,
    options: Decoding | None = None,
) -> Decoded:
    """The likeliest text for each image, source text, or pair of both, by beam search.

    Args:
        model: with the head "captioning", in evaluation mode.
        pixel_values: [examples, 3, size, size].
        source_ids, source_attention_mask: [examples, tokens], a text to write from, for instance a question.
    Raises:
        InputError: there is no source, the text may become longer than there are positions, or the weights have no
            captioning head.
    """
    options = options or Decoding()
    search = BeamSearch(model, options, pixel_values, *_trimmed(source_ids, source_attention_mask))
    while search.unfinished:
        search.step()
    return search.result()


class BeamSearch:
    """A search in progress: `step` finds one more word for each beam of each unfinished example.

    Attributes:
        ids: [unfinished, beams, max_length], the first token, the words so far, mask tokens from there on.
        scores: [unfinished, beams], log-probabilities of the words so far.
        length: tokens of each beam, with the first token and one mask token.
    """

    def __init__(
        self,
        model: Beit3Model,
        options: Decoding,
        pixel_values: Tensor | None,
        source_ids: Tensor | None,
        source_mask: Tensor | None,
    ) -> None:
        given = pixel_values if pixel_values is not None else source_ids
        if given is None:
            raise InputError("there is nothing to write from: give an image or a source text")
        self.model, self.options, self.config = model, options, model.config
        model.require("captioning")
        examples, device = len(given), given.device
        source_length = 0 if source_ids is None else source_ids.shape[1]
        if source_length + options.max_length - 1 > self.config.max_text_tokens:
            raise InputError(
                f"max_length {options.max_length} behind a source text of {source_length} tokens exceeds the "
                f"{self.config.max_text_tokens} positions of this BEiT-3: lower it"
            )
        self.cache = BeamCache(self.config, places=options.max_length, beams=options.beams)
        self.route = Route(0, fused=pixel_values is not None)
        self._read_source(pixel_values, source_ids, source_mask)
        self.encoder, self.head = _for_few_rows(model, self.route, rows=examples * options.beams)
        # Places in a text go on where the source text ends, which padding on the right does not move.
        self.first_place = torch.zeros(examples, dtype=torch.long, device=device)
        self.source_mask: Tensor | None = None
        if source_ids is not None:
            self.first_place += source_length if source_mask is None else source_mask.long().sum(1)
        if source_mask is not None:
            image = self.cache.source - source_length
            self.source_mask = F.pad(source_mask.bool(), (image, 0), value=True)
        self.ids = torch.full(
            (examples, options.beams, options.max_length), self.config.mask_token_id, dtype=torch.long, device=device
        )
        self.ids[:, :, 0] = self.config.bos_token_id
        # Beams are alike at first: all but one must not count, or all would stay alike.
        self.scores = torch.full((examples, options.beams), _IMPOSSIBLE, device=device)
        self.scores[:, 0] = 0
        self.length = 2
        self.numbers = torch.arange(examples, device=device)
        self.best = torch.full((examples, options.max_length), self.config.pad_token_id, device=device)
        self.best_scores = torch.full((examples,), -torch.inf, device=device)
        self.hypotheses = 0

    def _read_source(self, pixel_values: Tensor | None, source_ids: Tensor | None, mask: Tensor | None) -> None:
        backbone = self.model.beit3
        tokens, route, mask = backbone.embed(pixel_values, source_ids, attention_mask=mask)
        # An image alone is half of a pair here, and goes through the experts of pairs.
        backbone.encoder.remember(tokens, replace(route, fused=self.route.fused), self.cache, mask=mask)
        self.cache.close_source()

    @property
    def unfinished(self) -> bool:
        """Whether any example may still find a better text."""
        return len(self.numbers) > 0 and self.length < self.options.max_length

    def features(self) -> Tensor:
        """[unfinished, 2 * beams, width] of each beam's last word, then of its mask token."""
        written = self.length - 2
        beams, device = self.options.beams, self.ids.device
        # Place by place, all beams of a place in a row: last words, then mask tokens.
        tokens = self.ids[:, :, written : written + 2].transpose(1, 2).flatten(1)
        steps = torch.tensor([written, written + 1], device=device).repeat_interleave(beams)
        embedded = self.model.beit3.embed_texts(tokens, self.first_place[:, None] + steps)
        output = self.encoder(embedded, self.route, mask=self._mask(written), store=self.cache)
        features: Tensor = output.last_hidden_state
        return features

    def _mask(self, written: int) -> Tensor:
        """bool [unfinished or 1, 1, 2 * beams, keys]: the source, and what the same beam has up to here."""
        beams, device = self.options.beams, self.ids.device
        beam = torch.arange(beams, device=device)
        of_keys = beam.repeat(written + 2)
        place = torch.arange(written + 2, device=device).repeat_interleave(beams)
        of_queries = beam.repeat(2)
        until = torch.tensor([written, written + 1], device=device).repeat_interleave(beams)
        own = (of_keys == of_queries[:, None]) & (place <= until[:, None])
        if self.source_mask is None:
            return F.pad(own, (self.cache.source, 0), value=True)[None, None]
        source = self.source_mask[:, None].expand(-1, 2 * beams, -1)
        return torch.cat((source, own.expand(len(source), -1, -1)), dim=-1)[:, None]

    def step(self) -> None:
        """One more word."""
        beams, penalty, limit = self.options.beams, self.options.length_penalty, self.options.max_length
        scores, parents, words = self._candidates(self.head(self.features()[:, beams:]).float())
        # An example is done if not even its likeliest candidate could beat what it has. The bound's length is the
        # longest there is, whatever the candidate's.
        done = self.best_scores[self.numbers] >= scores[:, 0] / (limit - 1) ** penalty
        ends = (words == self.config.eos_token_id) | torch.tensor(self.length + 1 == limit, device=words.device)
        lives = ~ends
        earlier = lives.cumsum(1) - lives.long()
        ends &= (earlier < beams) & ~done[:, None]  # candidates behind the last beam that is needed don't count
        self._take_ended(ends, scores / self.length**penalty, parents)
        if self.length + 1 < limit and not bool(done.all()):
            self._follow(lives & (earlier < beams), ~done, scores, parents, words)
        else:
            self.numbers = self.numbers[:0]
        self.length += 1

    def _candidates(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The 3 * beams likeliest continuations, likeliest first: scores, beams, words, each [unfinished, number]."""
        number = 3 * self.options.beams
        of_beam = logits.topk(min(number, logits.shape[-1]), dim=-1)
        log_probabilities = of_beam.values - logits.logsumexp(dim=-1, keepdim=True)
        scores = (log_probabilities + self.scores[..., None]).flatten(1)
        best = scores.topk(min(number, scores.shape[1]), dim=1)
        return best.values, best.indices // of_beam.values.shape[-1], of_beam.indices.flatten(1).gather(1, best.indices)

    def _take_ended(self, ends: Tensor, scores: Tensor, parents: Tensor) -> None:
        """Keeps the best ended text of each example; of one step's the first is the best."""
        self.hypotheses += int(ends.sum())
        first = ends.long().argmax(dim=1, keepdim=True)
        found = scores.gather(1, first)[:, 0]
        better = ends.any(dim=1) & (found > self.best_scores[self.numbers])
        rows, beam = self.numbers[better], parents.gather(1, first)[better, 0]
        self.best_scores[rows] = found[better]
        self.best[rows] = self.config.pad_token_id
        self.best[rows, : self.length] = self.ids[better, beam, : self.length]
        self.best[rows, self.length] = self.config.eos_token_id

    def _follow(self, lives: Tensor, going: Tensor, scores: Tensor, parents: Tensor, words: Tensor) -> None:
        """Goes on with the first living candidates of the examples that are not done."""
        beams = self.options.beams
        # A stable sort brings the living to the front in their order.
        chosen = lives[going].long().argsort(dim=1, descending=True, stable=True)[:, :beams]
        parents = parents[going].gather(1, chosen)
        self.scores = scores[going].gather(1, chosen)
        self.cache.advance()
        if not bool(going.all()):
            rows = going.nonzero()[:, 0]
            self.cache.keep(rows)
            self.numbers, self.first_place = self.numbers[rows], self.first_place[rows]
            self.ids = self.ids[rows]
            self.source_mask = None if self.source_mask is None else self.source_mask[rows]
        self.cache.reorder(parents)
        self.ids = self.ids.gather(1, parents[..., None].expand(-1, -1, self.ids.shape[-1]))
        self.ids[:, :, self.length - 1] = words[going].gather(1, chosen)

    def result(self) -> Decoded:
        """What was found."""
        return Decoded(self.best, self.best_scores, self.hypotheses)


def _for_few_rows(model: Beit3Model, route: Route, *, rows: int) -> tuple[nn.Module, nn.Module]:
    """The encoder for texts, and the captioning head, whose linear maps are quick for so many rows.

    Packing all weights costs what some steps do, and makes each step nearly twice as fast.
    """
    encoder, head = model.beit3.encoder, model.require("captioning")
    experts = [module.text_expert(fused=route.fused) for module in encoder.modules() if isinstance(module, Multiway)]
    return with_packed(encoder, experts, rows=2 * rows), with_packed(head, [head], rows=rows)


def _trimmed(ids: Tensor | None, mask: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    return (None, None) if ids is None else trim_padding(ids, mask)
