"""Parts and sentences: what they hold, what they refuse, and when they are equal."""

import json

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image as pil

from koine import EEG, Audio, Entity, Example, Image, InputError, Region, Reply, Sentence, State

PICTURE = Image(np.arange(40 * 60 * 3, dtype=np.uint8).reshape(40, 60, 3))
OTHER = Image(np.zeros((40, 60, 3), np.uint8))


def scribble(rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros((40, 60), bool)
    mask[rows, columns] = True
    return mask


class TestImage:
    def test_sizes_are_in_pillow_order(self):
        assert (PICTURE.width, PICTURE.height, PICTURE.size) == (60, 40, (60, 40))

    def test_pillow_and_back(self):
        assert Image.from_pil(PICTURE.to_pil()) == PICTURE

    def test_the_pillow_copy_shares_no_memory(self):
        before = PICTURE.pixels.copy()
        PICTURE.to_pil().paste((0, 0, 0), (0, 0, 60, 40))
        np.testing.assert_array_equal(PICTURE.pixels, before)

    def test_equal_pixels_are_equal_images_whatever_their_names(self, tmp_path):
        PICTURE.to_pil().save(tmp_path / "a.png")
        read = Image.open(tmp_path / "a.png")
        assert read == PICTURE and hash(read) == hash(PICTURE)
        assert read.name == str(tmp_path / "a.png")
        assert read != OTHER and PICTURE != "PICTURE"

    @pytest.mark.parametrize(
        "pixels",
        [
            np.zeros((4, 4), np.uint8),
            np.zeros((4, 4, 4), np.uint8),
            np.zeros((4, 4, 3), np.float32),
            np.zeros((0, 4, 3), np.uint8),
            np.zeros((4, 0, 3), np.uint8),
        ],
        ids=["grey", "four channels", "floats", "no rows", "no columns"],
    )
    def test_other_arrays_are_refused(self, pixels):
        with pytest.raises(InputError, match="give"):
            Image(pixels)

    def test_an_empty_pillow_image_is_refused(self):
        with pytest.raises(InputError, match="0x5 and has no pixels"):
            Image.from_pil(pil.new("RGB", (0, 5)))

    def test_one_pixel_is_an_image(self):
        one = Image.from_pil(pil.new("L", (1, 1), 7))
        assert one.size == (1, 1) and one.pixels.tolist() == [[[7, 7, 7]]]
        assert Region.box(one, 0, 0, 1, 1).to_mask().tolist() == [[True]]
        assert Region.point(one, 0.5, 0.5).to_mask().tolist() == [[True]]


class TestRegion:
    def test_a_point_marks_the_pixel_that_holds_it(self):
        region = Region.point(PICTURE, 59.9, 0)
        assert region.bounds == (59.9, 0, 59.9, 0) and region.center == (59.9, 0)
        assert np.argwhere(region.to_mask()).tolist() == [[0, 59]]

    def test_a_box_marks_every_pixel_that_it_touches(self):
        region = Region.box(PICTURE, 1.5, 2, 4, 3.1)
        np.testing.assert_array_equal(region.to_mask(), scribble(slice(2, 4), slice(1, 4)))
        assert region.center == (2.75, 2.55)

    def test_the_whole_image_is_a_box(self):
        assert Region.box(PICTURE, 0, 0, 60, 40).to_mask().all()

    def test_a_scribble_is_bounded_tightly_unless_a_looser_box_is_given(self):
        mask = scribble(slice(3, 7), slice(9, 10))
        assert Region.scribble(PICTURE, mask).bounds == (9, 3, 10, 7)
        loose = Region.scribble(PICTURE, mask, box=(5, 0, 20, 40))
        assert loose.bounds == (5, 0, 20, 40)
        np.testing.assert_array_equal(loose.to_mask(), mask)

    def test_a_mask_may_have_any_number_type(self):
        region = Region.scribble(PICTURE, scribble(slice(0, 2), slice(0, 2)).astype(np.float32) * 0.25)
        assert region.to_mask().sum() == 4 and region.to_mask().dtype == bool

    def test_changing_the_mask_handed_out_does_not_change_the_region(self):
        region = Region.scribble(PICTURE, scribble(slice(0, 2), slice(0, 2)))
        region.to_mask()[:] = False
        assert region.to_mask().sum() == 4

    @pytest.mark.parametrize(
        ("x", "y"), [(-0.1, 5), (60, 5), (5, 40), (5, -1), (float("nan"), 5), (float("inf"), 5), ("a", 1)]
    )
    def test_a_point_outside_is_refused(self, x, y):
        with pytest.raises(InputError, match="region point"):
            Region.point(PICTURE, x, y)

    @pytest.mark.parametrize(
        ("box", "reason"),
        [
            ((12, 4, 8, 6), r"region box \(12, 4, 8, 6\) has x1 <= x0: .* pixels of the 60x40 image"),
            ((8, 4, 8, 6), "x1 <= x0"),
            ((8, 6, 12, 6), "y1 <= y0"),
            ((-1, 0, 5, 5), "outside"),
            ((0, 0, 61, 5), "outside"),
            ((0, 0, 5, 40.5), "outside"),
            ((0, 0, float("nan"), 5), "not finite"),
        ],
    )
    def test_a_box_without_area_or_outside_is_refused(self, box, reason):
        with pytest.raises(InputError, match=reason):
            Region.box(PICTURE, *box)

    def test_an_empty_mask_is_refused(self):
        with pytest.raises(InputError, match="60x40 image is empty"):
            Region.scribble(PICTURE, np.zeros((40, 60), bool))

    @pytest.mark.parametrize("shape", [(60, 40), (40, 60, 1), (20, 30)])
    def test_a_mask_of_another_size_is_refused(self, shape):
        with pytest.raises(InputError, match="does not fit the 60x40 image"):
            Region.scribble(PICTURE, np.ones(shape, bool))

    def test_a_box_drawn_beside_the_mask_is_refused(self):
        with pytest.raises(InputError, match="holds no pixel of the mask"):
            Region.scribble(PICTURE, scribble(slice(0, 2), slice(0, 2)), box=(10, 10, 20, 20))

    def test_regions_are_equal_if_place_kind_and_picture_are(self):
        box = Region.box(PICTURE, 1, 2, 3, 4)
        assert box == Region.box(Image(PICTURE.pixels.copy()), 1, 2, 3, 4)
        assert hash(box) == hash(Region.box(Image(PICTURE.pixels.copy()), 1, 2, 3, 4))
        assert box != Region.box(OTHER, 1, 2, 3, 4)
        assert box != Region.scribble(PICTURE, scribble(slice(2, 4), slice(1, 3)))

    @given(st.data())
    def test_a_box_covers_its_own_centre(self, data):
        x0, x1 = sorted(data.draw(st.lists(st.floats(0, 60), min_size=2, max_size=2, unique=True)))
        y0, y1 = sorted(data.draw(st.lists(st.floats(0, 40), min_size=2, max_size=2, unique=True)))
        region = Region.box(PICTURE, x0, y0, x1, y1)
        x, y = region.center
        assume(x < x1 and y < y1)  # between neighbouring numbers there is none, and their mean is rounded to either
        assert region.to_mask()[min(int(y), 39), min(int(x), 59)]


class TestSentence:
    def test_it_is_a_sequence_of_its_parts(self):
        region = Region.point(PICTURE, 1, 1)
        sentence = Sentence("What is ", region, "?")
        assert len(sentence) == 3 and sentence[1] is region and list(sentence) == ["What is ", region, "?"]
        assert sentence[:2] == Sentence("What is ", region) and isinstance(sentence[1:], Sentence)
        assert sentence.text == "What is ?"

    def test_neighbouring_strings_stay_apart(self):
        assert len(Sentence("a", "b")) == 2 and Sentence("a", "b") != Sentence("ab")

    def test_sentences_are_joined_and_spliced(self):
        assert Sentence("a") + Sentence("b") == Sentence("a", "b") == Sentence(Sentence("a"), "b")
        assert "a" + Sentence("b") + "c" == Sentence("a", "b", "c")

    def test_equal_sentences_have_equal_hashes(self):
        assert hash(Sentence("a", PICTURE)) == hash(Sentence("a", Image(PICTURE.pixels.copy())))

    def test_pictures_are_those_shown_or_pointed_into_each_once(self):
        sentence = Sentence(
            Region.point(PICTURE, 1, 1), OTHER, Image(PICTURE.pixels.copy()), Entity("it", Region.point(OTHER, 2, 2))
        )
        assert sentence.images == (PICTURE, OTHER)
        assert [region.image for region in sentence.regions] == [PICTURE, OTHER]

    def test_a_stranger_among_the_parts_is_refused(self):
        with pytest.raises(InputError, match="ndarray"):
            Sentence("a", PICTURE.pixels)

    def test_it_cannot_be_changed(self):
        with pytest.raises(TypeError):
            Sentence("a")[0] = "b"  # type: ignore[index]

    def test_a_reply_tells_its_own_picture_from_those_it_points_into(self):
        assert Reply("at ", Region.point(PICTURE, 1, 1)).image is None
        assert Reply("here: ", OTHER).image == OTHER

    def test_a_reply_is_a_sentence_with_more_to_tell(self):
        reply = Reply("done", plan=["grasp", "lift"], steps=[{"name": "LOC"}], details={"tokens": 3})
        assert reply == Sentence("done")
        assert (reply.plan, reply.steps, reply.details) == (("grasp", "lift"), ({"name": "LOC"},), {"tokens": 3})

    def test_examples_are_compared_by_content(self):
        assert Example(Sentence("a"), Sentence("b"), id="1") == Example(Sentence("a"), Sentence("b"), id="1")


class TestMessages:
    sentence = Sentence(
        "What is ",
        Region.scribble(PICTURE, scribble(slice(3, 7), slice(9, 10)), box=(5, 0, 20, 40)),
        " beside ",
        OTHER,
        Region.box(OTHER, 1, 2, 3.5, 4),
        Entity("it", Region.point(PICTURE, 3, 4.25)),
        Audio(np.array([0.0, 0.5, -1.0]), 8000),
        EEG(np.array([[1e-6, 2e-6], [3e-6, 4e-6]]), 250.0, ("Oz", "Cz")),
        State({"gripper": np.ones(3)}, {"gripper": "m"}),
    )

    def test_a_sentence_survives_json(self):
        messages = json.loads(json.dumps(self.sentence.to_messages()))
        read = Sentence.from_messages(messages)
        assert read[:6] + read[7:] == self.sentence[:6] + self.sentence[7:]
        np.testing.assert_allclose(read.audio[0].samples, [0.0, 0.5, -1.0], atol=2**-15)
        assert read.audio[0].rate == 8000

    def test_the_parts_that_openai_knows_have_its_form(self):
        [message] = Sentence("hello", PICTURE).to_messages()
        assert message["role"] == "user"
        assert message["content"][0] == {"type": "text", "text": "hello"}
        assert message["content"][1]["image_url"]["url"].startswith("data:image/png;base64,")

    def test_a_picture_that_several_regions_lie_in_is_sent_once(self):
        [message] = Sentence(Region.point(PICTURE, 1, 1), Region.point(PICTURE, 2, 2)).to_messages()
        assert "image_url" in message["content"][0] and message["content"][1]["image"] == 0

    def test_plain_strings_and_several_messages_are_read(self):
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
        assert Sentence.from_messages(messages).text == "Be brief.\nWhy?"

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (None, "no content"),
            ([{"type": "video"}], "no content type 'video'"),
            ([{"type": "text"}], "wrong field"),
            ([{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}], "data URL"),
            ([{"type": "region", "kind": "point", "bounds": [0, 0, 0, 0], "image": 0}], "0 came before"),
            ([{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}], "16-bit WAV"),
            ([{"type": "eeg", "eeg": {"volts": "AAAA", "rate": 1, "channels": []}}], "numpy.save"),
            ([{"type": "entity", "name": "x", "part": {"type": "text", "text": "y"}}], "names text"),
        ],
    )
    def test_what_cannot_be_read_is_refused(self, content, reason):
        with pytest.raises(InputError, match=reason):
            Sentence.from_messages([{"role": "user", "content": content}])
