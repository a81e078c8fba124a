"""How much faster BEiT-3 writes captions when beams share their image and weights are packed for few rows.

Base size, 224 pixels, two threads, float32, random weights. On the other side stands the published algorithm as it is
written: each beam has a copy of the image that goes through the transformer, keys and values of image and text are
stored together and reordered and joined anew in each step, words are scored at two places though one counts, a loop
goes through the candidates one by one, and the last call of all is in vain. It reads two tokens a step, without any
padding. Its layers are ours, so that it has fused attention, which the original has not. Both take turns on the same
images, so that whatever else the machine does hits both alike; the ratio is that of the medians, and the texts must be
the same. Packing the weights is part of our time. The processor's time, which counts all threads, stands beside the
clock's, for machines that do other things, too.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

import torch
from torch import Tensor

from koine.systems.beit3.backbone import sequence_to_sequence_mask
from koine.systems.beit3.config import Beit3Config
from koine.systems.beit3.decoding import Decoding, write
from koine.systems.beit3.model import Beit3Model
from koine.systems.beit3.multiway import Route

BAR = 2.0
IMPOSSIBLE = -1e9


class JoinedCache:
    """Keys and values of all that was fed, joined anew with what each call adds."""

    def __init__(self) -> None:
        self.held: dict[int, tuple[Tensor, Tensor]] = {}

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        if layer in self.held:
            before = self.held[layer]
            keys, values = torch.cat((before[0], keys), dim=2), torch.cat((before[1], values), dim=2)
        self.held[layer] = (keys, values)
        return keys, values

    def reorder(self, rows: Tensor) -> None:
        """Rows of the batch in another order, and the last entry, the mask token's, cut off."""
        self.held = {
            layer: (keys.index_select(0, rows)[:, :, :-1], values.index_select(0, rows)[:, :, :-1])
            for layer, (keys, values) in self.held.items()
        }


@torch.inference_mode()
def straightforward(model: Beit3Model, images: Tensor, options: Decoding) -> Tensor:
    """Ids as `koine.systems.beit3.decoding.write` returns them, by the published algorithm step by step."""
    config, beams, limit = model.config, options.beams, options.max_length
    batch = len(images)
    images = images.repeat_interleave(beams, dim=0)
    cache = JoinedCache()
    ids = torch.full((batch * beams, 2), config.mask_token_id)
    ids[:, 0] = config.bos_token_id
    beam_scores = torch.full((batch, beams), IMPOSSIBLE)
    beam_scores[:, 0] = 0
    beam_scores = beam_scores.view(-1)
    best: list[tuple[float, Tensor] | None] = [None] * batch
    done = [False] * batch
    length = 2
    while length <= limit:
        hidden = forward(model, images, ids, length, cache)
        logits = model.require("captioning")(hidden)[:, 1]
        words = config.vocab_size
        scores = (logits.log_softmax(dim=-1) + beam_scores[:, None]).view(batch, beams * words)
        top_scores, top = scores.topk(3 * beams, dim=1)
        following: list[tuple[float, int, int]] = []
        for example in range(batch):
            found = best[example]
            bound = top_scores[example].max().item() / (limit - 1) ** options.length_penalty
            done[example] = done[example] or (found is not None and found[0] >= bound)
            if done[example]:
                following += [(0.0, config.pad_token_id, 0)] * beams
                continue
            kept: list[tuple[float, int, int]] = []
            for place, score in zip(top[example], top_scores[example], strict=True):
                row, word = example * beams + place.item() // words, place.item() % words
                if word == config.eos_token_id or length + 1 == limit:
                    value = score.item() / length**options.length_penalty
                    if best[example] is None or value > best[example][0]:
                        best[example] = (value, ids[row, :length].clone())
                else:
                    kept.append((score.item(), word, row))
                if len(kept) == beams:
                    break
            following += kept if kept else [(0.0, config.pad_token_id, 0)] * beams
        if all(done):
            break
        beam_scores = torch.tensor([score for score, _, _ in following])
        rows = torch.tensor([row for _, _, row in following])
        ids = ids[rows]
        ids[:, -1] = torch.tensor([word for _, word, _ in following])
        ids = torch.cat((ids, torch.full((len(ids), 1), config.mask_token_id)), dim=1)
        cache.reorder(rows)
        length += 1
    result = torch.full((batch, limit), config.pad_token_id)
    for example, hypothesis in enumerate(best):
        assert hypothesis is not None
        text = hypothesis[1]
        result[example, : len(text)] = text
        result[example, len(text)] = config.eos_token_id
    return result


def forward(model: Beit3Model, images: Tensor, ids: Tensor, length: int, cache: JoinedCache) -> Tensor:
    """Features of the last word and the mask token behind it."""
    backbone, image_tokens = model.beit3, model.config.image_tokens
    if length == 2:
        tokens, route, mask = backbone.embed(images, ids, source_tokens=image_tokens)
        return backbone.encoder(tokens, route, mask=mask, store=cache).last_hidden_state[:, image_tokens:]
    mask = sequence_to_sequence_mask(image_tokens, image_tokens + length)[-2:]
    tokens = backbone.embed_texts(ids[:, -2:], torch.tensor([length - 2, length - 1]))
    return backbone.encoder(tokens, Route(0, fused=True), mask=mask, store=cache).last_hidden_state


def main() -> int:
    """Prints both times and their ratio; status 1 if it misses the bar or the texts differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--beams", type=int, default=3)
    parser.add_argument("--length", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    model = Beit3Model(Beit3Config.published("base", "captioning")).eval()
    images = torch.randn(options.images, 3, 224, 224)
    decoding = Decoding(beams=options.beams, max_length=options.length)
    searches = {
        "straightforward": lambda: straightforward(model, images, decoding),
        "shared image": lambda: write(model, images, options=decoding).ids,
    }
    seconds: dict[str, list[float]] = {name: [] for name in searches}
    busy: dict[str, list[float]] = {name: [] for name in searches}
    texts: dict[str, Tensor] = {}
    for repeat in range(options.repeats + 1):
        for name, search in searches.items():
            begin, begin_busy = time.perf_counter(), time.process_time()
            texts[name] = search()
            if repeat:  # the first round warms up
                seconds[name].append(time.perf_counter() - begin)
                busy[name].append(time.process_time() - begin_busy)

    medians, work = ({name: statistics.median(times) for name, times in each.items()} for each in (seconds, busy))
    ratio, of_work = (each["straightforward"] / each["shared image"] for each in (medians, work))
    same = torch.equal(texts["straightforward"], texts["shared image"])
    print(f"{options.images} images, {options.beams} beams, {options.length} tokens, {options.threads} threads")
    for name in searches:
        print(f"{name:15s} {medians[name]:6.2f} s (from {min(seconds[name]):.2f} s), processor {work[name]:.2f} s")
    print(f"ratio           {ratio:6.2f} x (bar: {BAR:g}), processor {of_work:.2f} x")
    print(f"texts           {'the same' if same else 'DIFFER'}")
    return 0 if ratio >= BAR and same else 1


if __name__ == "__main__":
    sys.exit(main())
