"""Every colour mode and file format is read as upright 8-bit RGB; what can't be read is bad input."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as pil

from koine.errors import InputError
from koine.images import bytes_of_data_url, data_url, read_mask, read_pixels

RAMP = np.arange(0, 240, 20, dtype=np.uint8).reshape(3, 4)
COLOURED = np.stack([RAMP, RAMP[::-1], 255 - RAMP], axis=2)


def saved(image: pil.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_rgb_pixels_come_back_as_they_were(tmp_path):
    path = saved(pil.fromarray(COLOURED), tmp_path / "rgb.png")
    np.testing.assert_array_equal(read_pixels(path), COLOURED)
    assert read_pixels(path).dtype == np.uint8


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "CMYK", "YCbCr", "LAB"])
def test_every_mode_becomes_rgb_of_the_same_size(tmp_path, mode):
    grey = pil.fromarray(np.full((5, 7), 255, np.uint8))
    path = saved(grey.convert("RGB").convert(mode) if mode != "P" else grey.convert("P"), tmp_path / "white.tiff")
    pixels = read_pixels(path)
    assert pixels.shape == (5, 7, 3)
    assert pixels.min() >= 250  # white is white in every mode


def test_cmyk_colours_are_converted_not_reinterpreted(tmp_path):
    path = saved(pil.new("CMYK", (4, 4), (0, 255, 255, 0)), tmp_path / "red.jpg", quality=100)
    red, green, blue = read_pixels(path)[2, 2]
    assert red > 230 and green < 25 and blue < 25


def test_sixteen_bit_grey_keeps_its_range(tmp_path):
    levels = np.array([[0, 129 * 257, 65535]], dtype=np.uint16)
    path = saved(pil.fromarray(levels), tmp_path / "deep.png")
    np.testing.assert_array_equal(read_pixels(path)[0, :, 0], [0, 129, 255])


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        (np.array([[0, 65535]], np.int32), [0, 255]),
        (np.array([[0, 200]], np.int32), [0, 200]),
        (np.array([[0.0, 1.0]], np.float32), [0, 255]),
        (np.array([[0.0, 200.0]], np.float32), [0, 200]),
    ],
)
def test_numbers_without_a_fixed_range_are_read_by_their_largest(tmp_path, levels, expected):
    path = saved(pil.fromarray(levels), tmp_path / "numbers.tiff")
    np.testing.assert_array_equal(read_pixels(path)[0, :, 0], expected)


@pytest.mark.parametrize("level", [np.nan, np.inf])
def test_pixels_that_are_no_numbers_are_bad_input(tmp_path, level):
    pil.fromarray(np.array([[0.5, level]], np.float32)).save(tmp_path / "depth.tiff")
    with pytest.raises(InputError, match="nan or infinite values"):
        read_pixels(tmp_path / "depth.tiff")


def test_transparency_is_laid_over_white(tmp_path):
    clear, half = (200, 0, 0, 0), (0, 0, 0, 128)
    image = pil.new("RGBA", (2, 1))
    image.putdata([clear, half])
    pixels = read_pixels(saved(image, tmp_path / "clear.png"))
    np.testing.assert_array_equal(pixels[0, 0], [255, 255, 255])
    np.testing.assert_allclose(pixels[0, 1], 127, atol=1)


def test_a_palette_with_a_transparent_colour_is_laid_over_white(tmp_path):
    image = pil.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 0])
    image.putdata([0, 1])
    pixels = read_pixels(saved(image, tmp_path / "palette.png", transparency=0))
    np.testing.assert_array_equal(pixels[0], [[255, 255, 255], [200, 100, 0]])


def test_exif_rotation_is_applied(tmp_path):
    exif = pil.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn clockwise to show
    path = saved(pil.fromarray(COLOURED), tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_pixels(path), np.rot90(COLOURED, k=-1))


def test_one_pixel_is_enough(tmp_path):
    path = saved(pil.new("RGB", (1, 1), (1, 2, 3)), tmp_path / "one.png")
    np.testing.assert_array_equal(read_pixels(path), [[[1, 2, 3]]])


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [pil.new("RGB", (3, 2), colour) for colour in ("red", "blue")]
    path = saved(frames[0], tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read_pixels(path)[0, 0], [255, 0, 0])


def noise_png() -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    pil.fromarray(noise).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not an image"),
        (b"these are words", "not an image"),
        (noise_png()[:2000], "truncated"),
        (noise_png()[:20], "cannot read"),
    ],
    ids=["empty", "text", "half a file", "half a header"],
)
def test_a_file_that_is_no_whole_image_is_bad_input(tmp_path, content, reason):
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=reason) as caught:
        read_pixels(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_truncated_jpeg_is_bad_input(tmp_path):
    path = saved(pil.fromarray(np.tile(COLOURED, (20, 20, 1))), tmp_path / "half.jpg")
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(InputError, match="truncated"):
        read_pixels(path)


def test_a_missing_file_and_a_folder_are_bad_input(tmp_path):
    with pytest.raises(InputError, match=r"no image file .*nowhere\.png"):
        read_pixels(tmp_path / "nowhere.png")
    with pytest.raises(InputError, match="is a folder"):
        read_pixels(tmp_path)


def test_a_picture_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    path = saved(pil.new("1", (100, 100)), tmp_path / "bomb.png")
    monkeypatch.setattr(pil, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(InputError, match="too large"):
        read_pixels(path)


@pytest.mark.parametrize("white", [1, 255])
def test_masks_of_any_scale_are_read_alike(tmp_path, white):
    levels = np.zeros((4, 5), np.uint8)
    levels[1:3, 2:4] = white
    np.testing.assert_array_equal(read_mask(saved(pil.fromarray(levels), tmp_path / "mask.png")), levels > 0)


def test_the_noise_around_a_mask_saved_as_jpeg_is_ignored(tmp_path):
    rows, columns = np.indices((64, 64))
    disc = np.hypot(rows - 30, columns - 33) < 20
    path = saved(pil.fromarray(disc.astype(np.uint8) * 255), tmp_path / "mask.jpg", quality=40)
    assert ((read_pixels(path)[..., 0] > 0) != disc).sum() > 100  # there is noise
    assert (read_mask(path) != disc).sum() <= 12


def test_a_scribble_on_a_transparent_sheet_counts_by_its_opacity(tmp_path):
    sheet = np.zeros((4, 4, 4), np.uint8)
    sheet[2, 1:3, 3] = 255  # black strokes
    np.testing.assert_array_equal(read_mask(saved(pil.fromarray(sheet), tmp_path / "ink.png")), sheet[..., 3] > 0)


def test_an_opaque_mask_with_an_alpha_channel_counts_by_its_brightness(tmp_path):
    sheet = np.zeros((4, 4, 4), np.uint8)
    sheet[..., 3] = 255
    sheet[0, 0, :3] = 255
    mask = read_mask(saved(pil.fromarray(sheet), tmp_path / "opaque.png"))
    assert mask[0, 0] and mask.sum() == 1


def test_palette_indices_count_not_their_colours(tmp_path):
    image = pil.new("P", (2, 1))
    image.putpalette([255, 255, 255, 0, 0, 0])  # class 0 is shown white
    image.putdata([0, 1])
    np.testing.assert_array_equal(read_mask(saved(image, tmp_path / "classes.png")), [[False, True]])


def test_a_black_mask_is_empty(tmp_path):
    assert not read_mask(saved(pil.new("L", (3, 3)), tmp_path / "black.png")).any()


@pytest.mark.parametrize("pixels", [COLOURED, RAMP, RAMP > 100], ids=["colour", "grey", "mask"])
def test_data_urls_hold_the_pixels_exactly(pixels):
    read = np.asarray(pil.open(bytes_of_data_url(data_url(pixels))))
    np.testing.assert_array_equal(read, pixels)


@pytest.mark.parametrize(
    "url", ["https://example.org/cat.png", "cat.png", "data:image/png,raw", "data:image/png;base64,%%%"]
)
def test_nothing_is_downloaded_or_guessed(url):
    with pytest.raises(InputError, match="data URL"):
        bytes_of_data_url(url)
