"""BEiT-3 and its visual tokenizer: the same numbers as the original code, case by case."""

from __future__ import annotations

import random
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from koine.evaluation.retrieval import recall
from koine.evaluation.vqav2 import normalize, soft_score
from koine.parts.contrastive import contrastive_loss
from koine.parts.masking import Blocks, WordDraws, WordMasking, block_masks, mask_words
from koine.parts.moving_codebook import SphericalQuantizer
from koine.parts.quantize import k_means
from koine.systems.beit3.backbone import resize_positions
from koine.systems.beit3.config import Beit3Config, Head, VisualTokenizerConfig
from koine.systems.beit3.decoding import BeamSearch, Decoding, write
from koine.systems.beit3.fine_tuning import parameter_groups, published_name, published_rate
from koine.systems.beit3.losses import captioning_loss, vqa_loss
from koine.systems.beit3.model import Beit3Model
from koine.systems.beit3.pretraining import MaskedImages, MaskedTexts, masked_data_losses
from koine.systems.beit3.published_weights import (
    build,
    build_published,
    build_tokenizer,
    convert_tokenizer_state,
    infer_tokenizer_config,
    our_name,
)
from koine.systems.beit3.vqkd import VisualTokenizer, to_signed
from koine.training import Stage

GOLDEN_HEADS: dict[str, Head] = {
    "imageclassification": "classification",
    "vqa": "vqa",
    "nlvr2": "nlvr2",
    "captioning": "captioning",
    "retrieval": "retrieval",
    "pretrain": "pretraining",
}


@pytest.fixture(scope="module")
def beit3(golden):
    return golden("beit3")


@pytest.fixture(scope="module")
def cases(beit3) -> dict[str, Tensor]:
    return beit3.tensors("cases.safetensors")


@pytest.fixture(scope="module")
def weights(beit3) -> dict[str, Tensor]:
    return beit3.tensors("weights.safetensors")


@pytest.fixture(scope="module")
def close(beit3):
    """Within the manifest's tolerance: the largest error relative to the largest expected value; integers exactly."""
    limit = beit3.tolerance("default", "max abs error")

    def compare(found: Tensor, expected: Tensor) -> None:
        assert found.shape == expected.shape
        if not expected.is_floating_point():
            assert torch.equal(found.to(expected.dtype), expected)
            return
        error = (found.detach().double() - expected.double()).abs().max()
        assert error <= limit * expected.double().abs().max(), float(error)

    return compare


@pytest.fixture(scope="module")
def model_of(beit3, weights):
    """The golden model with one of the heads, under its golden name."""

    def make(golden_name: str) -> Beit3Model:
        head = GOLDEN_HEADS[golden_name]
        sizes = beit3.manifest["config"]
        ids = beit3.manifest["ids"]
        config = Beit3Config(
            heads=[head],
            hidden_size=sizes["embed"],
            num_hidden_layers=sizes["layers"],
            num_attention_heads=sizes["heads"],
            intermediate_size=sizes["ffn"],
            image_size=sizes["img"],
            patch_size=sizes["patch"],
            vocab_size=sizes["vocab"],
            max_text_tokens=len(weights["backbone/beit3.encoder.embed_positions.B.weight"]) - 2,
            num_classes=sizes["ncls"],
            num_answers=sizes["nans"],
            num_image_codes=sizes["ncodes"],
            bos_token_id=ids["bos"],
            pad_token_id=ids["pad"],
            eos_token_id=ids["eos"],
            mask_token_id=ids["mask"],
        )
        state = {
            our_name(published, head): tensor
            for name, tensor in weights.items()
            for folder, _, published in [name.partition("/")]
            if folder == golden_name
            or (folder == "backbone" and (config.has_final_norm or "encoder.layer_norm." not in published))
        }
        return build(config, {name: tensor.clone() for name, tensor in state.items()})

    return make


