"""Mutated images, given to `data prepare`: python -m benchmarks.fuzz_images

Each input is a folder of sound images in two classes and one mutated image. The command must end within ten seconds with exit
code 0 and the table, or 2 with one error that names the file and nothing written; sound images of unusual kinds must be read.
With the same --seed, number N is the same input on every machine with the same Pillow. Folders that cause a fault are copied to
--out.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

import adaprob_ray.catalogue  # noqa: F401
from adaprob_ray.cli._exit_codes import BAD_INPUT, DONE

# The command imports torch, which takes longer than an input may under load; the clock of the first input starts after it.
from benchmarks import run_command
from benchmarks.fuzz.command import run_in_process

IMAGES_PER_CLASS = 6
# Format and modes of the images that are mutated; all of them are read if they are left as they are.
KINDS = {
    "png": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "jpg": ("L", "RGB", "CMYK"),
    "tif": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"),
    "gif": ("L", "P", "RGB"),
    "bmp": ("1", "L", "P", "RGB", "RGBA"),
    "webp": ("RGB", "RGBA"),
    "ppm": ("1", "L", "RGB"),
    "tga": ("L", "P", "RGB", "RGBA"),
    "jp2": ("L", "RGB", "RGBA", "I;16"),
    "pcx": ("1", "L", "P", "RGB"),
}
SIZES = ((1, 1), (1, 300), (7, 5), (32, 32), (640, 3))
# The sound ones among the mutations.
SOUND = ("none", "orientation")
MUTATIONS = (*SOUND, "bits", "header", "cut", "zeros", "extend", "suffix", "splice", "empty", "link", "huge")


def sound_image(generator: random.Random) -> tuple[str, bytes]:
    """The suffix and the bytes of an image of random format, mode, size and pixels."""
    suffix = generator.choice(sorted(KINDS))
    mode, (width, height) = generator.choice(KINDS[suffix]), generator.choice(SIZES)
    pixels = np.random.RandomState(generator.getrandbits(32))
    if mode == "I;16":
        image = Image.fromarray(pixels.randint(0, 65536, (height, width)).astype(np.uint16))
    else:
        image = Image.fromarray(pixels.randint(0, 256, (height, width, 4)).astype(np.uint8), "RGBA").convert(
            "RGB" if mode in ("P", "CMYK", "1") else mode
        )
        image = image if image.mode == mode else image.convert(mode)
    exif = Image.Exif()
    exif[0x0112] = generator.randint(1, 8)
    file = io.BytesIO()
    options = {"exif": exif} if suffix in ("png", "jpg", "webp", "tif") else {}
    image.save(file, Image.registered_extensions()[f".{suffix}"], **options)
    return suffix, file.getvalue()


def mutated(generator: random.Random, kind: str, data: bytes) -> bytes:
    """The bytes after one mutation."""
    changed = bytearray(data)
    if kind in ("bits", "header"):
        end = min(64, len(changed)) if kind == "header" else len(changed)
        for _ in range(generator.randint(1, 12)):
            changed[generator.randrange(end)] ^= 1 << generator.randrange(8)
    elif kind == "cut":
        del changed[generator.randrange(len(changed)) :]
    elif kind == "zeros":
        at = generator.randrange(len(changed))
        changed[at : at + 40] = bytes(len(changed[at : at + 40]))
    elif kind == "extend":
        changed += generator.randbytes(generator.randint(1, 500))
    elif kind == "splice":
        at = generator.randrange(len(changed))
        changed[at:at] = generator.randbytes(generator.randint(1, 30))
    elif kind == "empty":
        changed.clear()
    elif kind == "huge":
        changed[:] = b"P6 %d %d 255\n" % (generator.choice((10**5, 10**9, 10**30)), generator.choice((10**5, 10**9)))
    return bytes(changed)


def write_input(seed: int, number: int, root: Path) -> tuple[str, Path]:
    """Write the data set `fuzz` with one mutated image; the kind of the mutation, and the mutated file."""
    generator = random.Random(f"{seed} {number}")
    for label in ("cat", "dög"):
        for index in range(IMAGES_PER_CLASS):
            path = root / "fuzz" / label / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.frombuffer(generator.randbytes(192), np.uint8).reshape(8, 8, 3)).save(path)
    suffix, data = sound_image(generator)
    kind = MUTATIONS[number % len(MUTATIONS)]
    if kind == "suffix":
        suffix = generator.choice(sorted(KINDS))
    path = root / "fuzz" / "cat" / f"mutated.{suffix}"
    if kind == "link":
        path.symlink_to(generator.choice((path, path.parent, root / "nowhere")))
    else:
        path.write_bytes(mutated(generator, kind, data))
    return kind, path


def check(seed: int, number: int, root: Path) -> tuple[str, list[str]]:
    """The kind of the mutation, and what is wrong with how the command treats it."""
    kind, path = write_input(seed, number, root)
    os.environ["ADAPROB_DATA"] = str(root)
    result = run_in_process("data", "prepare", "fuzz")
    faults = result.faults()
    is_written = (root / "prepared").exists()
    if result.code == BAD_INPUT and is_written:
        faults.append("refused, yet prepared/ was written")
    if result.code == BAD_INPUT and str(path) not in result.err:
        faults.append(f"the file is not named: {result.err[:300]}")
    if result.code == DONE and not (is_written and "fuzz: ready" in result.out):
        faults.append(f"exit code 0, yet not ready: {result.out[:300]}")
    if kind in SOUND and result.code != DONE:
        faults.append(f"a sound image is refused: {result.err[:300]}")
    return f"{kind} {path.suffix}", faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=300, help="number of mutated images")
    parser.add_argument("--first", type=int, default=0, help="number of the first mutation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--out", type=Path, default=Path("out/fuzz"))
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    faulty = done = 0
    for number in range(options.first, options.first + options.images):
        if time.monotonic() > end:
            print("image: time is up")
            break
        with tempfile.TemporaryDirectory(prefix="fuzz-image-") as name:
            title, faults = check(options.seed, number, Path(name))
            done += 1
            if faults:
                faulty += 1
                copy = options.out / f"image-{number}"
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(name, copy, symlinks=True)
                print(f"image {number}: {title}\n" + "\n".join(f"    {fault}" for fault in faults), flush=True)
    print(f"image: {done} of {options.images} inputs, {faulty} with faults")
    return 1 if faulty else 0


if __name__ == "__main__":
    run_command(main)
