"""Patches are asked about the thing that covers most of them; colours and shapes never in the same picture."""

import pytest
import torch

from koine.foundations.patch_supervision import LEAST_PIXELS, PatchReadouts, patch_losses, thing_pixels
from koine.world.facts import ATTRIBUTES, VALUES

GRID, WIDTH = 2, 8


def picture():
    """An 8 x 8 picture of four patches: thing 0 fills the first, 5 pixels of thing 1 lie in the last."""
    instance = torch.full((1, 8, 8), -1, dtype=torch.int8)
    instance[0, :4, :4] = 0
    instance[0, 7, 4:] = 1
    instance[0, 6, 7] = 1
    return instance


def losses(*, codes=None, coloured=(True,), boxes=None, pixels=None, features=None, seed=0):
    torch.manual_seed(seed)
    readouts = PatchReadouts(WIDTH)
    features = torch.randn(1, GRID * GRID, WIDTH) if features is None else features
    pixels = thing_pixels(picture(), torch.tensor([[True, True]]), GRID) if pixels is None else pixels
    codes = torch.zeros(1, 2, 4, dtype=torch.long) if codes is None else codes
    boxes = torch.zeros(1, 2, 4) if boxes is None else boxes
    return patch_losses(readouts, features, pixels, codes, boxes, torch.tensor(coloured))


def test_pixels_are_counted_by_patch_and_thing():
    counted = thing_pixels(picture(), torch.tensor([[True, True]]), GRID)
    assert counted[0].tolist() == [[16, 0], [0, 0], [0, 0], [0, 5]]


def test_a_thing_that_is_hardly_visible_is_not_counted():
    counted = thing_pixels(picture(), torch.tensor([[True, False]]), GRID)
    assert counted[0].tolist() == [[16, 0], [0, 0], [0, 0], [0, 0]]


@pytest.mark.parametrize(("attribute", "coloured"), [("colour", False), ("shape", True)])
def test_colours_and_shapes_are_not_asked_in_one_picture(attribute, coloured):
    assert losses(coloured=(coloured,))[attribute] == 0
    assert losses(coloured=(not coloured,))[attribute] > 0


@pytest.mark.parametrize("attribute", ["size", "material"])
@pytest.mark.parametrize("coloured", [False, True])
def test_the_other_attributes_are_asked_in_every_picture(attribute, coloured):
    assert losses(coloured=(coloured,))[attribute] > 0


def test_a_patch_is_asked_for_the_box_of_what_covers_most_of_it():
    near, far = torch.zeros(1, 2, 4), torch.zeros(1, 2, 4)
    far[0, 1] = 5.0  # thing 1 covers too little of its patch for that to be asked
    assert LEAST_PIXELS > 5
    assert losses(boxes=near)["box"] == losses(boxes=far)["box"]
    far[0, 0] = 5.0
    assert losses(boxes=far)["box"] > losses(boxes=near)["box"]


def test_a_thing_is_read_from_the_mean_of_its_patches_by_their_pixels():
    """Thing 1 lies in two patches, 1 pixel in one and 3 in the other, neither of which is asked by itself."""
    pixels = torch.zeros(1, 4, 2)
    pixels[0, 1, 1], pixels[0, 3, 1] = 1, 3
    features = torch.randn(1, 4, WIDTH)
    torch.manual_seed(0)
    readouts = PatchReadouts(WIDTH)
    mean = (features[0, 1] + 3 * features[0, 3]) / 4
    codes = torch.tensor([[[0, 0, 0, 0], [1, 2, 1, 3]]])
    found = losses(pixels=pixels, features=features, codes=codes, coloured=(False,))
    for place, name in enumerate(ATTRIBUTES):
        if name != "colour":
            expected = -torch.log_softmax(readouts.attributes[name](mean), dim=-1)[codes[0, 1, place]]
            assert found[name].item() == pytest.approx(expected.item(), rel=1e-5)


def test_there_is_a_readout_for_every_value():
    readouts = PatchReadouts(WIDTH)
    assert {name: head.out_features for name, head in readouts.attributes.items()} == {
        name: len(values) for name, values in VALUES.items()
    }
