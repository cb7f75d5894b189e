"""Commands that write files to begin with: init sweep, init method."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from adaprob_ray.cli._group import CommandGroup
from adaprob_ray.errors import InputError

if TYPE_CHECKING:
    from adaprob_ray.cli._init_method import NewPackageMethod

# Small enough for a minute on two cores. Every key of the schema is here, those that are not needed behind a `#`.
SWEEP_TEMPLATE = """\
# A sweep: which models are trained, unlearned and evaluated. All keys: docs/sweep-file.md. Names: adaprob-ray list --help
#
#   adaprob-ray plan {file}      what would run; nothing is written
#   adaprob-ray run {file}       run it; repeat the command to resume, or after adding to this file
#   adaprob-ray status {file}    progress and failures
#
# Finished work is reused: only what a change of this file adds is run.

name: {name}                       # in tables, logs and TensorBoard
# about: What this sweep asks.

# Every combination of these is run. Each is one value or a list: seed: 1, or seed: [1, 2].
grid:
  dataset: digits                                          # adaprob-ray list datasets
  architecture: {{name: allcnn, filters: 0.06}}              # a network, and the factor on its widths
  forget: {{kind: selective, class: 3, count: 25}}           # 25 samples of class 3; a whole class: {{kind: class, class: 3}}
  seed: [1, 2]                                             # split, initial weights and order of the samples

# How the original and the retrained models are trained: a recipe, and the values that differ from it.
train: {{recipe: large, epochs: 10, batch_size: 32}}         # adaprob-ray list recipes large
# pretrain: {{recipe: pretrain, epochs: 31}}                 # of data sets that have one to pretrain on; false: never
# original: {{weights: net.pt}}                              # a file: the original is yours, and is not trained

# What is compared, each under a label of your own. A label that is the name of a method needs no `method`. Retraining is
# always part of it: the original, Retrain, and a second retraining that shows how much two retrainings differ.
methods:
  finetune: {{epochs: 3}}                                    # all other settings: adaprob-ray list methods finetune
  adaprob:
    lam: [0.5, 1.0]                                        # a list: one model for each value
    epochs: 3
# primary_label: adaprob                                   # of several labels of one method, the one that tables compare

metrics: [errors, membership, kl_to_retrain]               # adaprob-ray list metrics
# precision: float32                                       # or bfloat16
# repeats: 1                                               # unlearnings of each original, with other randomness
# keep: {{unlearn: outputs}}                                 # weights: the unlearned models too
# relearn: {{epochs: 100}}                                   # how the metric relearn trains, where metrics list it
# probe: {{iterations: 1000}}                                # how the metric probe fits, where metrics list it
# resources: {{train: {{cpu: 2}}, unlearn: {{gpu: 0.25}}}}       # what a cell of each stage holds; gpu: auto learns it
# expect: {{cells: 24}}                                      # an error if the file expands to another number of cells
"""

METHOD_NEXT = """\
next: edit these files, then
  python -m pytest tests/methods/test_{name}.py tests/methods/test_contract.py -k {name}
  make docs            writes its section of docs/methods.md
  adaprob-ray init sweep mine.yaml, with `{name}: {{}}` under methods; then adaprob-ray run mine.yaml"""


@click.group(cls=CommandGroup)
def init() -> None:
    """Write files to begin with: a sweep, a method."""


@init.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
def sweep(file: Path) -> None:
    """Write a small sweep file with a comment for each key.

    It runs on scikit-learn's digits in about a minute. A FILE that exists is not overwritten.
    """
    import yaml

    name = re.sub(r"[^A-Za-z0-9_.-]", "_", file.stem).lstrip(".-") or "sweep"
    is_text = name[0].isalpha() and isinstance(yaml.safe_load(name), str)  # not such as 1.5, no or null
    write_new(file, SWEEP_TEMPLATE.format(name=name if is_text else f'"{name}"', file=shlex.quote(str(file))))
    click.echo(f"{file}: written; next: adaprob-ray plan {shlex.quote(str(file))}")


PACKAGE_NEXT = """\
next: edit these files, then (pytest: pip install 'adaprob-ray[contract]')
  python -m pytest tests/test_{name}.py
  python -m pytest --pyargs adaprob_ray.contract --method {path}
  adaprob-ray init sweep mine.yaml, with `{path}: {{}}` under methods; then adaprob-ray run mine.yaml"""


@init.command()
@click.argument("name", metavar="NAME")
@click.option("--package", metavar="PACKAGE", help="A package of your own in the current folder, new or not.")
def method(name: str, package: str | None) -> None:
    """Write a method of your own, and its test.

    The method works as it is: gradient ascent on the forget set and training on the retain set, with a comment for each
    declared field.

    With --package it is the module PACKAGE/NAME.py of the current folder, which sweep files name as PACKAGE.NAME:Class.
    Without, it is written into a checkout of adaprob-ray and added to adaprob_ray/catalogue.py; NAME is then what sweep files
    call it.
    """
    import adaprob_ray
    from adaprob_ray import catalogue
    from adaprob_ray.cli._init_method import CATALOGUE, check_name, check_package_method, find_checkout

    if package is not None:
        _write_package_method(check_package_method(name, package, Path.cwd(), catalogue))
        return
    root = find_checkout(Path.cwd(), Path(adaprob_ray.__file__).parent)
    new = check_name(name, root, catalogue)
    text = new.catalogue()
    for path, content in new.files.items():
        write_new(root / path, content)
        click.echo(f"{path}: written")
    try:
        (root / CATALOGUE).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{CATALOGUE}: cannot be written: {error}") from error
    click.echo(f"{CATALOGUE}: {new.class_name} added to METHODS")
    click.echo(METHOD_NEXT.format(name=name))


def _write_package_method(new: NewPackageMethod) -> None:
    """Write the files that are missing, and say what to do next."""
    missing = {path: text for path, text in new.package_files.items() if not (new.root / path).exists()}
    for path, text in {**missing, **new.new_files}.items():
        try:
            (new.root / path).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error}") from error
        write_new(new.root / path, text)
        click.echo(f"{path}: written")
    click.echo(PACKAGE_NEXT.format(name=new.name, path=new.path))


def write_new(file: Path, text: str) -> None:
    """Write a file that does not exist yet. Raises InputError if it exists or cannot be written."""
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise InputError(f"{file}: must be a new file, got one that exists") from None
    except (OSError, ValueError) as error:  # the second for a null character in the path
        raise InputError(f"{file}: cannot be written: {error}") from error
