"""Methods, metrics, networks and data sets by path: what is refused, and how it is said."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import packages
import pytest

from adaprob_ray.catalogue import DATASETS, METHODS, REGISTRY
from adaprob_ray.errors import InputError
from adaprob_ray.runtime.image_use import ImageUse
from adaprob_ray.sweep.sweep import Sweep
from adaprob_ray.user_code.folders import look_in

Write = Callable[..., str]


def faults_of(kind: str, path: str) -> list[str]:
    look_in(Path.cwd())
    return REGISTRY.name_faults(kind, path)


def test_each_kind_is_loaded_once_and_added_to_the_catalogue(own_package: Write) -> None:
    name = own_package()
    for kind, path in (
        ("method", f"{name}.method:Noise"),
        ("metric", f"{name}.metric:TOP_LOGIT"),
        ("architecture", f"{name}.nets:small"),
        ("dataset", f"{name}.data:stripes"),
    ):
        assert faults_of(kind, path) == []
        entry = getattr(REGISTRY, f"{kind}s")[path]
        assert faults_of(kind, path) == []
        assert getattr(REGISTRY, f"{kind}s")[path] is entry


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        (
            "NAME.nothing:Noise",
            "must be in a module that can be imported, got no module NAME.nothing; it is looked for in ",
        ),
        (
            "missing_package.mine:Noise",
            "must be in a module that can be imported, got no module missing_package; it is ",
        ),
        ("NAME.method:Nose", "unknown name 'Nose'; did you mean 'Noise'? (known: Noise)"),
        ("NAME/method.py:Noise", "must name a module, as method:Noise, got a file"),
        ("NAME.method:", "must be package.module:name"),
        ("NAME.1:Noise", "must be package.module:name"),
        ("NAME.method:SCALE", "must be a class that derives from adaprob_ray.methods.base.Unlearning, got float"),
        (
            "NAME.method:Cost",
            "must be a class that derives from adaprob_ray.methods.base.Unlearning, got the class Cost",
        ),
        ("adaprob_ray.methods.scrub:Scrub", "name: must differ from the methods of adaprob_ray, got 'scrub' (known: "),
    ],
)
def test_a_path_that_names_no_method(path: str, fault: str, own_package: Write) -> None:
    name = own_package()
    (line,) = faults_of("method", path.replace("NAME", name))
    assert line.startswith(f"{path}: {fault}".replace("NAME", name))


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('name = "noise"', "x = 1", 'name: must be text, such as name = "noise", got None'),
        ('name = "noise"', 'name = "scrub"', "name: must differ from the methods of adaprob_ray, got 'scrub' (known: "),
        ('name = "noise"', 'name = "noise"\n    needs = {"retain"}', "needs: must be a frozenset of retain, forget, "),
        ('name = "noise"', 'name = "noise"\n    needs = frozenset({"test"})', "needs: must be a frozenset of retain, "),
        ('name = "noise"', 'name = "noise"\n    revision = 0', "revision: must be an integer of at least 1, got 0"),
        ("@settings_dataclass", "", "must be decorated with @settings_dataclass (adaprob_ray.settings)"),
        ("def cost", "def costs", "cost: must be defined, got none"),
        ("def unlearn", "def unlearns", "unlearn: must be defined, got none"),
        (
            "default=0.05",
            "default=-1.0",
            "must have defaults within its bounds, got sigma: must be a number greater than 0",
        ),
        ("sigma: float", "seed: float", "seed: must be renamed, because sweep files reserve this name"),
        ("SCALE\n", "SCALE, NOTHING\n", "NAME/method.py:8 (from NAME.scale import SCALE, NOTHING): ImportError: "),
        (
            "import torch\n",
            "import torch, nowhere\n",
            "NAME/method.py:3 (import torch, nowhere): ModuleNotFoundError",
        ),
        ("name = ", "name == ", 'NAME/method.py:13 (name == "noise"): NameError: '),
        ("class Noise", "klass Noise", "NAME/method.py:12 (klass Noise(Unlearning):): SyntaxError: "),
    ],
)
def test_what_a_method_lacks(old: str, new: str, fault: str, own_package: Write) -> None:
    assert old in packages.METHOD
    name = own_package(method=packages.METHOD.replace(old, new))
    lines = faults_of("method", f"{name}.method:Noise")
    assert any(line.startswith(f"{name}.method:Noise: {fault.replace('NAME', name)}") for line in lines), lines
    assert f"{name}.method:Noise" not in METHODS


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("TOP_LOGIT = Metric(", "TOP_LOGIT = dict(", "must be a Metric of adaprob_ray.metrics, got dict"),
        ('name="top_logit"', 'name="errors"', "name: must differ from the metrics of adaprob_ray, got 'errors'"),
        ('columns=("test_top_logit",)', 'columns="test"', "columns: must be a tuple of at least one name, got 'test'"),
        (
            'columns=("test_top_logit",)',
            'columns=("Top",)',
            "columns: must be lower-case letters, digits and _, got 'Top'",
        ),
        (
            'columns=("test_top_logit",)',
            'columns=("seed",)',
            "columns: must be new, got 'seed', which Records have already",
        ),
        (
            'columns=("test_top_logit",)',
            'columns=("test_error_percent",)',
            "columns: must be new, got 'test_error_percent'",
        ),
        ("compute=top_logit", 'needs={"train"}', "needs: must be stages (probe, relearn), got train"),
    ],
)
def test_what_a_metric_lacks(old: str, new: str, fault: str, own_package: Write) -> None:
    assert old in packages.METRIC
    name = own_package(metric=packages.METRIC.replace(old, new))
    (line,) = faults_of("metric", f"{name}.metric:TOP_LOGIT")
    assert line.startswith(f"{name}.metric:TOP_LOGIT: {fault}")


def test_a_function_is_no_metric_and_is_told_how_to_be_one(own_package: Write) -> None:
    name = own_package()
    (line,) = faults_of("metric", f"{name}.metric:top_logit")
    assert line.endswith("got a function; write Metric(name=…, columns=(…), compute=this function)")


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (
            'name="stripes"',
            'name="digits"',
            "name: must be text, and differ from the data sets of adaprob_ray, got 'digits'",
        ),
        ("size=8", "size=0", "size: must be an integer of at least 1, got 0"),
        (
            "(20, 20, 20)",
            "(20, 20, 4)",
            "pool_per_class: must be a tuple of at least two integers, each at least 5, got ",
        ),
        (
            "std=(0.2,)",
            "std=(0.0,)",
            "std: must be a tuple of 1 numbers greater than 0, one for each channel, got (0.0,)",
        ),
        ("mean=(0.3,)", "mean=(0.3, 0.3)", "mean: must be a tuple of 1 numbers, one for each channel, got (0.3, 0.3)"),
        ("load=load", "load=3", "load: must be a function, got 3"),
        (
            "load=load",
            'load=load, pretrain_on="cifar1000"',
            "pretrain_on: unknown dataset 'cifar1000'; did you mean 'cifar100'? (known: ",
        ),
        ("load=load", 'load=load, drawn_from="digit"', "drawn_from: unknown dataset 'digit'; did you mean 'digits'? ("),
        (
            "load=load",
            'load=load, drawn_from="cifar5"',
            "drawn_from: must be a data set that is not drawn from another, got cifar5, which is drawn from cifar10",
        ),
        (
            "return Dataset(",
            "return dict(",
            "must be an adaprob_ray.data.dataset.Dataset, or a callable that returns one without arguments, ",
        ),
    ],
)
def test_what_a_data_set_lacks(old: str, new: str, fault: str, own_package: Write) -> None:
    assert old in packages.DATASET
    name = own_package(data=packages.DATASET.replace(old, new))
    (line,) = faults_of("dataset", f"{name}.data:stripes")
    assert line.startswith(f"{name}.data:stripes: {fault}")


ALLCNN = "{name: allcnn, filters: 0.06}"
SMALL = "{name: NAME.nets:small, width: 2}"


@pytest.mark.parametrize("network", [ALLCNN, SMALL])
@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("NAME.data:strips", "NAME.data:strips: unknown name 'strips'; did you mean 'stripes'?"),
        ("cifar10", "must be a data set of images with 1 channels, got cifar10 with 3"),
    ],
)
def test_a_data_set_to_pretrain_on_must_be_known_and_have_as_many_channels(
    source: str, fault: str, network: str, own_package: Write
) -> None:
    declared = packages.DATASET.replace("load=load", f'load=load, pretrain_on="{source}"')
    name = own_package(data=declared)
    text = packages.SWEEP.replace(SMALL, network).replace("NAME", name)
    look_in(Path.cwd())
    with pytest.raises(InputError) as error:
        Sweep.parse(text, REGISTRY)
    (line,) = error.value.faults
    assert line.startswith(f"grid.dataset: {name}.data:stripes: pretrain_on: ")
    assert fault.replace("NAME", name) in line
    assert Sweep.parse(f"{text}pretrain: false\n", REGISTRY).cells


def test_a_network_of_the_catalogue_is_pretrained_on_a_data_set_with_as_many_channels(own_package: Write) -> None:
    name = own_package(data=packages.DATASET.replace("load=load", 'load=load, pretrain_on="digits"'))
    look_in(Path.cwd())
    sweep = Sweep.parse(packages.SWEEP.replace(SMALL, ALLCNN).replace("NAME", name), REGISTRY)
    assert [str(cell.settings.dataset) for cell in sweep.cells.values() if cell.stage == "pretrain"] == ["digits"]


def test_descendants_of_an_image_of_a_data_set_that_is_drawn_from_an_unknown_one(own_package: Write) -> None:
    name = own_package(data=packages.DATASET.replace("load=load", 'load=load, drawn_from="NAME.data:all_stripes"'))
    look_in(Path.cwd())
    with pytest.raises(InputError, match=f"--descendants: {name}.data:stripes: drawn_from: {name}.data:all_stripes: "):
        ImageUse(f"{name}.data:stripes", 3, REGISTRY, Path.cwd())


def test_descendants_of_an_image_in_a_data_set_that_only_a_stored_cell_names(
    own_package: Write, tmp_path: Path
) -> None:
    name = own_package(data=packages.DATASET.replace("load=load", 'load=load, drawn_from="digits"'))
    cells = Sweep.load("own.yaml", REGISTRY).cells.values()
    original = next(cell for cell in cells if cell.stage == "train" and cell.method == "original")
    del DATASETS[f"{name}.data:stripes"]
    assert {ImageUse("digits", row, REGISTRY, tmp_path).use(original) for row in range(10)} == {"trained", "none"}
    del DATASETS[f"{name}.data:stripes"]
    (tmp_path / name).rename(tmp_path / "away")
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        del sys.modules[module]
    assert ImageUse("digits", 3, REGISTRY, tmp_path).use(original) == "unknown"


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("(20, 20, 20)", "(20, 20, 25)", "load: train_NHWC: must be 65×8×8×1 uint8, as declared, got 60×8×8×1 uint8"),
        ("(20, 20, 20)", "(20, 21, 19)", "load: train_labels: must be (20, 21, 19) of each class, got (20, 20, 20)"),
        (".astype(np.uint8)", "", "load: train_NHWC: must be 60×8×8×1 uint8, as declared, got 60×8×8×1 int64"),
        ("np.repeat(np.arange(3)", "np.repeat(np.arange(1, 4)", "load: train_labels: must be 0 to 2, got 1 to 3"),
    ],
)
def test_images_other_than_declared(old: str, new: str, fault: str, own_package: Write) -> None:
    assert old in packages.DATASET
    name = own_package(data=packages.DATASET.replace(old, new))
    assert faults_of("dataset", f"{name}.data:stripes") == []
    dataset = REGISTRY.datasets[f"{name}.data:stripes"]
    with pytest.raises(InputError) as error:
        dataset.load(Path(), 1)  # type: ignore[attr-defined]
    assert error.value.faults[0] == f"{name}.data:stripes: {fault}"


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("{name: NAME.nets:small, width: 2}", "{name: NAME.nets:small, wide: 2}",
         "unknown argument 'wide'; did you mean 'width'? (known: width)"),
        ("{name: NAME.nets:small, width: 2}", "{name: NAME.nets:small, classes: 2}",
         "classes: must not be given, because the data set says what it is"),
        ("{name: NAME.nets:small, width: 2}", "{name: NAME.nets:small, filters: 0.5}",
         "filters: must be a parameter of the function, got none of this name"),
        ("{name: NAME.nets:small, width: 2}", "{name: NAME.nets:small, width: -2}",
         "NAME/nets.py:6 (return nn.Sequential("),
        ("NAME.data:stripes", "cifar10", "must take images of 3×32×32 (channels, height, width): NAME.nets:small: "),
    ],
)  # fmt: skip
def test_a_network_that_does_not_fit(old: str, new: str, fault: str, own_package: Write) -> None:
    name = own_package()
    assert old in packages.SWEEP
    text = packages.SWEEP.replace(old, new).replace("NAME", name)
    look_in(Path.cwd())
    with pytest.raises(InputError) as error:
        Sweep.parse(f"{text}pretrain: false\n", REGISTRY)
    (line,) = error.value.faults
    assert fault.replace("NAME", name) in line
    assert line.startswith(f"grid.architecture: {name}.nets:small: ")


@pytest.mark.parametrize(
    ("network", "fault"),
    [
        ("{name: NAME.nets:small, arguments: 5}", "must be a mapping {name: value}, got 5"),
        ("{name: NAME.nets:small, arguments: [1]}", "must be a mapping {name: value}, got [1]"),
        (
            "{name: NAME.nets:small, arguments: {width: 8}, width: 4}",
            "width: must be given once, got 4 next to name and 8 under arguments",
        ),
        ("{name: NAME.nets:small, arguments: false}", "must be a mapping {name: value}, got False"),
        (
            "{name: allcnn, filters: 0.06, arguments: 5}",
            "must be given only with a network by path, as {name: my_package.nets:small, width: 8}, got name 'allcnn'",
        ),
    ],
)
def test_arguments_of_a_network_are_a_mapping_and_only_of_one_by_path(
    network: str, fault: str, own_package: Write
) -> None:
    name = own_package()
    look_in(Path.cwd())
    with pytest.raises(InputError) as error:
        Sweep.parse(packages.SWEEP.replace(SMALL, network).replace("NAME", name), REGISTRY)
    assert error.value.faults == (f"grid.architecture: arguments: {fault}",)


def test_arguments_as_settings_have_them_are_those_next_to_the_name(own_package: Write) -> None:
    name = own_package()
    look_in(Path.cwd())
    text = packages.SWEEP.replace("NAME", name)
    nested = text.replace("width: 2}", "arguments: {width: 2}}")
    assert nested != text
    assert Sweep.parse(nested, REGISTRY).cells.keys() == Sweep.parse(text, REGISTRY).cells.keys()


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (
            "nn.Linear(36 * width, classes))",
            "nn.Linear(36 * width, 7))",
            "must return logits of shape [2, 3] for 2 images, got [2, 7]",
        ),
        ("return nn.Sequential(", "return (", "must return a torch.nn.Module, got tuple"),
        (
            "classes, channels, width",
            "channels, width",
            "must take the number of classes, as small(*, classes, channels)",
        ),
    ],
)
def test_what_a_network_lacks(old: str, new: str, fault: str, own_package: Write) -> None:
    assert old in packages.NETWORK
    text = packages.NETWORK.replace(old, new)
    name = own_package(nets=text)
    with pytest.raises(InputError) as error:
        Sweep.load("own.yaml", REGISTRY)
    (line,) = error.value.faults
    assert line.startswith(f"own.yaml: grid.architecture: {name}.nets:small: {fault}")


def test_the_metric_probe_needs_a_classifier(own_package: Write) -> None:
    name = own_package()
    look_in(Path.cwd())
    probed = packages.SWEEP.replace("NAME", name).replace("[errors,", "[errors, probe,") + "keep: {unlearn: weights}\n"
    with pytest.raises(InputError) as error:
        Sweep.parse(probed, REGISTRY)
    (line,) = error.value.faults
    assert line.startswith("metrics: probe: network Sequential: must have classifier ")
    named = """from torch import nn


