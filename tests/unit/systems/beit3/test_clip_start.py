"""A nano BEiT-3 sees nearly what the nano CLIP sees, before it has learnt anything."""

from __future__ import annotations

import pytest
import torch

from koine.errors import InputError
from koine.foundations.clip import NANO_WEIGHTS, Clip, pixel_values
from koine.systems.beit3.clip_start import start_from_clip
from koine.systems.beit3.config import Beit3Config
from koine.systems.beit3.model import Beit3Model
from koine.systems.beit3.processor import normalized
from koine.world.render import render
from koine.world.scene import sample_scene

pytestmark = pytest.mark.skipif(not NANO_WEIGHTS.is_dir(), reason="the nano CLIP is not in this build")


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.stack([torch.from_numpy(render(sample_scene(seed), 64).image) for seed in range(24)])


@pytest.mark.parametrize(("experts", "layers", "inner"), [("feed-forward", 6, 320), ("decoupled", 5, 384)])
def test_features_point_where_clips_do(images: torch.Tensor, experts: str, layers: int, inner: int) -> None:
    torch.manual_seed(0)
    options = {"experts": experts, "num_hidden_layers": layers, "intermediate_size": inner}
    model = Beit3Model(Beit3Config.nano(40, **options)).eval()
    clip = Clip.load().model
    start_from_clip(model, clip, normalized(images[:16]))
    with torch.inference_mode():
        ours = model(normalized(images[16:]), output_hidden_states=True).hidden_states
        seen = clip.vision_model(pixel_values=pixel_values(images[16:]), output_hidden_states=True).hidden_states
    for place, least in ((0, 0.999), (1, 0.9), (4, 0.7)):
        assert torch.cosine_similarity(ours[place], seen[place], dim=-1).mean() > least
    for number in range(4, layers):  # CLIP's last layer isn't taken over
        assert torch.equal(ours[number + 1], ours[number])


def test_another_shape_is_refused(images: torch.Tensor) -> None:
    model = Beit3Model(Beit3Config.nano(40, hidden_size=64))
    with pytest.raises(
        InputError, match=r"BEiT-3 of shape \(64, 4, 8\) can't start from a CLIP of shape \(128, 4, 8\)"
    ):
        start_from_clip(model, Clip.load().model, normalized(images))
