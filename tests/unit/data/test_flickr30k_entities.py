"""Flickr30k Entities: text and XML files, MDETR's list, and references for grounded captioning."""

from __future__ import annotations

from pathlib import Path

import pytest

from koine.data import flickr30k_entities as flickr
from koine.data import grounded_captions
from koine.errors import InputError

from .conftest import Write

SENTENCES = """[/EN#1/people Two young men] hold [/EN#2/other/bodyparts the cup's handle] in [/EN#3/scene a park] .
Nobody holds [/EN#0/notvisual anything] .
"""
XML = """<annotation><filename>7.png</filename><size><width>64</width><height>48</height><depth>3</depth></size>
<object><name>1</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>11</xmax><ymax>22</ymax></bndbox></object>
<object><name>1</name><name>2</name><bndbox><xmin>20</xmin><ymin>3</ymin><xmax>30</xmax><ymax>23</ymax></bndbox></object>
<object><name>3</name><scene>1</scene><nobndbox>0</nobndbox></object>
<object><name>4</name><scene>0</scene><nobndbox>1</nobndbox></object></annotation>"""


@pytest.fixture
def entities(tmp_path: Path, picture: Write) -> Path:
    picture("flickr30k-images/7.jpg")
    for name, text in (("Sentences/7.txt", SENTENCES), ("Annotations/7.xml", XML)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "test.txt").write_text("7\n")
    return tmp_path


def test_sentences_are_parsed() -> None:
    (caption, phrases), (other, more) = flickr.parse_sentences(SENTENCES)
    assert caption == "Two young men hold the cup's handle in a park ."
    assert [(one.text, one.id, one.categories, one.first_word) for one in phrases] == [
        ("Two young men", "1", ("people",), 0),
        ("the cup's handle", "2", ("other", "bodyparts"), 4),
        ("a park", "3", ("scene",), 8),
    ]
    assert other == "Nobody holds anything ."
    assert more[0].first_word == 2


def test_boxes_are_parsed() -> None:
    boxes = flickr.parse_boxes(XML, "7.xml")
    assert (boxes.width, boxes.height, boxes.depth) == (64, 48, 3)
    assert boxes.boxes == {"1": ((1, 2, 11, 22), (20, 3, 30, 23)), "2": ((20, 3, 30, 23),)}
    assert (boxes.scene, boxes.not_visible) == (("3",), ("4",))


@pytest.mark.parametrize("xml", ["<annotation>", "<annotation/>", XML.replace("<xmax>11", "<xmax>eleven")])
def test_broken_xml_is_named(xml: str) -> None:
    with pytest.raises(InputError, match=r"7\.xml: not an annotation of Flickr30k Entities"):
        flickr.parse_boxes(xml, "7.xml")


def test_phrases_without_a_box_are_not_asked(entities: Path) -> None:
    (example,) = flickr.examples(entities)
    assert example.prompt.text == "What are the locations of two young men, the cup's handle?"
    assert example.target.text == "Two young men . the cup's handle ."
    assert [region.bounds for region in example.target.regions] == [(1, 2, 30, 23), (20, 3, 30, 23)]
    assert example.annotation.caption == "Two young men hold the cup's handle in a park ."
    assert example.id == "7_0"


def test_mdetrs_list_chooses_the_phrases(entities: Path, json_file: Write) -> None:
    caption = "Two young men hold the cup's handle in a park ."
    image = {"file_name": "7.jpg", "caption": caption, "original_img_id": 7, "sentence_id": 0}
    json_file("final_flickr_mergedGT_test.json", {"images": [{**image, "tokens_positive_eval": [[[19, 35], [0, 3]]]}]})
    (example,) = flickr.examples(entities)
    assert [phrase.text for phrase in example.annotation.phrases] == ["the cup's handle"]
    assert example.annotation.phrases[0].boxes == ((20, 3, 30, 23),)


def test_contradictions_are_named(entities: Path, json_file: Write) -> None:
    image = {"file_name": "7.jpg", "caption": "Two cats", "original_img_id": 7, "sentence_id": 0}
    json_file("final_flickr_mergedGT_test.json", {"images": [{**image, "tokens_positive_eval": [[[0, 8]]]}]})
    with pytest.raises(InputError, match=r"images\[0\]: no phrase 'Two cats' in the sentence file"):
        list(flickr.read(entities))
    parks = {**image, "caption": "in a park", "tokens_positive_eval": [[[3, 9]]]}
    json_file("final_flickr_mergedGT_test.json", {"images": [parks]})
    with pytest.raises(InputError, match=r"images\[0\]: the phrase 'a park' has no box in 7\.xml"):
        list(flickr.read(entities))
    json_file("final_flickr_mergedGT_test.json", {"images": [{**image, "sentence_id": 5}]})
    with pytest.raises(InputError, match=r"images\[0\]: sentence_id 5 is not among the 2 of 7\.txt"):
        list(flickr.read(entities))


def test_missing_files_are_named(entities: Path) -> None:
    with pytest.raises(InputError, match="there is no split 'dev'"):
        flickr.read(entities, split="dev")
    with pytest.raises(InputError, match=r"holds no final_flickr_mergedGT_val\.json and no val\.txt"):
        flickr.read(entities, split="val")
    (entities / "test.txt").write_text("7\n8\n")
    with pytest.raises(InputError, match=r"there is no Annotations/8\.xml"):
        list(flickr.read(entities))


def test_references_for_captioning_from_entities(entities: Path) -> None:
    (picture,) = grounded_captions.read(entities)
    first, second = picture.captions  # a caption without any box still is a reference for words
    assert first.objects == (
        grounded_captions.ObjectWord("man", 2, (1, 2, 30, 23)),
        grounded_captions.ObjectWord("handle", 6, (20, 3, 30, 23)),
    )
    assert second.objects == ()
    (example,) = grounded_captions.examples(entities)
    assert example.target.text == "Two young men  hold the cup's handle  in a park ."
    assert len(example.target.regions) == 2


def test_references_of_gvd(entities: Path, json_file: Write) -> None:
    caption = {
        "tokens": ["a", "man", "runs"],
        "process_idx": [1],
        "process_clss": ["man"],
        "process_bnd_box": [[1, 2, 11, 22]],
    }
    annotations = [{"image_id": number, "captions": [caption]} for number in (7, 8)]
    json_file("flickr30k_cleaned_class.json", {"annotations": annotations})
    assert [picture.id for picture in grounded_captions.read(entities)] == ["7", "8"]
    json_file("split_ids_flickr30k_entities.json", {"test": ["7"], "val": ["8"]})
    (picture,) = grounded_captions.read(entities)
    assert picture.image == "7.jpg"
    assert picture.captions[0].objects == (grounded_captions.ObjectWord("man", 1, (1, 2, 11, 22)),)
    caption["process_clss"] = []
    json_file("flickr30k_cleaned_class.json", {"annotations": annotations})
    with pytest.raises(InputError, match=r"captions\[0\]: 1 process_idx, 0 process_clss and 1 process_bnd_box"):
        list(grounded_captions.read(entities))


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("Dogs", "dog"),
        ("men", "man"),
        ("glasses", "glass"),
        ("boxes", "box"),
        ("cities", "city"),
        ("benches", "bench"),
        ("bus", "bus"),
        ("grass", "grass"),
        ("tie", "tie"),
        ("gas", "gas"),
    ],
)
def test_singulars(word: str, expected: str) -> None:
    assert grounded_captions.singular(word) == expected
