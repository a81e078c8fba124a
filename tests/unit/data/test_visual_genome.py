"""Visual Genome's three files."""

from __future__ import annotations

from pathlib import Path

import pytest

from koine.data import visual_genome
from koine.errors import InputError

from .conftest import Write

MAN = {"object_id": 1, "x": 1, "y": 2, "w": 10, "h": 20, "names": ["man"]}
HORSE = {"object_id": 2, "x": 20, "y": 12, "w": 30, "h": 20, "name": "horse"}


@pytest.fixture
def folder(tmp_path: Path, picture: Write, json_file: Write) -> Path:
    picture("VG_100K_2/5.jpg")
    json_file("objects.json", [{"image_id": 5, "objects": [MAN, {**MAN, "names": []}]}])
    relationship = {"predicate": "RIDES ", "subject": MAN, "object": HORSE}
    json_file("relationships.json", [{"image_id": 5, "relationships": [relationship]}])
    region = {"x": 60, "y": 0, "width": 10, "height": 8, "phrase": " a red roof"}
    json_file("region_descriptions.json", [{"id": 5, "regions": [region]}])
    return tmp_path


def test_objects(folder: Path) -> None:
    (example,) = visual_genome.examples(folder, part="objects")  # the one without a name is left out
    assert (example.prompt.text, example.target.text) == ("What is the object ?", "man")
    assert example.prompt.regions[0].bounds == (1, 2, 11, 22)


def test_relationships_are_answered_with_boxes(folder: Path) -> None:
    (example,) = visual_genome.examples(folder, part="relationships")
    assert example.prompt.text == "What is the relation between  and ?"
    assert example.target.text == "man  rides horse ."
    assert [region.bounds for region in example.target.regions] == [(1, 2, 11, 22), (20, 12, 50, 32)]
    assert example.prompt.regions == example.target.regions
    assert example.annotation.predicate == "rides"


def test_regions_are_cut_to_the_picture(folder: Path) -> None:
    (example,) = visual_genome.examples(folder)
    assert (example.prompt.text, example.target.text) == ("Describe the region  of the image.", "a red roof")
    assert example.prompt.regions[0].bounds == (60, 0, 64, 8)


def test_bad_input_is_named(folder: Path, json_file: Write) -> None:
    with pytest.raises(InputError, match="there is no part of Visual Genome 'region': did you mean 'regions'"):
        visual_genome.examples(folder, part="region")
    json_file("relationships.json", [{"image_id": 5, "relationships": [{"predicate": "on", "subject": MAN}]}])
    with pytest.raises(InputError, match=r"record 0, relationships\[0\]: field 'object' is missing"):
        list(visual_genome.examples(folder, part="relationships"))
    nameless = {key: value for key, value in HORSE.items() if key != "name"}
    json_file(
        "relationships.json",
        [{"image_id": 5, "relationships": [{"predicate": "on", "subject": MAN, "object": nameless}]}],
    )
    with pytest.raises(InputError, match=r"relationships\[0\], object: field 'name' or 'names' is missing"):
        list(visual_genome.examples(folder, part="relationships"))
