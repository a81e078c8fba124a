"""Sizes and options."""

import pytest
import torch

from koine.errors import InputError
from koine.systems.beit3.config import Beit3Config
from koine.systems.beit3.model import Beit3Model


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"heads": ["answers"]}, "no head of BEiT-3 'answers'"),
        ({"experts": "many"}, "no experts of BEiT-3 'many'"),
        ({"hidden_size": 50, "num_attention_heads": 4}, "can't be shared by 4 attention heads"),
        ({"image_size": 230}, "no multiple of the patch size 16: give 224"),
        ({"fusion_layers": 3}, "only feed-forward experts"),
        ({"has_text": False, "heads": ["vqa"]}, "need texts"),
        ({"image_size": 0}, "image_size = 0"),
        ({"patch_size": 0}, "patch_size = 0"),
        ({"num_attention_heads": 0}, "num_attention_heads = 0"),
        ({"drop_path_rate": 1.0}, "drop_path_rate = 1.0"),
    ],
)
def test_what_does_not_fit_is_refused(options, complaint):
    with pytest.raises(InputError, match=complaint):
        Beit3Config(**options)


def test_unknown_sizes_are_refused():
    with pytest.raises(InputError, match="no published size of BEiT-3 'huge'"):
        Beit3Config.published("huge")


def test_only_classification_and_vqa_go_without_the_final_norm():
    assert Beit3Config().has_final_norm
    assert Beit3Config(heads=["vqa", "captioning"]).has_final_norm
    assert not Beit3Config(heads=["vqa"]).has_final_norm
    assert not Beit3Config(heads=["classification"]).has_final_norm


def test_the_giant_has_the_parameters_of_the_papers_table():
    """Table 2: 692 M for images, 692 M for texts, 52 M for both, 317 M shared."""
    with torch.device("meta"):
        layers = Beit3Model(Beit3Config.giant()).beit3.encoder.layers
    counts = {letter: 0 for letter in "ABC"}
    attention = 0
    for name, parameter in layers.named_parameters():
        if ".ffn." in name:
            counts[name.split(".ffn.")[1][0]] += parameter.numel()
        elif ".self_attn." in name:
            attention += parameter.numel()
    assert [counts[letter] / 1e6 for letter in "ABC"] == pytest.approx([692, 692, 52], abs=1)
    assert attention / 1e6 == pytest.approx(317, abs=1)
    assert layers[36].ffn.C is None and layers[37].ffn.C is not None


def test_a_config_survives_being_saved(tmp_path):
    Beit3Config.nano(600, experts="feed-forward", fusion_layers=2, heads=["vqa"]).save_pretrained(tmp_path)
    again = Beit3Config.from_pretrained(tmp_path)
    assert (again.experts, again.fusion_layers, again.heads, again.mask_token_id) == ("feed-forward", 2, ["vqa"], 599)