def named(cases: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The cases below a prefix, which there must be."""
    found = {name.removeprefix(prefix): tensor for name, tensor in cases.items() if name.startswith(prefix)}
    assert found, f"no golden case begins with {prefix}"
    return found


def attention_mask(cases: dict[str, Tensor]) -> Tensor:
    """Ours is 1 where there is text, the original's 1 where there is none."""
    return 1 - cases["in/padding_mask"]


# ---------------------------------------------------------------------------------------------------------- backbone


def route_inputs(route: str, cases: dict[str, Tensor]) -> dict[str, Tensor]:
    inputs: dict[str, Tensor] = {}
    if not route.startswith("text"):
        inputs["pixel_values"] = cases["in/image"]
    if not route.startswith("vision"):
        inputs["input_ids"] = cases["in/text_ids"]
        if "nopad" not in route:
            inputs["attention_mask"] = attention_mask(cases)
    if "masked" in route:
        inputs["patch_mask"] = cases["in/vision_masked_position"].bool()
    return inputs


def noting(seen: dict[str, Tensor], name: str) -> Any:
    """A hook that puts a module's output into `seen`."""
    return lambda module, inputs, output: seen.__setitem__(name, output)


@torch.no_grad()
def test_every_route_layer_by_layer(cases, model_of, close):
    model = model_of("retrieval")
    routes = [name.removesuffix("/encoder_out") for name in cases if name.endswith("/encoder_out")]
    assert {"vision", "text", "fusion"} <= set(routes)
    inside = model.beit3.encoder.layers[0]
    for route in routes:
        expected = named(cases, f"{route}/")
        inputs = route_inputs(route, cases)
        seen: dict[str, Tensor] = {}
        watched = {
            "layer0_q_proj": inside.self_attn.q_proj,
            "layer0_inner_attn_ln": inside.self_attn.inner_attn_ln,
            "layer0_self_attn_layer_norm": inside.self_attn_layer_norm,
            "layer0_self_attn_out": inside.self_attn,
            "layer0_final_layer_norm": inside.final_layer_norm,
            "layer0_ffn": inside.ffn,
        }
        hooks = [module.register_forward_hook(noting(seen, name)) for name, module in watched.items()]
        output = model(**inputs, output_hidden_states=True)
        for hook in hooks:
            hook.remove()
        close(output.last_hidden_state, expected["encoder_out"])
        states = {f"layer{number}_out": state for number, state in enumerate(output.hidden_states[1:])}
        layers = {name for name in expected if name.startswith("layer")}
        assert layers == states.keys() | seen.keys()
        for name in layers:
            close((states | seen)[name], expected[name])


@torch.no_grad()
def test_embeddings_before_and_with_positions(cases, model_of, close):
    backbone = model_of("retrieval").beit3
    for route in (name.removesuffix("/encoder_out") for name in cases if name.endswith("/encoder_out")):
        expected, inputs = named(cases, f"{route}/"), route_inputs(route, cases)
        bare, placed = [], []
        if "pixel_values" in inputs:
            bare.append(backbone.vision_embed(inputs["pixel_values"], inputs.get("patch_mask")))
            placed.append(backbone.embed_images(inputs["pixel_values"], inputs.get("patch_mask")))
        if "input_ids" in inputs:
            bare.append(backbone.text_embed(inputs["input_ids"]))
            placed.append(backbone.embed_texts(inputs["input_ids"]))
        close(torch.cat(bare, 1), expected["encoder_embedding"])
        close(torch.cat(placed, 1), expected["embedding_plus_position"])
        image_tokens = bare[0].shape[1] if "pixel_values" in inputs else 0
        assert int(expected["split"]) == (-1 if "input_ids" not in inputs else image_tokens)


def test_positions_for_another_resolution(cases, close):
    kept = 3
    grid = round((len(cases["pos_interp/new"]) - kept) ** 0.5)
    close(resize_positions(cases["pos_interp/old"], grid), cases["pos_interp/new"])


# -------------------------------------------------------------------------------------------- heads and their losses


@torch.no_grad()
def test_classification(cases, model_of, close):
    close(model_of("imageclassification").classify(cases["in/image"]), cases["imageclassification/logits"])


@torch.no_grad()
def test_answers(cases, model_of, close):
    logits = model_of("vqa").answer(cases["in/image"], cases["in/text_ids"], attention_mask(cases))
    close(logits, cases["vqa/logits"])
    close(vqa_loss(logits, cases["vqa/targets"]), cases["vqa/loss"])
    chosen = cases["vqa/targets"].gather(1, logits.argmax(1, keepdim=True))
    close(100 * chosen.mean(), cases["vqa/score_percent"])


@torch.no_grad()
def test_statements_about_two_images(cases, model_of, close):
    logits = model_of("nlvr2").judge(cases["in/image"], cases["in/image2"], cases["in/text_ids"], attention_mask(cases))
    close(logits, cases["nlvr2/logits"])


def test_retrieval_with_gradients(cases, model_of, close):
    model = model_of("retrieval")
    images = model.embed_images(cases["in/image"])
    texts = model.embed_texts(cases["in/text_ids"], attention_mask(cases))
    close(images, cases["retrieval/vision_cls"])
    close(texts, cases["retrieval/language_cls"])
    close(model.logit_scale * images @ texts.T, cases["retrieval/logits_per_image"])
    loss = contrastive_loss(images, texts, model.logit_scale)
    close(loss, cases["retrieval/loss"])
    compare_gradients(model, loss, named(cases, "retrieval/grad/"), close)


def compare_gradients(model: Beit3Model, loss: Tensor, expected: dict[str, Tensor], close: Any) -> None:
    loss.backward()
    found = {published_name(name): parameter.grad for name, parameter in model.named_parameters()}
    for name, gradient in expected.items():
        close(found[name], gradient)


def test_captioning_with_gradients(cases, model_of, close):
    model = model_of("captioning")
    ids, mask, places = (
        cases[name] for name in ("captioning/masked_ids", "in/padding_mask", "captioning/language_masked_pos")
    )
    everywhere = model.predict_words(ids, cases["in/image"], attention_mask=1 - mask)
    close(everywhere, cases["captioning/logits_all"])
    logits = model.predict_words(ids, cases["in/image"], attention_mask=1 - mask, places=places)
    close(logits, cases["captioning/logits_masked"])
    labels = cases["captioning/labels"]
    close(captioning_loss(logits, labels, kept=0.8), cases["captioning/loss_drop_worst"])
    close(captioning_loss(logits, labels, smoothing=0), cases["captioning/loss_no_smoothing"])
    loss = captioning_loss(logits, labels)
    close(loss, cases["captioning/loss"])
    compare_gradients(model, loss, named(cases, "captioning/grad/"), close)


def test_masked_data_modelling_with_gradients(beit3, cases, model_of, close):
    model = model_of("pretrain")
    patch_mask = cases["in/vision_masked_position"].bool()
    images = MaskedImages(cases["in/image"], patch_mask, cases["mdm/codes"])
    texts, paired = (
        MaskedTexts(
            cases[f"mdm/text_ids_{kind}"],
            cases[f"mdm/language_masked_pos_{kind}"].bool(),
            cases["in/text_ids"],
            attention_mask(cases),
        )
        for kind in ("mono", "pair")
    )
    prediction = model.predict_masked(images.pixel_values, patch_mask=patch_mask)
    close(prediction.image_logits, cases["mdm/image_logits"])
    prediction = model.predict_masked(
        input_ids=texts.input_ids, attention_mask=texts.attention_mask, token_mask=texts.token_mask
    )
    close(prediction.text_logits, cases["mdm/text_logits"])
    pictures = MaskedImages(cases["in/image2"], patch_mask, cases["mdm/codes"])  # those of the golden pairs
    losses = masked_data_losses(model, images=images, texts=texts, pairs=(pictures, paired))
    for name in ("image", "text", "pair_image", "pair_text"):
        close(losses[name], cases[f"mdm/loss_{name}"])
    close(losses["loss"], cases["mdm/loss_total"])
    compare_gradients(model, losses["loss"], named(cases, "mdm/grad/"), close)


# ---------------------------------------------------------------------------------------------------------- decoding


@torch.inference_mode()
def test_decoding_word_by_word(cases, model_of, close):
    """Forced words: after each, the logits at it and at the mask token, and what the cache holds."""
    model = model_of("captioning")
    forced = cases["captioning/incremental/forced_ids"]
    expected = named(cases, "captioning/incremental/step")
    steps = sum(name.endswith("_logits") for name in expected)
    search = BeamSearch(model, Decoding(beams=1, max_length=steps + 2), cases["in/image"], None, None)
    for step in range(steps):
        search.ids[:, 0, step] = forced[:, step]
        logits = search.head(search.features())
        close(logits, expected[f"{step}_logits"])
        assert search.cache.length + search.cache.added == int(expected[f"{step}_cache_len"])
        search.cache.advance()
        search.length += 1
    close(logits[:, 1], cases["captioning/full_pass_equivalent_last"])
    mask = torch.full_like(forced[:, :1], model.config.mask_token_id)
    full = model.predict_words(torch.cat((forced[:, :steps], mask), 1), cases["in/image"])
    close(full[:, -1], cases["captioning/full_pass_equivalent_last"])


@torch.inference_mode()
def test_beam_search(beit3, cases, model_of, close):
    model = model_of("captioning")
    images = torch.cat((cases["in/image"], cases["in/image2"]))
    searches = [name.removesuffix("decoded_ids") for name in cases if name.endswith("/decoded_ids")]
    for name in searches:
        described = beit3.manifest["keys"][f"{name}decoded_ids"]
        beams, penalty, length = (
            float(re.search(rf"{word} (\d+(?:\.\d+)?)", described)[1])
            for word in ("num_beams", "length_penalty", "max_len")
        )
        options = Decoding(beams=int(beams), length_penalty=penalty, max_length=int(length))
        found = write(model, images, options=options)
        close(found.ids, cases[f"{name}decoded_ids"])
        close(found.scores, cases[f"{name}best_scores"])
        assert found.hypotheses == int(cases[f"{name}n_added_hypotheses"])


# ----------------------------------------------------------------------------------------------------------- masking


class OriginalDraws:
    """Python's generator for rectangles and numpy's for single patches, as the original draws; one image at a time."""

    def __init__(self, seed: int) -> None:
        self.rectangles, self.patches = random.Random(seed), np.random.RandomState(seed)

    def uniform(self, low, high):
        return np.array([self.rectangles.uniform(*limits) for limits in zip(low, high, strict=True)])

    def integers(self, high):
        return np.array([self.rectangles.randint(0, int(limit)) for limit in high])

    def choose(self, candidates, count):
        return candidates[self.patches.choice(len(candidates), count, replace=False)]


def test_block_masks(beit3, cases, close):
    for number, expected in named(cases, "block_mask/").items():
        described = beit3.manifest["keys"][f"block_mask/{number}"]
        hidden, smallest = (
            int(re.search(rf"{word}=(\d+)", described)[1]) for word in ("num_masking_patches", "min_num_patches")
        )
        seed = int(re.search(r"= (\d+)$", described)[1])
        blocks = Blocks(tuple(expected.shape), hidden, smallest=smallest)
        close(torch.from_numpy(block_masks(blocks, 1, OriginalDraws(seed))[0]), expected)


def test_masked_words(beit3):
    """The original's draws one after another, given to ours as those of all places."""
    ids, vocabulary = beit3.manifest["ids"], beit3.manifest["config"]["vocab"]
    how = WordMasking(ids["mask"], vocabulary)
    for case in beit3.manifest["text_segments_and_masking"]:
        length, size = case["num_tokens"], len(case["tokens"])
        order, kinds, words = torch.full((size,), 2.0), torch.zeros(size), torch.zeros(size, dtype=torch.long)
        stream = random.Random(case["python_random_seed"])
        chosen = sum(case["language_masked_pos"])
        for rank in range(chosen):
            while order[place := stream.randint(1, length - 1)] < 2:
                pass
            order[place] = rank / size
            kinds[place] = stream.random()
            if kinds[place] >= 0.9:
                words[place] = stream.randint(how.first_word, vocabulary - 1)
        masked, places = mask_words(
            torch.tensor([case["tokens"]]),
            torch.tensor([length]),
            case["mask_prob"],
            how,
            draws=WordDraws(order[None], kinds[None], words[None]),
        )
        assert masked[0].tolist() == case["masked_tokens"]
        assert places[0].long().tolist() == case["language_masked_pos"]


# ------------------------------------------------------------------------------------------------------------- VQ-KD


@pytest.fixture(scope="module")
def tokenizer_of(beit3, weights):
    def make() -> VisualTokenizer:
        sizes = beit3.manifest["config"]["vq"]
        published = named(weights, "vqkd/")
        config = VisualTokenizerConfig(
            hidden_size=sizes["embed"],
            num_hidden_layers=sizes["depth"],
            num_attention_heads=sizes["heads"],
            intermediate_size=len(published["encoder.blocks.0.mlp.fc1.weight"]),
            decoder_layers=sizes["dec_depth"],
            image_size=sizes["img"],
            patch_size=sizes["patch"],
            num_codes=sizes["n_code"],
            code_width=sizes["code_dim"],
            teacher_width=sizes["out_dim"],
        )
        return build_tokenizer(published, config)

    return make


@torch.no_grad()
def test_visual_tokenizer(cases, tokenizer_of, close):
    model, images = tokenizer_of(), cases["vqkd/image01"]
    close(to_signed(images), cases["vqkd/pre_processed"])
    close(model.encoder(to_signed(images)), cases["vqkd/encoder_features"])
    close(model.encode(images), cases["vqkd/to_quantizer"])
    output = model(images, cases["vqkd/teacher_target"])
    close(model.quantizer.counts, cases["vqkd/cluster_size_after_eval_pass"])
    close(output.codes, cases["vqkd/tokens"])
    close(output.codes.flatten(), cases["vqkd/indices"])
    close(output.predicted, cases["vqkd/decoded"])
    close(output.reconstruction_loss, cases["vqkd/rec_loss"])
    close(output.commitment_loss, cases["vqkd/commit_loss"])
    quantized = model.quantize(images).vectors
    close(quantized.transpose(1, 2).unflatten(2, cases["vqkd/quantized"].shape[2:]), cases["vqkd/quantized"])
    assert torch.equal(model.tokenize(images), cases["vqkd/tokens"])


@torch.no_grad()
def test_visual_tokenizer_on_larger_images(cases, tokenizer_of, close):
    model, images = tokenizer_of(), cases["vqkd/big_image01"]
    close(model.encoder(to_signed(images)), cases["vqkd/big_encoder_features"])
    close(model.tokenize(images), cases["vqkd/big_tokens"])


@torch.no_grad()
def test_codebook_that_follows(beit3, cases, close):
    before = cases["norm_ema/codebook_before"]
    decay = float(re.search(r"decay (\d\.\d+)", beit3.manifest["keys"]["norm_ema/codebook_after"])[1])
    quantizer = SphericalQuantizer(*before.shape, decay=decay, warm_start=False).train()
    quantizer.codebook.copy_(before)
    output = quantizer(cases["norm_ema/z"].movedim(1, -1))
    close(output.vectors.movedim(-1, 1), cases["norm_ema/z_q"])
    close(output.indices.flatten(), cases["norm_ema/indices"])
    close(output.loss, cases["norm_ema/loss"])
    close(quantizer.codebook, cases["norm_ema/codebook_after"])
    close(quantizer.counts, cases["norm_ema/cluster_size_after"])


def test_start_of_the_codebook(cases, close):
    samples = cases["kmeans/samples"]
    means, counts = k_means(samples, samples[cases["kmeans/start_rows"]], cosine=True)
    close(means, cases["kmeans/means"])
    close(counts.long(), cases["kmeans/bins"])


# ------------------------------------------------------------------------------------------- fine-tuning and metrics


def test_learning_rate(beit3, cases, close):
    described = beit3.manifest["keys"]["schedule/cosine"]
    rate, last = (float(re.search(rf"{word} (\S+?)[, ]", described)[1]) for word in ("base", "final"))
    epochs, steps = map(int, re.search(r"(\d+) epochs x (\d+) steps", described).groups())
    warmup = int(re.search(r"warm-up (\d+) epoch", described)[1])
    share = (warmup * steps + 0.5) / (epochs * steps)  # half a step more, or rounding might cost a whole one
    stage = Stage("tune", epochs * steps, 1, rate, warmup=share, min_learning_rate=last)
    found = [published_rate(stage, step) for step in range(1, stage.steps + 1)]
    close(torch.tensor(found, dtype=torch.float64), cases["schedule/cosine"])


def test_parameter_groups(beit3, model_of):
    """Groups as the original's; where the manifest only counts their parameters, the counts."""
    for name in (name for name in beit3.manifest if name.startswith("param_groups_")):
        head, rule, value = re.fullmatch(r"param_groups_(\w+?)_(layer_decay|head_lr)_(.+)", name).groups()
        expected = beit3.manifest[name].values()
        model = model_of(head)
        scales = {"layer_decay": float(value)} if rule == "layer_decay" else {"head_scale": float(value)}
        weight_decay = max(group["weight_decay"] for group in expected)
        groups = parameter_groups(dict(model.named_parameters()), model.config, weight_decay=weight_decay, **scales)
        found = [({published_name(name) for name in g.names}, g.weight_decay, g.scale) for g in groups]
        assert len(found) == len(expected)
        for group in expected:
            (names,) = [
                names
                for names, decay, scale in found
                if decay == group["weight_decay"] and scale == pytest.approx(group["lr_scale"])
            ]
            given = group["params"]
            assert names == set(given) if isinstance(given, list) else len(names) == given


def test_retrieval_metrics(beit3, cases):
    images, texts = cases["retrieval_metrics/image_feats"], cases["retrieval_metrics/text_feats"]
    found = recall(images @ texts.T, cases["retrieval_metrics/text_image_id"])
    directions = {"tr": found.image_to_text, "ir": found.text_to_image}
    ours = {f"{short}_r{k}": 100 * share for short, shares in directions.items() for k, share in shares.items()}
    ours["average_score"] = 100 * found.metrics()["mean"]
    assert ours == pytest.approx(beit3.manifest["retrieval_metrics"], rel=1e-6)


def test_answers_as_they_are_compared(beit3):
    for said, plain in beit3.manifest["vqa_normalize_word"].items():
        assert normalize(said) == plain
    for people, score in beit3.manifest["vqa_get_score"].items():
        assert soft_score(int(people)) == score


# ------------------------------------------------------------------------------------------------ published checkpoints

# List -> head, and millions of parameters as the release counts them. Of classifiers it counts the vision branch alone.
PUBLISHED: dict[str, tuple[Head, float | None]] = {
    "keys_base_captioning_480": ("captioning", 270.75),
    "keys_base_in1k_224": ("classification", None),
    "keys_base_itc_patch16_224": ("retrieval", 222.17),
    "keys_base_nlvr2_224": ("nlvr2", 225.72),
    "keys_base_pretrained_patch16_224": ("pretraining", 276.51),
    "keys_base_retrieval_384": ("retrieval", 222.46),
    "keys_base_vqav2_480": ("vqa", 228.11),
    "keys_large_captioning_480": ("captioning", 739.03),
    "keys_large_in1k_224": ("classification", None),
    "keys_large_itc_patch16_224": ("retrieval", 674.80),
    "keys_large_nlvr2_224": ("nlvr2", 681.11),
    "keys_large_pretrained_patch16_224": ("pretraining", 746.71),
    "keys_large_retrieval_384": ("retrieval", 675.19),
    "keys_large_vqav2_480": ("vqa", 682.99),
    "keys_large_vqav2_768": ("vqa", 684.42),
}
PUBLISHED_TOKENIZERS = {
    "keys_vqkd_encoder_base_decoder_1x768x12_clip": 95.20,
    "keys_vqkd_encoder_base_decoder_1x768x12_dino": 95.39,
    "keys_vqkd_encoder_base_decoder_3x768x12_clip": 109.37,
}


def listed(beit3: Any, name: str) -> tuple[dict[str, Tensor], int]:
    described = beit3.json(f"{name}.json.gz")
    tensors = {
        key: torch.empty(shape, dtype=getattr(torch, kind.removeprefix("torch.")), device="meta")
        for key, (shape, kind) in described["keys"].items()
    }
    return tensors, described["numel"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_checkpoint_fits(beit3, name):
    published, total = listed(beit3, name)
    head, millions = PUBLISHED[name]
    model = build_published(published, size=name.split("_")[1], head=head)
    assert sum(parameter.numel() for parameter in model.parameters()) == total
    assert millions is None or total / 1e6 == pytest.approx(millions, abs=0.006)
    resolution = int(name.rsplit("_", 1)[1])
    assert model.config.image_size == resolution


@pytest.mark.parametrize("size", ["base", "large"])
def test_published_classifiers_without_a_language_branch_fit(beit3, size):
    """The parameters that the release counts for them are those of the vision branch alone."""
    published, _ = listed(beit3, f"keys_{size}_in1k_224")
    seeing = {key: tensor for key, tensor in published.items() if ".B." not in key and "text_embed" not in key}
    model = build_published(seeing)
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    assert millions == pytest.approx({"base": 86.66, "large": 304.58}[size], abs=0.005)
    assert not model.config.has_text


@pytest.mark.parametrize("name", PUBLISHED_TOKENIZERS)
def test_every_published_tokenizer_fits(beit3, name):
    published, total = listed(beit3, name)
    config = infer_tokenizer_config({key: tuple(tensor.shape) for key, tensor in published.items()})
    with torch.device("meta"):
        model = VisualTokenizer(config)
    converted = {key: tuple(tensor.shape) for key, tensor in convert_tokenizer_state(published).items()}
    assert converted == {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    left_out = total - sum(tensor.numel() for tensor in model.state_dict().values())
    assert left_out == config.num_codes * (config.code_width + 1), "two statistics of the codebook that nothing reads"
    assert total / 1e6 == pytest.approx(PUBLISHED_TOKENIZERS[name], abs=0.006)
