"""How fast which parameter learns."""

import pytest

from koine.systems.beit3.fine_tuning import parameter_groups, published_name, published_rate
from koine.training import Stage


def scales(groups) -> dict[str, tuple[float, float]]:
    return {name: (group.scale, group.weight_decay) for group in groups for name in group.names}


def test_each_layer_learns_slower_than_the_one_above(tiny):
    model = tiny(heads=["captioning"])
    found = scales(parameter_groups(dict(model.named_parameters()), model.config, weight_decay=0.1, layer_decay=0.5))
    assert set(found) == {name for name, _ in model.named_parameters()}
    assert found["beit3.text_embed.weight"] == (0.5**4, 0.1)
    assert found["beit3.encoder.layers.0.ffn.A.fc1.weight"] == (0.5**3, 0.1)
    assert found["beit3.encoder.layers.2.ffn.A.fc1.bias"] == (0.5, 0.0)
    assert found["heads.captioning.mlm_head.weight"] == (1.0, 0.1)
    assert found["beit3.encoder.embed_positions.A.weight"] == (0.5**4, 0.0)
    assert found["beit3.encoder.embed_positions.B.weight"] == (0.5**4, 0.1)


def test_the_head_may_learn_faster_but_not_the_pooler(tiny):
    model = tiny(heads=["vqa"])
    found = scales(parameter_groups(dict(model.named_parameters()), model.config, weight_decay=0.1, head_scale=20))
    assert found["heads.vqa.head.0.weight"] == (20, 0.1)
    assert found["heads.vqa.pooler.dense.weight"] == (1, 0.1)


def test_published_names_have_no_head_before_them():
    assert published_name("heads.nlvr2.head.dense1.weight") == "head.dense1.weight"
    assert published_name("beit3.text_embed.weight") == "beit3.text_embed.weight"


def test_the_rate_rises_from_zero_and_falls_towards_the_least():
    stage = Stage("s", steps=10, batch_size=1, learning_rate=1.0, warmup=0.4, min_learning_rate=0.1)
    rates = [published_rate(stage, step) for step in range(1, 11)]
    assert rates[:5] == pytest.approx([0, 1 / 3, 2 / 3, 1, 1])
    assert rates[7] == pytest.approx(0.55) and 0.1 < rates[9] < rates[8]
    without = Stage("s", steps=10, batch_size=1, learning_rate=1.0, warmup=0.0, schedule="constant")
    assert [published_rate(without, step) for step in (1, 10)] == [1, 1]
