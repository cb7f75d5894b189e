"""Lacuna, made of a user's own VGGFace2 (protocol §1.5): `lacuna5`, `lacuna10`, `lacuna100`, and the same with `_code`.

    ROOT/vggface2/train/IDENTITY/*.jpg    one folder an identity, as VGGFace2 is distributed
    ROOT/vggface2/identity_meta.csv       its table, with Class_ID and Sample_Num; only the `_code` sets read it

`adaprob-ray data prepare lacuna10` draws identities and images once and keeps the pixels under ROOT/prepared.

`clean`, the plain names: what the paper says. 10 and 100 identities, all different, of at least 500 images each; 500 images
of each, all different, 400 to train and 100 to test. `code`, the names with `_code`: what the authors' script does:

1. Identities are drawn with replacement, so that two classes can be one person.
2. Lacuna-10's identities are the first ten of Lacuna-100's: the pretrained model knows these people, and some of the images.
3. Images are drawn with replacement, so that an image can be in training and test part at once; `test_pool: clean` drops those.
4. The authors' draws are unseeded. Ours have a seed (`DRAW_SEED` for the catalogue's sets): no run can have their Lacuna.

Whole images are resized to 32×32 with PIL's default filter, without a crop or alignment.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from adaprob_ray.data import prepared
from adaprob_ray.data.dataset import Dataset, RawImages
from adaprob_ray.data.faces import FACES10, FEW, FEW_POOL, POOL, SIZE, TEST, first_five
from adaprob_ray.data.folder import assemble, list_images
from adaprob_ray.errors import InputError

DRAW_SEED = 1


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is drawn: identities for the small and the large set, images of each, and what an identity must have."""

    small: int = 10
    large: int = 100
    pool: int = POOL
    test: int = TEST

    @property
    def identities(self) -> int:
        return self.small + self.large

    @property
    def images(self) -> int:
        return self.pool + self.test


LACUNA = Scale()

Drawn = tuple[
    list[str], list[list[int]]
]  # identities, and positions of images in the folder of each, in the order drawn


def draw_clean(counts: Mapping[str, int], classes: int, seed: int, scale: Scale = LACUNA) -> Drawn:
    """All identities and images different; the first `scale.small` identities are the small set, the next the large one.

    `counts` maps each identity to the number of its images. Raises InputError if there are too few identities.
    """
    names = _enough(counts, counts, scale)
    drawn = np.random.RandomState(seed).choice(names, scale.identities, replace=False).tolist()
    chosen = drawn[: scale.small] if classes == scale.small else drawn[scale.small :]
    generator = np.random.RandomState([seed, classes])
    return chosen, [generator.choice(counts[name], scale.images, replace=False).tolist() for name in chosen]


def draw_code(
    counts: Mapping[str, int], listed: Mapping[str, int], classes: int, seed: int, scale: Scale = LACUNA
) -> Drawn:
    """As the authors' script draws, with replacement; the small set's identities begin the large set's.

    `listed` is the number of images that VGGFace2's table gives. The script is unseeded: difference 4 above.
    """
    names = _enough(listed, counts, scale, least=1)
    chosen = np.random.RandomState(seed).choice(names, scale.identities, replace=True).tolist()[:classes]
    generator = np.random.RandomState([seed, classes])
    return chosen, [generator.choice(counts[name], scale.images, replace=True).tolist() for name in chosen]


def _enough(sizes: Mapping[str, int], counts: Mapping[str, int], scale: Scale, least: int | None = None) -> list[str]:
    """Identities that have a folder and enough images by `sizes`, by name."""
    names = sorted(name for name, size in sizes.items() if size >= scale.images and counts.get(name, 0) > 0)
    wanted = least or scale.identities
    if len(names) < wanted:
        raise InputError(
            f"vggface2: {wanted} identities with at least {scale.images} images are needed, found {len(names)}"
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
            f"{path}: expected VGGFace2's identity table, with the columns Class_ID and Sample_Num: {error!r}"
        ) from error


def prepare(variant: str, classes: int, root: Path, *, seed: int = DRAW_SEED, scale: Scale = LACUNA) -> None:
    """Draw Lacuna-`classes` of the VGGFace2 under `root`, read its images, and write it down. Raises InputError."""
    folder = root / "vggface2" / "train"
    if not folder.is_dir():
        raise InputError(f"{_name(variant, classes)}: no folder {folder}; it must hold VGGFace2's training folders")
    paths = {entry.name: list_images(entry) for entry in sorted(folder.iterdir()) if entry.is_dir()}
    counts = {name: len(files) for name, files in paths.items()}
    if variant == "code":
        listed = read_table(root / "vggface2" / "identity_meta.csv")
        identities, rows = draw_code(counts, listed, classes, seed, scale)
    else:
        identities, rows = draw_clean(counts, classes, seed, scale)
    drawn = [[paths[name][row] for row in chosen] for name, chosen in zip(identities, rows, strict=True)]
    images, files = assemble(_slices(drawn, 0, scale.pool), _slices(drawn, scale.pool, scale.images), SIZE)
    facts = {"kind": "lacuna", "variant": variant, "seed": seed, "classes": identities}
    prepared.write(root, _name(variant, classes), images, files, **facts)


def _slices(drawn: Sequence[Sequence[Path]], start: int, end: int) -> list[Sequence[Path]]:
    return [files[start:end] for files in drawn]


def _name(variant: str, classes: int) -> str:
    return f"lacuna{classes}_code" if variant == "code" else f"lacuna{classes}"


def _expected(variant: str, classes: int) -> dict[str, object]:
    return {"pool_per_class": [POOL] * classes, "test_count": TEST * classes, "size": SIZE, "variant": variant}


def _check(variant: str, classes: int, root: Path) -> str | None:
    name = _name(variant, classes)
    absent = (
        f"put VGGFace2's training folders in {root / 'vggface2' / 'train'} and run `adaprob-ray data prepare {name}`"
    )
    return prepared.check(root, name, _expected(variant, classes), absent)


def _load(variant: str, classes: int, root: Path, seed: int) -> RawImages:
    return prepared.read(root, _name(variant, classes), _expected(variant, classes))


def _load_five(variant: str, root: Path, seed: int) -> RawImages:
    return first_five(_load(variant, LACUNA.small, root, seed), seed)


def _entry(variant: str, classes: int) -> Dataset:
    """`classes` 5, 10 or 100; five are drawn of the prepared ten, anew for each seed."""
    whole = max(classes, LACUNA.small)
    how = "with repeats, as the authors' script does" if variant == "code" else "all different"
    return replace(
        FACES10,
        name=_name(variant, classes),
        about=f"Lacuna-{classes} of your own VGGFace2, people and images drawn {how}",
        pool_per_class=(FEW_POOL if classes == FEW else POOL,) * classes,
        test_count=TEST * classes,
        load=partial(_load_five, variant) if classes == FEW else partial(_load, variant, classes),
        verify=partial(_check, variant, whole),
        prepare=partial(prepare, variant, whole),
        pretrain_on=None if classes == LACUNA.large else _name(variant, LACUNA.large),
    )


LACUNAS = tuple(
    _entry(variant, classes) for variant in ("clean", "code") for classes in (FEW, LACUNA.small, LACUNA.large)
)
