"""What is read of an image file: what a viewer shows, or a reason."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from trees import write_classes, write_image

from adaprob_ray import cli
from adaprob_ray.cli._prepare_table import report_lines
from adaprob_ray.data import folder_files
from adaprob_ray.data.batches import load_subsets
from adaprob_ray.data.digits import DIGITS
from adaprob_ray.data.folder import load_folder, prepare_folder
from adaprob_ray.data.image_files import UnreadableImage, read_picture
from adaprob_ray.data.split import copy_groups, forget_positions, split_images
from adaprob_ray.errors import InputError
from adaprob_ray.metrics.outputs import Outputs
from adaprob_ray.sweep.cell_settings import ForgetRequest

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def read(path: Path) -> np.ndarray:
    return np.asarray(read_picture(path))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm", ".jp2"])
def test_levels_of_16_bits_become_the_same_levels_of_8(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    if suffix == ".pgm":  # which Pillow writes with 16 bits only in later versions
        path.write_bytes(b"P5 16 16 65535\n" + (RAMP.astype(">u2") * 257).tobytes())
    else:
        Image.fromarray(RAMP.astype(np.uint16) * 257).save(path)
    assert np.abs(read(path)[..., 1].astype(int) - RAMP).max() <= 1


def test_levels_of_16_bits_whose_zero_is_white_are_inverted(tmp_path: Path) -> None:
    Image.fromarray(RAMP.astype(np.uint16) * 257).save(tmp_path / "x.tif", tiffinfo={262: 0})
    assert np.array_equal(read(tmp_path / "x.tif")[..., 0], 255 - RAMP)


@pytest.mark.parametrize(("mode", "bits"), [("1", 1), ("P", 2), ("P", 4), ("P", 8)])
def test_few_bits_and_palettes_are_shown_as_their_colors(tmp_path: Path, mode: str, bits: int) -> None:
    image = Image.fromarray(RAMP).convert(mode) if mode == "1" else Image.fromarray(RAMP).quantize(2**bits)
    image.save(tmp_path / "x.png", bits=bits)
    assert np.array_equal(read(tmp_path / "x.png"), np.asarray(image.convert("RGB")))


def test_transparent_pixels_lie_over_white(tmp_path: Path) -> None:
    hidden_red = np.zeros((4, 4, 4), np.uint8)
    hidden_red[..., 0] = 255
    Image.fromarray(hidden_red).save(tmp_path / "x.png")
    Image.fromarray(np.zeros((4, 4, 2), np.uint8)).save(tmp_path / "y.png")
    Image.new("P", (4, 4)).save(tmp_path / "z.gif", transparency=0)
    Image.fromarray(RAMP).save(tmp_path / "level.png", transparency=77)
    assert (read(tmp_path / "z.gif") == 255).all()
    assert read(tmp_path / "level.png")[4, 12:15, 0].tolist() == [76, 255, 78]
    assert (read(tmp_path / "x.png") == 255).all()
    assert (read(tmp_path / "y.png") == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_upright(tmp_path: Path, orientation: int) -> None:
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:4, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "x.png", exif=exif)
    shown = read(tmp_path / "x.png")
    rotated = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.transpose(1, 0, 2),
        6: np.rot90(pixels, -1),
        7: np.rot90(pixels, 2).transpose(1, 0, 2),
        8: np.rot90(pixels),
    }
    assert np.array_equal(shown, rotated[orientation])


def test_cmyk_is_shown_in_its_colors(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "x.tif")
    assert (read(tmp_path / "x.tif") == (255, 0, 0)).all()


def _frames(path: Path) -> None:
    frames = [Image.fromarray(RAMP), Image.fromarray(255 - RAMP)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


@pytest.mark.parametrize("name", ["x.gif", "x.tif", "x.webp", "x.png"])
def test_several_frames_are_refused(tmp_path: Path, name: str) -> None:
    _frames(tmp_path / name)
    with pytest.raises(UnreadableImage, match="has 2 frames; save each picture"):
        read_picture(tmp_path / name)


@pytest.mark.parametrize(("dtype", "reason"), [(np.float32, "floating-point levels"), (np.int32, "32-bit levels")])
def test_levels_without_black_and_white_are_refused(tmp_path: Path, dtype: type, reason: str) -> None:
    Image.fromarray(RAMP.astype(dtype)).save(tmp_path / "x.tif")
    with pytest.raises(UnreadableImage, match=reason):
        read_picture(tmp_path / "x.tif")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "has no bytes"),
        (b"<html>not found</html>", "not an image of a known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image of a known format"),
        (b"P5 200000 200000 255\n", "exceeds limit"),
    ],
)
def test_files_that_are_no_pictures_are_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "x.png").write_bytes(data)
    with pytest.raises(UnreadableImage, match=reason):
        read_picture(tmp_path / "x.png")


# -- folders -----------------------------------------------------------------------------------------------------------


def test_every_file_is_read_or_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADAPROB_DATA", str(tmp_path))
    root = tmp_path / "zoo"
    write_classes(root, (10, 10))
    for number, suffix in enumerate((".TIFF", ".webp", ".gif", ".Jpe", ".ppm", ".tga")):
        write_image(root / "c0" / "deep" / "er" / f"ähm {number}{suffix}")
    for name in ("c0/a.heic", "c1/deep/b.HEIC", "c1/noext", "c1/.DS_Store", "readme.md"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"x")
    (root / "c1" / "loop").symlink_to(root / "c1", target_is_directory=True)
    os.mkfifo(root / "c1" / "pipe.png")
    assert cli.main(["data", "prepare", "zoo"]) == 0
    *lines, header, row = capsys.readouterr().out.splitlines()
    assert row.split() == ["zoo", "26", "0", "7", "0", "0"]
    assert "passed over" in header
    assert lines == [
        "zoo: ready",
        "zoo: passed over (.heic): c0/a.heic, c1/deep/b.HEIC",
        "zoo: passed over (hidden): c1/.DS_Store",
        "zoo: passed over (link to a folder that it lies in): c1/loop",
        "zoo: passed over (no suffix): c1/noext",
        "zoo: passed over (not a file): c1/pipe.png",
        "zoo: passed over (not in the folder of a class): readme.md",
    ]


def test_more_images_than_memory_holds_are_refused_before_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_classes(tmp_path / "zoo", (10, 10))
    (tmp_path / "zoo" / "c0" / "000.png").write_bytes(b"unreadable")
    monkeypatch.setattr(folder_files, "available_memory", lambda: 2 * 20 * 32 * 32 * 3 - 1)
    with pytest.raises(InputError, match=r"must fit into .* GiB of free memory, got .* \(20 images of 32×32 pixels\)"):
        load_folder(tmp_path / "zoo")


def test_the_limit_of_a_control_group_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "max").write_text("5000\n")
    (tmp_path / "now").write_text("3000\n")
    (tmp_path / "none").write_text("max\n")
    files = [(str(tmp_path / "none"), str(tmp_path / "now")), (str(tmp_path / "max"), str(tmp_path / "now"))]
    monkeypatch.setattr(folder_files, "CGROUP_FILES", files)
    assert folder_files.available_memory() == 2000


# -- copies ------------------------------------------------------------------------------------------------------------


def _copied(root: Path) -> None:
    """Copies as another format, in another class, in a sub-folder, and among the test images."""
    write_classes(root / "train", (10, 10))
    write_classes(root / "test", (3, 3))
    for number in range(10):
        picture = Image.open(root / "train" / "c0" / f"{number:03d}.png")
        picture.save(root / "train" / "c1" / f"copy{number}.bmp")
        (root / "train" / "c0" / "again").mkdir(exist_ok=True)
        picture.save(root / "train" / "c0" / "again" / f"{number}.tif")
        picture.save(root / "test" / "c1" / f"copy{number}.webp", lossless=True)


@pytest.mark.parametrize("count", [1, 3, None])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_copies_are_forgotten_together_and_clean_drops_those_that_test(
    tmp_path: Path, seed: int, count: int | None
) -> None:
    _copied(tmp_path / "zoo")
    images, _, _, report = load_folder(tmp_path / "zoo")
    assert (len(report.copies), len(report.test_copies)) == (20, 10)
    rows = split_images(images, seed, test_pool="clean")
    train_NHWC = images.train_NHWC[rows.train]
    groups = copy_groups(images, rows.train)
    labels = images.train_labels[rows.train]
    request = ForgetRequest("class" if count is None else "selective", 0, count)
    forget = forget_positions(labels, request, seed, groups)
    positions = forget_positions(labels, request, seed)
    assert forget[: len(positions)].tolist() == positions.tolist()
    pixels = [image.tobytes() for image in train_NHWC]
    forgotten = {pixels[row] for row in forget}
    assert sum(p in forgotten for p in pixels) == len(set(forget.tolist())) == len(forget)
    assert not {image.tobytes() for image in images.test_NHWC[rows.test]} & set(pixels)
    assert len(split_images(images, seed, test_pool="paper").test) == 16


def test_test_images_that_are_all_copies_are_named_when_prepared_and_refused_when_loaded(tmp_path: Path) -> None:
    write_classes(tmp_path / "zoo" / "train", (10, 10))
    for name in ("c0", "c1"):
        (tmp_path / "zoo" / "test" / name).mkdir(parents=True)
        for number in range(10):
            shutil.copy(tmp_path / "zoo" / "train" / name / f"{number:03d}.png", tmp_path / "zoo" / "test" / name)
    images, _, _, report = load_folder(tmp_path / "zoo")
    lines = list(report_lines("zoo", report, tmp_path))
    assert "zoo: test/c0/000.png: test image, a copy of train/c0/000.png" in lines
    assert lines[-1] == "zoo: all 20 test images are copies, so that `test_pool: clean` leaves few or none"
    trained = images.train_source[split_images(images, 1, test_pool="paper").train]
    images = replace(images, test_source=np.resize(trained, 20))
    dataset = replace(DIGITS, name="zoo", load=lambda root, seed: images)
    with pytest.raises(
        InputError,
        match="test_pool: must leave a test image, got clean: all test images of zoo are copies of training images",
    ):
        load_subsets(dataset, tmp_path, 1, test_pool="clean", device=torch.device("cpu"))


def test_outputs_keep_the_groups_and_are_unchanged_without() -> None:
    logits = {name: np.zeros((2, 2), np.float32) for name in ("train", "validation", "test")}
    labels = {name: np.zeros(2, np.int64) for name in logits}
    plain = Outputs(logits=logits, labels=labels)
    assert b"groups" not in plain.to_bytes()
    assert Outputs.from_bytes(plain.to_bytes()).groups is None
    grouped = Outputs(logits=logits, labels=labels, groups=np.array([4, 4]))
    assert Outputs.from_bytes(grouped.to_bytes()).groups.tolist() == [4, 4]


def test_an_image_that_is_all_there_is_cannot_be_forgotten() -> None:
    with pytest.raises(InputError, match="must leave a training image to retain"):
        forget_positions(np.array([0, 0, 1]), ForgetRequest("selective", 0, 1), 1, np.array([7, 7, 7]))


def test_a_folder_without_copies_has_no_groups(tmp_path: Path) -> None:
    write_classes(tmp_path / "zoo", (10, 10))
    prepare_folder("zoo", tmp_path)
    images = load_folder(tmp_path / "zoo").images
    assert copy_groups(images, np.arange(len(images.train_labels))) is None


@pytest.mark.parametrize("name", ["digits"])
def test_copies_in_a_built_in_data_set_are_counted(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "prepare", name]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[:4] == [name, "1,797", "-", "-"]
