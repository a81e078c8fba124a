"""Pictures and their ground truth agree with each other and with the scene."""

import math
from pathlib import Path

import mujoco
import numpy as np
import pytest
from PIL import Image

from koine.errors import InputError
from koine.world.physics import FIRST_THING_BODY, build_model, scene_xml
from koine.world.render import camera_pose, project, render
from koine.world.scene import SPLITS, Camera, Scene, sample_scene
from koine.world.things import SHAPES, Thing, full_height


def one_thing(shape="ball", colour="red", size="large", material="rubber", place=(0.0, 0.0)):
    return Scene((Thing(shape, colour, size, material, (*place, full_height(shape, size) / 2)),), camera=Camera())


def test_a_view_is_the_same_each_time_and_has_the_documented_shapes():
    scene = sample_scene(5, n=4)
    first, second = render(scene, (96, 64)), render(scene, (96, 64))
    assert np.array_equal(first.image, second.image)
    assert first.image.shape == (64, 96, 3) and first.image.dtype == np.uint8
    assert first.instance.shape == first.depth.shape == (64, 96) and first.normals.shape == (64, 96, 3)
    assert first.boxes.shape == first.amodal_boxes.shape == (4, 4) and first.visible.shape == (4,)


def test_boxes_enclose_the_visible_pixels_exactly():
    for seed in range(40):
        scene = sample_scene(seed)
        view = render(scene)
        for index in range(len(scene.things)):
            rows, columns = np.nonzero(view.mask(index))
            assert view.visible[index] == len(rows)
            if len(rows):
                expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                assert view.boxes[index].tolist() == expected


@pytest.mark.parametrize("shape", SHAPES)
def test_the_amodal_box_of_a_free_thing_is_its_visible_box(shape):
    view = render(one_thing(shape), 128)
    assert np.abs(view.boxes[0] - view.amodal_boxes[0]).max() <= 1.5


def test_the_amodal_box_reaches_behind_what_hides_a_thing():
    hidden = Thing("ball", "red", "large", "rubber", (0.0, 0.09, 0.044))
    front = Thing("cube", "blue", "large", "rubber", (0.0, -0.02, full_height("cube", "large") / 2))
    view = render(Scene((hidden, front)), 128)
    visible, whole = view.boxes[0], view.amodal_boxes[0]
    assert whole[3] - whole[1] > (visible[3] - visible[1]) + 5


def test_the_camera_sees_a_thing_where_projection_puts_it():
    scene = one_thing("ball", place=(0.05, -0.03))
    view = render(scene, (160, 120))
    x, y = project(np.array(scene.things[0].position), scene.camera, 160, 120)
    left, top, right, bottom = view.boxes[0]
    assert abs((left + right) / 2 - x) < 1.5 and abs((top + bottom) / 2 - y) < 1.5


def test_depth_is_metres_along_the_camera_axis():
    scene = one_thing("cube", place=(0.02, 0.01))
    view = render(scene, 64)
    origin, axes = camera_pose(scene.camera)
    rows, columns = np.nonzero(view.instance == -1)
    on_table = [(r, c) for r, c in zip(rows, columns, strict=True) if r > 45][:50]
    focal = 64 / (2 * math.tan(scene.camera.fovy / 2))
    for row, column in on_table:
        local = np.array([(column + 0.5 - 32) / focal, -(row + 0.5 - 32) / focal, -1.0]) * view.depth[row, column]
        assert abs((origin + axes @ local)[2]) < 1e-4  # the point lies on the table top


def test_things_that_stand_free_rest_on_the_table_when_physics_runs():
    scene = sample_scene(11, kind="scatter", n=3)
    model = build_model(scene)
    data = mujoco.MjData(model)
    before = None
    for step in range(200):
        mujoco.mj_step(model, data)
        if step == 0:
            before = data.xpos[FIRST_THING_BODY:].copy()
    assert np.abs(data.xpos[FIRST_THING_BODY:] - before).max() < 0.006


def test_the_scene_written_as_xml_is_the_same_model():
    scene = sample_scene(4, kind="nested", n=4)
    ours, read = build_model(scene), mujoco.MjModel.from_xml_string(scene_xml(scene))
    assert ours.nbody == read.nbody == FIRST_THING_BODY + 4
    assert np.allclose(ours.body_pos, read.body_pos, atol=1e-6) and np.allclose(
        ours.body_mass, read.body_mass, rtol=1e-4
    )


def test_a_thing_casts_a_shadow_and_a_lone_table_has_none():
    scene = one_thing("cube")
    lit, shaded = render(scene, shadows=False).image.astype(int), render(scene).image.astype(int)
    beside = render(scene).instance == -1
    assert (lit - shaded)[beside].max() > 25
    assert (lit - shaded)[beside].min() >= -1


def test_materials_and_colours_change_the_picture():
    pictures = {
        (colour, material): render(one_thing("cube", colour, material=material)).image.astype(float)
        for colour in ("red", "blue")
        for material in ("rubber", "metal", "wood")
    }
    mask = render(one_thing("cube")).mask(0)
    means = {key: picture[mask].mean(axis=0) for key, picture in pictures.items()}
    for material in ("rubber", "metal", "wood"):
        assert means["red", material][0] > means["red", material][2]
        assert means["blue", material][2] > means["blue", material][0]
    roughness = {
        material: np.abs(np.diff(pictures["red", material], axis=0))[mask[1:] & mask[:-1]].mean()
        for material in ("rubber", "wood")
    }
    assert roughness["wood"] > 1.3 * roughness["rubber"]  # grain


def test_adaptive_supersampling_matches_supersampling_everywhere():
    for seed in range(5):
        scene = sample_scene(seed, n=4)
        adaptive, full = (render(scene, antialias=mode).image.astype(int) for mode in ("adaptive", "full"))
        assert np.abs(adaptive - full).mean() < 2.0  # fine textures differ a little
        plain = render(scene, antialias="none").image.astype(int)
        edges = np.abs(plain - full).max(axis=2) > 40
        assert edges.any() and np.abs(adaptive - full).max(axis=2)[edges].mean() < 6


def test_sampled_scenes_look_as_they_always_did():
    """Weights and caches were made of these pictures. One row per split, one column per seed."""
    sheet = np.asarray(Image.open(Path(__file__).parents[2] / "golden/world/scenes.png")).astype(int)
    for row, split in enumerate(SPLITS):
        for seed in range(10):
            tile = sheet[48 * row : 48 * (row + 1), 48 * seed : 48 * (seed + 1)]
            wrong = np.abs(render(sample_scene(seed, split=split), 48).image - tile) > 1
            assert wrong.mean() < 1e-3, (split, seed)  # another processor may round a seam of the planks elsewhere


@pytest.mark.parametrize("size", [4, (64, 5000)])
def test_sizes_out_of_range_are_named(size):
    with pytest.raises(InputError, match="picture size"):
        render(one_thing(), size)
