"""Lacuna, drawn from a user's copy of VGGFace2 (protocol §1.5): `lacuna5`, `lacuna10`, `lacuna100`, and the same with `_code`.

    ROOT/vggface2/train/IDENTITY/*.jpg    one folder per identity, as VGGFace2 is distributed
    ROOT/vggface2/identity_meta.csv       its table, with Class_ID and Sample_Num; only the `_code` sets read it

`adaprob-ray data prepare lacuna10` draws identities and images once and stores the pixels under ROOT/prepared.

The variant `clean`, the plain names, follows the paper: 10 and 100 identities, all different, of at least 500 images each; 500
images of each, all different, 400 to train and validate and 100 to test. The variant `code`, the names with `_code`, follows
the authors' script:

1. Identities are drawn with replacement, so that two classes can be the same person.
2. Lacuna-10's identities are the first ten of Lacuna-100's: the pretrained model has seen these people, and some of the images.
3. Images are drawn with replacement, so that an image can be in both training and test images; `test_pool: clean` drops those.
4. The authors' draws are unseeded, so their Lacuna cannot be reproduced. Ours use a seed, `DRAW_SEED` in the catalogue.

Images are resized to 32×32 with PIL's default filter, without cropping or alignment.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from adaprob_ray.data import faces, prepared
from adaprob_ray.data.dataset import Dataset, RawImages
from adaprob_ray.data.folder import assemble, list_images
from adaprob_ray.errors import InputError

# The seed of the catalogue's draws; any other would do, as the authors' is unknown.
DRAW_SEED = 1


@dataclass(frozen=True, kw_only=True)
class DrawSizes:
    """Identities of the small and the large set, and images of each identity. The defaults are those of protocol §1.1."""

    small: int = 10
    large: int = 100
    pool: int = faces.POOL_PER_CLASS
    test: int = faces.TEST_PER_CLASS

    @property
    def identities(self) -> int:
        return self.small + self.large

    @property
    def images(self) -> int:
        return self.pool + self.test


LACUNA_SIZES = DrawSizes()

# Identities, and for each the positions of its images in its folder, in the order of the draw.
IdentityDraw = tuple[list[str], list[list[int]]]


def draw_clean(counts: Mapping[str, int], classes: int, seed: int, sizes: DrawSizes = LACUNA_SIZES) -> IdentityDraw:
    """Draw without replacement; the first `sizes.small` identities are the small set, the following ones the large set.

    `counts` maps each identity to the number of its images. Raises InputError if there are too few identities.
    """
    names = _eligible_identities(counts, counts, sizes, sizes.identities)
    order = np.random.RandomState(seed).choice(names, sizes.identities, replace=False).tolist()
    identities = order[: sizes.small] if classes == sizes.small else order[sizes.small :]
    generator = np.random.RandomState([seed, classes])
    return identities, [generator.choice(counts[name], sizes.images, replace=False).tolist() for name in identities]


def draw_code(
    counts: Mapping[str, int], table: Mapping[str, int], classes: int, seed: int, sizes: DrawSizes = LACUNA_SIZES
) -> IdentityDraw:
    """Draw with replacement, as the authors' script does; the small set's identities are the first of the large set's.

    `table` holds the numbers of images in VGGFace2's table. The script is unseeded: difference 4 above.
    """
    names = _eligible_identities(table, counts, sizes, 1)
    identities = np.random.RandomState(seed).choice(names, sizes.identities, replace=True).tolist()[:classes]
    generator = np.random.RandomState([seed, classes])
    return identities, [generator.choice(counts[name], sizes.images, replace=True).tolist() for name in identities]


def _eligible_identities(
    table: Mapping[str, int], counts: Mapping[str, int], sizes: DrawSizes, min_identities: int
) -> list[str]:
    """The names of identities with a folder and enough images in the table, sorted."""
    names = sorted(n for n, count in table.items() if count >= sizes.images and counts.get(n, 0) > 0)
    if len(names) < min_identities:
        raise InputError(
            f"vggface2: must have at least {min_identities} identities with at least {sizes.images} images, got {len(names)}"
            f" among {len(counts)} folders"
        )
    return names


def read_table(path: Path) -> dict[str, int]:
    """Class_ID to Sample_Num of VGGFace2's identity table. Raises InputError if it is not that table."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, skipinitialspace=True))
        return {row["Class_ID"].strip(): int(row["Sample_Num"]) for row in rows}
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: must be VGGFace2's identity table, with the columns Class_ID and Sample_Num, got {error!r}"
        ) from error


