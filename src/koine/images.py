"""Reading and writing pictures: every file format and colour mode becomes 8-bit RGB, upright."""

from __future__ import annotations

import base64
import binascii
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from koine.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image
    from numpy.typing import NDArray

PNG_PREFIX = "data:image/png;base64,"


def read_pixels(source: str | os.PathLike[str] | BinaryIO) -> NDArray[np.uint8]:
    """The first frame of an image file as RGB.

    Returns:
        pixels: [height, width, 3] uint8, see `pixels_of_pil`.
    Raises:
        InputError: there is no such file, it isn't an image, it is truncated or larger than Pillow deems safe.
    """
    return pixels_of_pil(_open(source))


def read_mask(source: str | os.PathLike[str] | BinaryIO) -> NDArray[np.bool_]:
    """A mask file as booleans: True where alpha (if it varies), else brightness, passes half its maximum.

    Half the maximum, so that masks of 0 and 1, of 0 and 255, and JPEGs with ringing are all read as they were meant.

    Returns:
        mask: [height, width] bool; all False for a black picture.
    Raises:
        InputError: as `read_pixels`.
    """
    import numpy as np

    image = _open(source)
    if image.has_transparency_data:
        alpha = np.asarray(image.convert("RGBA").getchannel("A"))
        if alpha.min() != alpha.max():
            return alpha > alpha.max() / 2
    # Palette indices are class numbers in many data sets: the index counts, not the colour that it is shown in.
    level = np.asarray(image) if image.mode == "P" else pixels_of_pil(image).max(axis=2)
    if not level.any():
        return np.zeros(level.shape, dtype=bool)
    return level > level.max() / 2


def pixels_of_pil(image: PIL.Image.Image) -> NDArray[np.uint8]:
    """Any Pillow image as RGB: rotated as its EXIF orientation says, transparency laid over white, 16 bits cut to 8.

    Modes `I` and `F` hold numbers without a fixed range: integers above 255 count as 16-bit levels, floats within
    [0, 1] as fractions of full brightness, all others as 8-bit levels.

    Returns:
        pixels: [height, width, 3] uint8.
    Raises:
        InputError: the image has no pixels, or some that aren't numbers.
    """
    import numpy as np
    from PIL import Image as pil
    from PIL import ImageOps

    if 0 in image.size:
        raise InputError(f"the image is {image.width}x{image.height} and has no pixels: give one of at least 1x1")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        grey = _eight_bits(np.asarray(image))
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        # Colours below full transparency are arbitrary; over white the picture looks as on a page.
        above = image.convert("RGBA")
        image = pil.alpha_composite(pil.new("RGBA", image.size, "white"), above)
    return np.array(image.convert("RGB"), dtype=np.uint8)


def encode_png(pixels: NDArray[np.generic]) -> bytes:
    """The PNG file of RGB, grey or boolean pixels: [height, width, 3] uint8, [height, width] uint8 or bool."""
    from PIL import Image as pil

    buffer = io.BytesIO()
    pil.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def data_url(pixels: NDArray[np.generic]) -> str:
    """The picture as a `data:` URL that holds its PNG file (pixels as in `encode_png`)."""
    return PNG_PREFIX + base64.b64encode(encode_png(pixels)).decode("ascii")


def bytes_of_data_url(url: str) -> io.BytesIO:
    """The file inside a base64 `data:` URL.

    Raises:
        InputError: it is the URL of something elsewhere (nothing is downloaded), or its base64 is broken.
    """
    head, comma, body = url.partition(",")
    if not (head.startswith("data:") and head.endswith(";base64") and comma):
        raise InputError(f"{url[:60]!r} is not a base64 data URL: download the file and give its content as one")
    try:
        return io.BytesIO(base64.b64decode(body, validate=True))
    except binascii.Error as error:
        raise InputError(f"the data URL {url[:40]!r}... has broken base64 ({error}): encode the file again") from error


def _open(source: str | os.PathLike[str] | BinaryIO) -> PIL.Image.Image:
    """Opens and decodes with Pillow; every way in which a foreign file can be broken becomes an `InputError`."""
    import PIL
    from PIL import Image as pil

    name = str(source) if isinstance(source, str | os.PathLike) else "the image"
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if not path.exists():
            raise InputError(f"there is no image file {name}: give the path of an existing picture")
        if path.is_dir():
            raise InputError(f"{name} is a folder: give the path of one picture inside it")
    try:
        image = pil.open(source)
        image.load()
    except PIL.UnidentifiedImageError as error:
        raise InputError(
            f"cannot read {name}: it is not an image file that Pillow knows: give a PNG or JPEG"
        ) from error
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, ... on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"cannot read {name}: {reason}: the file is damaged or too large, save it again") from error
    return image


def _eight_bits(levels: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Levels of a one-channel image of any number type, [height, width], as uint8 (rules in `pixels_of_pil`)."""
    import numpy as np

    values = levels.astype(np.float64)
    if not np.isfinite(values).all():
        raise InputError("the image holds nan or infinite values: give levels that are numbers")
    if levels.dtype == np.uint16 or (levels.dtype.kind in "iu" and values.max() > 255):
        values = values / 257.0
    elif levels.dtype.kind == "f" and values.max() <= 1.0:
        values = values * 255.0
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
