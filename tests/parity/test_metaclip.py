"""MetaCLIP's curation and CLIP: the same results as the original code, case by case."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import random
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from koine.curation.balancing import (
    choose_in_sequence,
    count_entries,
    entry_probabilities,
    keep_by_index,
    keep_in_sequence,
    tail_share,
    text_probabilities,
    threshold_for,
)
from koine.curation.common_crawl import read_html, read_wat, uid_of, without_repetitions
from koine.curation.matching import Matcher, Matches
from koine.curation.metadata import build_second
from koine.curation.ngrams import count_ngrams, pointwise_mutual_information, tokens
from koine.curation.spacing import Rule, key, spaced
from koine.curation.spilled_counts import SpilledCounts
from koine.parts.contrastive import contrastive_loss
from koine.systems.metaclip.config import Tokens, config_of_release
from koine.systems.metaclip.model import image_features, model_class, text_features
from koine.systems.metaclip.weights import build, convert_state, infer_config, tokens_of

SHIPPED = Path(__file__).parents[1] / "golden"


def golden_file(name: str) -> Path:
    """A file of the folder that `KOINE_GOLDEN` names, or of the shipped set if that folder lacks it."""
    folders = [Path(os.environ.get("KOINE_GOLDEN", SHIPPED)), SHIPPED]
    return next(path for folder in folders if (path := folder / "metaclip" / name).is_file())


@cache
def golden_json(name: str) -> Any:
    return json.loads(gzip.decompress(golden_file(name).read_bytes()))


@cache
def golden_arrays(name: str) -> dict[str, np.ndarray]:
    return load_file(golden_file(name))


MATCHES = golden_arrays("matches.safetensors")
ENTRIES: list[str] = golden_json("corpus.json.gz")["entries"]
TEXTS: list[str] = golden_json("corpus.json.gz")["texts"]


def expected_matches(variant: str) -> Matches:
    offsets = MATCHES[f"{variant}.offsets"].astype(np.int64)
    return Matches(offsets, MATCHES[f"{variant}.ids"].astype(np.int32))


def keys_like(prefix: str) -> list[str]:
    """The golden keys that begin so; a set may have other thresholds and seeds than ours."""
    found = sorted(name for name in MATCHES if name.startswith(prefix))
    assert found, f"no golden case begins with {prefix}"
    return found


def assert_same(found: Matches, variant: str) -> None:
    expected = expected_matches(variant)
    np.testing.assert_array_equal(found.offsets, expected.offsets)
    np.testing.assert_array_equal(found.ids, expected.ids)


def test_spacing() -> None:
    cases = golden_json("spacing.json.gz")
    assert [spaced(TEXTS[text]) for text in cases["text_index"]] == cases["spaced_text"]
    assert [key(entry, Rule.V2) for entry in ENTRIES] == cases["v2_spaced_entries"]


def test_plain_matching_of_the_first_release() -> None:
    assert_same(Matcher.build(ENTRIES, repeated="all").match(TEXTS), "v1_naive")


def test_automaton_of_the_first_release() -> None:
    assert_same(Matcher.build(ENTRIES).match(TEXTS), "v1_ac_sorted")


def test_the_empty_entry() -> None:
    texts = len(MATCHES["v1_empty_entry.offsets"]) - 1
    described = json.loads(golden_file("manifest.json").read_text())["keys"]["v1_empty_entry.offsets/ids"]
    listed = int(re.search(r"entries\[:(\d+)\]", described)[1])
    assert_same(Matcher.build(["", *ENTRIES[:listed]], repeated="all").match(TEXTS[:texts]), "v1_empty_entry")


def test_matching_of_the_second_release() -> None:
    assert_same(Matcher.build(ENTRIES, rule="v2").match(TEXTS), "v2")


@pytest.mark.parametrize("variant", ["v1", "v2"])
def test_counts(variant: str) -> None:
    matches = expected_matches("v1_naive" if variant == "v1" else "v2")
    np.testing.assert_array_equal(count_entries(matches, len(ENTRIES)), MATCHES[f"{variant}.entry_count"])


@pytest.mark.parametrize("name", keys_like("v1.entry_prob.t"))
def test_probabilities_of_entries(name: str) -> None:
    found = entry_probabilities(MATCHES["v1.entry_count"], threshold_in(name))
    np.testing.assert_allclose(found, MATCHES[name], rtol=1e-15)


@pytest.mark.parametrize("name", keys_like("v2.entry_prob.t"))
def test_probabilities_of_the_second_release(name: str) -> None:
    found = entry_probabilities(MATCHES["v2.entry_count"], threshold_in(name), np.float32)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, MATCHES[name], rtol=1e-7)


@pytest.mark.parametrize("name", keys_like("v1.text_keep_prob.t"))
def test_probabilities_of_texts(name: str) -> None:
    chances = entry_probabilities(MATCHES["v1.entry_count"], threshold_in(name))
    found = text_probabilities(expected_matches("v1_naive"), chances)
    np.testing.assert_allclose(found, MATCHES[name], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", keys_like("v1.keep_sequential.t"))
def test_sequential_subsets(name: str) -> None:
    chances = entry_probabilities(MATCHES["v1.entry_count"], threshold_in(name))
    stream = random.Random(seed_in(name, "seed"))
    kept = keep_in_sequence(expected_matches("v1_naive"), chances, stream.random)
    np.testing.assert_array_equal(kept, MATCHES[name].astype(bool))


@pytest.mark.parametrize("name", [name for name in keys_like("v1.pair_offsets_inverted.t") if "npseed" in name])
def test_subsets_by_the_inverted_index(name: str) -> None:
    matches = expected_matches("v1_naive")
    chances = entry_probabilities(MATCHES["v1.entry_count"], threshold_in(name))
    draws = np.random.RandomState(seed_in(name, "npseed")).random_sample(len(matches.ids))
    np.testing.assert_array_equal(np.flatnonzero(keep_by_index(matches, chances, draws)), MATCHES[name])


def test_without_a_threshold_every_match_is_kept() -> None:
    matches = expected_matches("v1_naive")
    chances = entry_probabilities(MATCHES["v1.entry_count"], np.inf)
    kept = keep_by_index(matches, chances, np.random.default_rng(0).random(len(matches.ids)))
    np.testing.assert_array_equal(np.flatnonzero(kept), MATCHES["v1.pair_offsets_inverted.tinf"])


@pytest.mark.parametrize("name", keys_like("v2.t_to_p.t"))
def test_threshold_to_tail_share(name: str) -> None:
    assert tail_share(MATCHES["v2.entry_count"], threshold_in(name)) == pytest.approx(MATCHES[name].item(), rel=1e-15)


def test_tail_share_to_threshold() -> None:
    shares, expected = MATCHES["v2.p_to_t_grid_p"], MATCHES["v2.p_to_t_grid_t"]
    assert [threshold_for(MATCHES["v2.entry_count"], share) for share in shares] == expected.tolist()


def test_the_threshold_of_another_language() -> None:
    total, threshold = MATCHES["v2.lang2.entry_count"], int(MATCHES["v2.lang2.t"].item())
    (name,) = keys_like("v2.t_to_p.t")
    assert threshold_for(total, MATCHES[name].item()) == threshold
    np.testing.assert_allclose(
        entry_probabilities(total, threshold, np.float32), MATCHES["v2.lang2.entry_prob"], rtol=1e-7
    )


@pytest.mark.parametrize("name", keys_like("v2.groups.selected_text.seed"))
def test_online_choice(name: str) -> None:
    (chances_name,) = keys_like("v2.entry_prob.t")
    chances = text_probabilities(expected_matches("v2"), MATCHES[chances_name])
    offsets, members = MATCHES["v2.groups.offsets"], MATCHES["v2.groups.text_ids"].tolist()
    groups = [members[begin:end] for begin, end in itertools.pairwise(offsets)]
    stream = random.Random(seed_in(name, "seed"))
    choice = choose_in_sequence(groups, chances, stream.choice, stream.random)
    np.testing.assert_array_equal(choice.texts, MATCHES[name])
    expected = MATCHES[name.replace("selected_text", "prob_of_choice")]
    np.testing.assert_allclose(choice.probabilities.astype(np.float64), expected, rtol=1e-6)


def threshold_in(name: str) -> int:
    """20 of "v1.entry_prob.t20" and "v1.keep_sequential.t20.seed0"."""
    return next(int(part[1:]) for part in name.split(".") if part[:1] == "t" and part[1:].isdigit())


def seed_in(name: str, word: str) -> int:
    """0 of "v1.keep_sequential.t20.seed0"."""
    return int(name.rsplit(word, 1)[1])


def as_records(links: Any) -> list[dict[str, Any]]:
    return [{"uuid": link.uid, "url": link.url, "texts": [list(text) for text in link.texts]} for link in links]


def wat_lines() -> list[bytes]:
    parsing = golden_json("parsing.json.gz")
    content = parsing["wat_text"].encode() + bytes.fromhex(parsing["wat_trailing_bad_bytes_hex"])
    return content.splitlines(keepends=True)


def test_wat_of_the_first_release() -> None:
    parsing = golden_json("parsing.json.gz")
    assert as_records(read_wat(wat_lines())) == parsing["v1_nodedup"]
    assert as_records(without_repetitions(read_wat(wat_lines()))) == parsing["v1_dedup"]


def test_wat_of_the_second_release() -> None:
    expected = golden_json("parsing.json.gz")["v2"]
    found = as_records(read_wat(wat_lines(), Rule.V2))
    # The original adds the language, which the set gives as "xx".
    assert [{**record, "texts": [[*text, "xx"] for text in record["texts"]]} for record in found] == expected


def test_matching_of_wat_records() -> None:
    case = golden_json("parsing.json.gz")["v1_process_data"]
    matcher = Matcher.build(case["entries"])
    found = []
    for record in as_records(without_repetitions(read_wat(wat_lines()))):
        matches = matcher.match([text for _, text in record["texts"]])
        texts = [[*text, matches.of(place).tolist()] for place, text in enumerate(record["texts"])]
        if texts := [text for text in texts if text[2]]:
            found.append({**record, "texts": texts})
    assert found == case["out"]


def test_uids() -> None:
    for url, first, second in golden_json("parsing.json.gz")["uuid"]:
        assert (uid_of(url), uid_of(url, Rule.V2)) == (first, second)


def test_html() -> None:
    case = golden_json("parsing.json.gz")["warc_html"]
    assert case["lid"] == "en iff ascii"
    assert as_records(without_repetitions(read_html(case["html"], case["target"], accept=str.isascii))) == case["out"]


@pytest.mark.parametrize("language", golden_json("parsing.json.gz")["v2_build_metadata"]["langs"])
def test_lists_of_the_second_release(language: str) -> None:
    cases = golden_json("parsing.json.gz")["v2_build_metadata"]
    case = cases["langs"][language]
    lemmas = cases["wordnet"].get({"fr": "fra", "zh": "cmn"}.get(language, ""), [])
    bigrams = [(pair, pmi) for pair, pmi in case["pmi"]]
    built = build_second(language, lemmas=lemmas, unigrams=case["unigram"], bigrams=bigrams, titles=case["titles"])
    assert list(zip(built.entries, built.sources, strict=True)) == list(case["out"].items())


def test_words_and_pairs(tmp_path: Path) -> None:
    for case in golden_json("parsing.json.gz")["ngram"]:
        assert tokens(case["text"]) == case["tokens"]
        with SpilledCounts(tmp_path) as unigrams, SpilledCounts(tmp_path) as bigrams:
            count_ngrams([case["text"]], unigrams, bigrams)
            assert dict(unigrams.items()) == case["unigram"]
            assert dict(bigrams.items()) == case["bigram"]


def test_pointwise_mutual_information() -> None:
    case = golden_json("parsing.json.gz")["v1_pmi"]
    found = dict(pointwise_mutual_information(case["unigram"], case["bigram"]))
    expected = {f"{first} {second}": score for first, second, score in case["scored"]}
    assert found.keys() == expected.keys()
    for pair, score in expected.items():
        assert found[pair] == pytest.approx(score, rel=1e-12, abs=1e-12)


def tiny_model(tokens: Tokens) -> Any:
    config = config_of_release(json.loads(golden_file("clip_tiny_config.json").read_text()), tokens)
    weights = {name: torch.from_numpy(array) for name, array in golden_arrays("clip_tiny_weights.safetensors").items()}
    return build(config, convert_state(weights))


def assert_close(found: torch.Tensor, name: str) -> None:
    expected = golden_arrays("clip_tiny_cases.safetensors")[name]
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-5, rtol=0)


def case(name: str) -> torch.Tensor:
    return torch.from_numpy(golden_arrays("clip_tiny_cases.safetensors")[name])


@torch.no_grad()
def test_picture_encoder_layer_by_layer() -> None:
    model = tiny_model(Tokens.CLIP)
    seen = model.vision_model(case("image"), output_hidden_states=True)
    assert_close(model.vision_model.embeddings.patch_embedding(case("image")), "vis.conv1")
    assert_close(seen.hidden_states[0], "vis.ln_pre")
    assert_close(seen.hidden_states[1].transpose(0, 1), "vis.block0_LND")
    assert_close(seen.hidden_states[-1].transpose(0, 1), "vis.transformer_LND")
    assert_close(seen.pooler_output, "vis.ln_post")
    assert_close(model.get_image_features(pixel_values=case("image")).pooler_output, "vis_feat")


@torch.no_grad()
def test_text_encoder_layer_by_layer() -> None:
    read = tiny_model(Tokens.CLIP).text_model(case("text_v1"), output_hidden_states=True)
    assert_close(read.hidden_states[1].transpose(0, 1), "text.block0_LND")
    assert_close(read.last_hidden_state, "text.ln_final")


@torch.no_grad()
@pytest.mark.parametrize(("tokens", "name"), [(Tokens.CLIP, "v1"), (Tokens.XLM_V, "worldwide"), (Tokens.MT5, "mt5")])
def test_text_features_of_every_kind_of_tokens(tokens: Tokens, name: str) -> None:
    model = tiny_model(tokens)
    assert_close(model.get_text_features(input_ids=case(f"text_{name}")).pooler_output, f"text_feat_{name}")


@torch.no_grad()
def test_similarities_and_loss() -> None:
    model = tiny_model(Tokens.CLIP)
    images, texts = image_features(model, case("image")), text_features(model, case("text_v1"))
    assert_close(images, "image_features")
    assert_close(texts, "text_features")
    scale = model.logit_scale.exp()
    assert_close(scale.reshape(1), "logit_scale_exp")
    assert_close(scale * images @ texts.T, "logits_per_image")
    assert_close(contrastive_loss(images, texts, scale).reshape(1), "loss")


@pytest.mark.parametrize(
    "path", sorted((SHIPPED / "metaclip").glob("keys_*.json.gz")), ids=lambda path: path.name[5:-8]
)
def test_every_published_key_has_its_place(path: Path) -> None:
    published = json.loads(gzip.decompress(golden_file(path.name).read_bytes()))
    state = {
        f"module.{name}": torch.empty(shape, device="meta", dtype=getattr(torch, kind))
        for name, (shape, kind) in published["keys"].items()
    }
    inferred = infer_config(state, quick_gelu=published["config"].get("quick_gelu", False))
    tokens = tokens_of(inferred)
    assert inferred.to_dict() == config_of_release(published["config"], tokens).to_dict()
    with torch.device("meta"):
        expected = {name: tensor.shape for name, tensor in model_class(inferred)(inferred).state_dict().items()}
    assert {name: tensor.shape for name, tensor in convert_state(state).items()} == expected