def prepare(variant: str, classes: int, root: Path, *, seed: int = DRAW_SEED, sizes: DrawSizes = LACUNA_SIZES) -> None:
    """Draw Lacuna-`classes` from the VGGFace2 under `root` and write its pixels and manifest. Raises InputError."""
    folder = root / "vggface2" / "train"
    if not folder.is_dir():
        raise InputError(f"{_name(variant, classes)}: no folder {folder}; it must hold VGGFace2's training folders")
    paths = {entry.name: list_images(entry) for entry in sorted(folder.iterdir()) if entry.is_dir()}
    counts = {name: len(files) for name, files in paths.items()}
    if variant == "code":
        table = read_table(root / "vggface2" / "identity_meta.csv")
        identities, rows = draw_code(counts, table, classes, seed, sizes)
    else:
        identities, rows = draw_clean(counts, classes, seed, sizes)
    draws = [[paths[name][row] for row in image_rows] for name, image_rows in zip(identities, rows, strict=True)]
    pool, test = [files[: sizes.pool] for files in draws], [files[sizes.pool : sizes.images] for files in draws]
    images, files = assemble(pool, test, faces.SIZE)
    name = _name(variant, classes)
    prepared.write(root, name, images, files, kind="lacuna", variant=variant, seed=seed, classes=identities)


def _name(variant: str, classes: int) -> str:
    return f"lacuna{classes}_code" if variant == "code" else f"lacuna{classes}"


def _expected(variant: str, classes: int) -> dict[str, object]:
    return {
        "pool_per_class": [faces.POOL_PER_CLASS] * classes,
        "test_count": faces.TEST_PER_CLASS * classes,
        "size": faces.SIZE,
        "variant": variant,
    }


def _verify(variant: str, classes: int, root: Path) -> str | None:
    name, folder = _name(variant, classes), root / "vggface2" / "train"
    advice = f"put VGGFace2's training folders in {folder} and run `adaprob-ray data prepare {name}`"
    return prepared.verify(root, name, _expected(variant, classes), advice)


def _load(variant: str, classes: int, root: Path, seed: int) -> RawImages:
    return prepared.read(root, _name(variant, classes), _expected(variant, classes))


def _load_lacuna5(variant: str, root: Path, seed: int) -> RawImages:
    return faces.draw_lacuna5(_load(variant, LACUNA_SIZES.small, root, seed), seed)


def _entry(variant: str, classes: int) -> Dataset:
    """The entry for 5, 10 or 100 classes. Lacuna-5 is a draw from the prepared Lacuna-10, a new one for each seed."""
    prepared_classes = max(classes, LACUNA_SIZES.small)
    is_lacuna5 = classes == faces.LACUNA5_CLASSES
    draw = "with repeats, as the authors' script does" if variant == "code" else "all different"
    return replace(
        faces.FACES10,
        name=_name(variant, classes),
        about=f"Lacuna-{classes} from your copy of VGGFace2, people and images {draw}",
        pool_per_class=(faces.LACUNA5_POOL_PER_CLASS if is_lacuna5 else faces.POOL_PER_CLASS,) * classes,
        test_count=faces.TEST_PER_CLASS * classes,
        load=partial(_load_lacuna5, variant) if is_lacuna5 else partial(_load, variant, classes),
        verify=partial(_verify, variant, prepared_classes),
        prepare=partial(prepare, variant, prepared_classes),
        pretrain_on=None if classes == LACUNA_SIZES.large else _name(variant, LACUNA_SIZES.large),
        drawn_from=_name(variant, LACUNA_SIZES.small) if is_lacuna5 else None,
    )


LACUNAS = tuple(_entry(variant, classes) for variant in ("clean", "code") for classes in (5, 10, 100))
