"""One image file as RGB pixels: as an image viewer shows it, or a reason why it cannot be read so.

A viewer turns a photograph upright, shows levels of 16 bits from black to white, applies a palette, and lays transparent
pixels over white. Files with several pictures, and pixels without a fixed black and white, are refused.
"""

from __future__ import annotations

import struct
import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

# Pillow's names of the formats that hold one picture, of which old versions do not know all. Others are documents, vector
# graphics and scientific data, some of which Pillow passes to other programs.
FORMATS = (
    "AVIF",
    "BMP",
    "DIB",
    "GIF",
    "JPEG",
    "JPEG2000",
    "PCX",
    "PNG",
    "PPM",
    "QOI",
    "SGI",
    "TGA",
    "TIFF",
    "WEBP",
)
# A level of 16 bits is 257 times that of 8 bits: 65535 / 255.
LEVELS_PER_LEVEL = 257
WHITE = (255, 255, 255, 255)
# TIFF's tag of the photometric interpretation, and its value for pixels whose 0 is white.
PHOTOMETRIC_TAG, WHITE_IS_ZERO = 262, 0


class UnreadableImage(Exception):
    """The file cannot be read as one picture; the message is the reason."""


@cache
def image_suffixes() -> frozenset[str]:
    """Suffixes of the files that are read, in lower case."""
    # Pillow is imported only where images are read: the catalogue imports this package and reads none.
    from PIL import Image

    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS) | {".mpo"}


@cache
def known_formats() -> tuple[str, ...]:
    """The formats that this version of Pillow reads."""
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def read_picture(path: Path) -> Image.Image:
    """The pixels of a file, in mode RGB. Raises UnreadableImage."""
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings(), Image.open(path, formats=known_formats()) as image:
            # Pillow warns of damaged metadata, which are not shown, and of large images, which are refused at twice that size.
            warnings.simplefilter("ignore")
            _check(image)
            is_inverted = getattr(image, "tag_v2", {}).get(PHOTOMETRIC_TAG) == WHITE_IS_ZERO
            return _to_rgb(ImageOps.exif_transpose(image), is_inverted=is_inverted)
    except Image.UnidentifiedImageError as error:
        reason = "has no bytes" if not path.stat().st_size else "its content is not an image of a known format"
        raise UnreadableImage(reason) from error
    # Decoders raise errors of many kinds on damaged files.
    except (
        OSError,
        ValueError,
        SyntaxError,
        TypeError,
        LookupError,
        ArithmeticError,
        AttributeError,
        EOFError,
        MemoryError,
        RuntimeError,
        struct.error,
        Image.DecompressionBombError,
    ) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UnreadableImage(" ".join((reason or type(error).__name__).split())) from error


def _check(image: Image.Image) -> None:
    # Cameras append a second view to a JPEG (format MPO), which viewers do not show.
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if frames != 1:
        raise UnreadableImage(f"has {frames} frames; save each picture, or the one that counts, as a file of its own")
    if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
        kind = "floating-point" if image.mode == "F" else "32-bit"
        raise UnreadableImage(
            f"has {kind} levels without a fixed black and white; save it with 8 or 16 bits per channel"
        )
    if image.mode in ("LAB", "HSV"):
        raise UnreadableImage(f"has the color space {image.mode}; save it as RGB")


def _to_rgb(image: Image.Image, *, is_inverted: bool) -> Image.Image:
    from PIL import Image, ImageOps

    transparent = image.info.get("transparency")
    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.int64)
        grey = Image.fromarray(((levels + LEVELS_PER_LEVEL // 2) // LEVELS_PER_LEVEL).clip(0, 255).astype(np.uint8))
        # Pillow itself inverts levels of up to 8 bits.
        if is_inverted:
            grey = ImageOps.invert(grey)
        if isinstance(transparent, int):
            grey.paste(255, mask=Image.fromarray(np.where(levels == transparent, 255, 0).astype(np.uint8)))
        return grey.convert("RGB")
    if transparent is not None or image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, WHITE), rgba).convert("RGB")
    return image.convert("RGB")


def scaled(picture: Image.Image, size: int) -> NDArray[np.uint8]:
    """Pixels [size, size, 3]; a picture of another size is resized with Pillow's default filter (protocol §1.4)."""
    return np.asarray(picture if picture.size == (size, size) else picture.resize((size, size)))