class Small(nn.Sequential):
    def __init__(self, classes):
        super().__init__(nn.Flatten(), nn.Linear(64, classes))

    @property
    def classifier(self):
        return self[1]
"""
    name = own_package(nets=named)
    text = probed.replace("nets:small, width: 2", "nets:Small")
    assert Sweep.parse(text.replace(text.partition("dataset: ")[2].partition(".data")[0], name), REGISTRY).cells


def test_all_faults_are_told_together_and_nothing_is_written(own_package: Write, tmp_path: Path) -> None:
    name = own_package(method=packages.METHOD.replace("def cost", "def costs"), metric="TOP_LOGIT = 3\n")
    with pytest.raises(InputError) as error:
        Sweep.load("own.yaml", REGISTRY)
    assert [line.partition(f": {name}")[0] for line in error.value.faults] == [
        "own.yaml: metrics",
        "own.yaml: methods.Noise",
    ]
    assert not (tmp_path / "store").exists()


def test_a_package_of_another_folder_with_the_same_name_is_refused(own_package: Write, tmp_path: Path) -> None:
    name = own_package()
    assert faults_of("method", f"{name}.method:Noise") == []
    del METHODS[f"{name}.method:Noise"]
    other = tmp_path / "other"
    packages.write_package(other, name)
    (tmp_path / name).rename(tmp_path / "away")
    with pytest.raises(
        InputError,
        match=f"must come from one folder, got {name} in {other}, but it was already imported from {tmp_path / name}",
    ):
        Sweep.load(other / "own.yaml", REGISTRY)


def test_a_file_of_the_current_folder_hides_no_installed_module_afterwards(own_package: Write, tmp_path: Path) -> None:
    name = own_package()
    (tmp_path / "json.py").write_text("raise RuntimeError", encoding="utf-8")
    assert faults_of("method", f"{name}.method:Noise") == []
    assert sys.path[-1] == str(tmp_path)
