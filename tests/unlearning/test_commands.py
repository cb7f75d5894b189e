"""`adaprob-ray unlearn` and `adaprob-ray audit`, end to end: on digits with a factory file, and with bad input."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

import adaprob_ray
from adaprob_ray import cli
from adaprob_ray.cli._unlearn_options import json_arguments, method_settings, numbers
from adaprob_ray.errors import InputError
from adaprob_ray.models.weights_file import read_weights
from adaprob_ray.unlearning import run as run_module
from adaprob_ray.unlearning import tune as tune_module

NET = """
import torch
from sklearn.datasets import load_digits
from torch import nn


def make(width=32):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))


def data():
    digits = load_digits()
    images = torch.tensor(digits.images[:, None] / 16, dtype=torch.float32)
    labels = torch.tensor(digits.target)
    return {"train": (images[:900], labels[:900]), "test": (images[900:1500], labels[900:1500])}


def tiny():
    images = torch.randn(24, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return images, torch.arange(24) % 4
"""


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a user has it: net.py, weights.pt of a trained network, and rows.txt."""
    folder = tmp_path_factory.mktemp("digits")
    (folder / "net.py").write_text(NET, encoding="utf-8")
    names: dict[str, Any] = {}
    exec(NET, names)
    torch.manual_seed(0)
    model = names["make"]()
    images, labels = names["data"]()["train"]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    state = {f"module.{key}": value for key, value in model.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 60}, folder / "weights.pt")
    (folder / "rows.txt").write_text("".join(f"{row}\n" for row in range(3, 900, 45)), encoding="utf-8")
    return folder


@pytest.fixture
def folder(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, which is the current one."""
    copy = tmp_path / "work"
    shutil.copytree(digits, copy, ignore=shutil.ignore_patterns("out", "__pycache__"))
    monkeypatch.chdir(copy)
    return copy


def options(**changes: str | Sequence[str] | None) -> list[str]:
    """The command line of `unlearn`, with options changed, or left out where they are None."""
    values: dict[str, str | Sequence[str] | None] = {
        "model": "net.py:make",
        "weights": "weights.pt",
        "data": "net.py:data",
        "forget": "rows.txt",
        "method": "finetune",
        "set": ["epochs=1", "lr=1e-2"],
        "out": "out",
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    pairs = [
        (name, [value] if isinstance(value, str) else value) for name, value in values.items() if value is not None
    ]
    return ["unlearn", *(part for name, each in pairs for value in each for part in (f"--{name}", value))]


def snapshot(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def unlearned(digits: Path) -> Path:
    """The folder with out/, unlearned once."""
    before = Path.cwd()
    os.chdir(digits)
    try:
        assert cli.main(options()) == 0
    finally:
        os.chdir(before)
    return digits


@pytest.fixture
def done(unlearned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, with the paths in inputs.json changed to those of the copy."""
    copy = tmp_path / "done"
    shutil.copytree(unlearned, copy, ignore=shutil.ignore_patterns("__pycache__"))
    inputs = copy / "out" / "inputs.json"
    inputs.write_text(inputs.read_text(encoding="utf-8").replace(str(unlearned), str(copy)), encoding="utf-8")
    monkeypatch.chdir(copy)
    return copy


# -- unlearn ---------------------------------------------------------------------------------------------------------------


def test_from_a_factory_file_to_a_folder_with_a_record(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(folder)
    assert cli.main(options()) == 0
    output = capsys.readouterr().out
    after = snapshot(folder)
    assert {name: data for name, data in after.items() if not name.startswith("out/")} == before
    assert {name for name in after if name.startswith("out/")} == {
        f"out/{name}" for name in ("weights.pt", "record.json", "salt.json", "record.html", "inputs.json")
    }
    old, new = torch.load(folder / "weights.pt"), torch.load(folder / "out" / "weights.pt")
    assert new["epoch"] == 60
    assert list(new["state_dict"]) == list(old["state_dict"])
    assert not torch.equal(new["state_dict"]["module.1.weight"], old["state_dict"]["module.1.weight"])
    assert max(map(len, output.splitlines())) <= 100
    table = output.partition("before")[2].partition("Values in parentheses")[0].splitlines()
    assert len(table) >= 4
    for text in (
        "Unlearned 20 samples by finetune",
        "test error (%)",
        "time: start and reading",
        "outputs before",
        "method",
        "outputs after",
    ):
        assert text in output
    assert "normalization (the default of the data): none" in output
    assert output.splitlines()[-1] == "recompute every number: adaprob-ray audit out"


def test_the_same_command_gives_the_same_weights(folder: Path) -> None:
    assert cli.main(options(out="a")) == cli.main(options(out="b")) == 0
    assert (folder / "a" / "weights.pt").read_bytes() == (folder / "b" / "weights.pt").read_bytes()
    assert cli.main(options(out="c", seed="1")) == 0
    assert (folder / "a" / "weights.pt").read_bytes() != (folder / "c" / "weights.pt").read_bytes()


@pytest.mark.parametrize("method", ["adaprob", "scrub", "neggrad_plus"])
def test_a_class_by_methods_with_a_sample_to_retain(
    method: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["epochs=1"]
    changes = {"forget": "class:5", "retain": "sample:300", "validation": "share:0.2", "max_drop": "100"}
    assert cli.main(options(method=method, set=settings, **changes)) == 0
    output = capsys.readouterr().out
    assert "300 retained, 120 validation, 480 test" in output
    assert "Unlearned class 5," in output
    assert "test error, other classes (%)" in output
    assert cli.main(["audit", "out"]) == 0


def test_a_factory_may_give_the_weights(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(options(weights=None, seed="3")) == 0
    output = capsys.readouterr().out
    assert "weights: of the factory" in output
    assert "about as many as guessing" in output, "they are random"
    assert (folder / "out" / "weights.safetensors").is_file()
    assert cli.main(["audit", "out"]) == 0, "the seed of the record gives the same random weights"


def test_references_are_compared_with(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = torch.load(folder / "weights.pt")["state_dict"]
    for number in (1, 2):
        torch.save({key: value * (1 + 0.01 * number) for key, value in state.items()}, folder / f"retrained{number}.pt")
    assert cli.main(options(reference=["retrained1.pt", "retrained2.pt"])) == 0
    output = capsys.readouterr().out
    assert "KL on forgotten samples, reference 2 (nats)" in output
    assert "the same between the references" in output
    assert cli.main(["audit", "out"]) == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_what_is_measured_is_what_is_written_in_half_precision(
    dtype: torch.dtype, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = {key: value.to(dtype) for key, value in torch.load(folder / "weights.pt")["state_dict"].items()}
    safetensors.torch.save_file(state, folder / "half.safetensors", metadata={"format": "pt"})
    assert cli.main(options(weights="half.safetensors")) == 0
    new = safetensors.torch.load_file(folder / "out" / "weights.safetensors")
    assert {key: value.dtype for key, value in new.items()} == dict.fromkeys(state, dtype)
    assert cli.main(["audit", "out"]) == 0, capsys.readouterr().out


def test_a_network_of_torchvision_on_tiny_data(folder: Path) -> None:
    from torchvision.models import resnet18

    torch.manual_seed(0)
    safetensors.torch.save_file(resnet18(num_classes=4).state_dict(), folder / "resnet.safetensors")
    changes = {
        "model": "torchvision:resnet18",
        "weights": "resnet.safetensors",
        "data": "net.py:tiny",
        "max_drop": "100",
    }
    (folder / "three.json").write_text("[0, 5, 11]", encoding="utf-8")
    assert cli.main(options(**changes, forget="three.json", batch_norm="recompute")) == 0
    new = safetensors.torch.load_file(folder / "out" / "weights.safetensors")
    assert new["fc.weight"].shape == (4, 512)
    assert cli.main(["audit", "out"]) == 0


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_vision_transformer_of_timm(precision: str, folder: Path) -> None:
    timm = pytest.importorskip("timm")
    arguments = {"img_size": 32, "patch_size": 8, "depth": 2}
    torch.manual_seed(0)
    network = timm.create_model("vit_tiny_patch16_224", num_classes=4, **arguments)
    torch.save(network.state_dict(), folder / "vit.pt")
    changes = {"model": "timm:vit_tiny_patch16_224", "model_args": json.dumps(arguments), "weights": "vit.pt"}
    (folder / "three.json").write_text("[0, 5, 11]", encoding="utf-8")
    assert (
        cli.main(options(**changes, data="net.py:tiny", forget="three.json", max_drop="100", precision=precision)) == 0
    )
    assert cli.main(["audit", "out"]) == 0


def test_a_search_on_validation_data_comes_first(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = {"validation": "share:0.5", "tune": "4", "set": ["epochs=1"], "max_drop": "5"}
    assert cli.main(options(**changes)) == 0
    output = capsys.readouterr().out
    trials = re.findall(r"^trial (\d) of 4: (.+) \(lr=(\S+)\)$", output, re.MULTILINE)
    assert re.search(r"^chosen: trial \d, with the smallest value \(lr=", output, re.MULTILINE)
    assert [number for number, _, _ in trials] == ["1", "2", "3", "4"]
    assert trials[0][2] == "0.01", "the default comes first"
    assert len({lr for _, _, lr in trials}) == 4
    method = json.loads((folder / "out" / "record.json").read_text(encoding="utf-8"))["predicate"]["method"]
    assert method["settings"]["epochs"] == 1
    _, best = min((float(value), lr) for _, value, lr in trials if value != "diverged")
    assert f"{method['settings']['lr']:g}" == best
    assert method["tuning"]["settings"] == {"lr": method["settings"]["lr"]}
    assert "search" in output.partition("time: ")[2]
    assert cli.main(["audit", "out"]) == 0
    assert cli.main(options(**changes, out="again")) == 0
    assert (folder / "out" / "weights.pt").read_bytes() == (folder / "again" / "weights.pt").read_bytes()
    chosen = [f"lr={method['settings']['lr']!r}", "epochs=1"]
    assert cli.main(options(**{**changes, "tune": None, "set": chosen}, out="direct")) == 0
    same = (folder / "out" / "weights.pt").read_bytes() == (folder / "direct" / "weights.pt").read_bytes()
    assert same, "a search leaves no trace in the weights"


@pytest.mark.parametrize(("method", "setting"), [("scrub", "forget_batch"), ("adaprob", "momentum")])
def test_a_search_keeps_all_settings_that_it_does_not_search(
    method: str, setting: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adaprob_ray.unlearning.prepare.LARGE_SCALE_SAMPLES", 100)
    tried = []
    execute = tune_module.execute
    monkeypatch.setattr(
        tune_module, "execute", lambda plan: tried.append(getattr(plan.method, setting)) or execute(plan)
    )
    changes = {"method": method, "validation": "share:0.5", "tune": "2", "max_drop": "50"}
    given = ["epochs=2", *(["momentum=0.5"] if method == "adaprob" else [])]
    assert cli.main(options(**changes, set=given)) == 0
    assert tried == [512 if method == "scrub" else 0.5] * 2


def test_a_search_reads_no_test_data(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subsets = []
    execute = tune_module.execute
    monkeypatch.setattr(tune_module, "execute", lambda plan: subsets.append(set(plan.subsets)) or execute(plan))
    changes = {"validation": "share:0.5", "tune": "2", "forget": "class:5", "max_drop": "50"}
    assert cli.main(options(**changes, set=["epochs=1"])) == 0
    assert subsets == [{"train", "forget", "retain", "retain_measured", "validation"}] * 2


def test_a_method_that_is_stopped_at_once_has_unlearned_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(options(set=["lr=30", "epochs=3"])) == 1
    output = capsys.readouterr()
    assert output.err == "error: nothing was unlearned: the weights are those of the original model\n"
    assert "which is the original: nothing was unlearned" in " ".join(output.out.split())
    old, new = torch.load(folder / "weights.pt")["state_dict"], torch.load(folder / "out" / "weights.pt")["state_dict"]
    assert all(torch.equal(value, new[key]) for key, value in old.items())
    assert json.loads((folder / "out" / "record.json").read_text(encoding="utf-8"))["predicate"]["method"]["stopped"]


@pytest.mark.parametrize("batch_norm", ["frozen", "train"])
def test_a_method_that_diverges_writes_nothing(
    batch_norm: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = (Path(__file__).with_name("small.py")).read_text(encoding="utf-8")
    (folder / "conv.py").write_text(f"{small}\n\ndef data():\n    return images()\n", encoding="utf-8")
    (folder / "three.json").write_text("[0, 5, 11]", encoding="utf-8")
    changes = {"model": "conv.py:Convolutional", "weights": None, "data": "conv.py:data", "forget": "three.json"}
    assert cli.main(options(**changes, set=["lr=1e30"], batch_norm=batch_norm)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: the mean loss of an epoch is")
    assert ("batch_norm=train" in line) == (batch_norm == "frozen")
    assert not (folder / "out").exists()


def test_ctrl_c_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(folder)
    calls = []

    def interrupted(network: nn.Module, subsets: Any) -> Any:
        calls.append(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "measure", interrupted)
    assert cli.main(options()) == 130
    assert calls
    assert capsys.readouterr().err.strip() == "Interrupted. Nothing was written to out."
    assert snapshot(folder) == before
    assert not (folder / "out").exists()


BAD_INPUT: list[tuple[dict[str, Any], str]] = [
    ({"model": "net"}, "--model: must be package.module:factory"),
    ({"model": "net.py:makes"}, "did you mean 'make'?"),
    ({"model_args": "{width: 3}"}, "--model-args: must be JSON"),
    ({"model_args": "[3]"}, "--model-args: must be a JSON object"),
    (
        {"model_args": '{"width": 33}'},
        "must have the shapes of the model, got 3 different ones: module.1.weight [32, 64] instead of [33, 64]",
    ),
    ({"weights": "missing.pt"}, "cannot be read: No such file"),
    ({"weights": "net.py"}, "got another format"),
    ({"weights": "."}, "got a folder"),
    ({"data": "mnist"}, "--data: must be cifar10, cifar100, digits, imagefolder:PATH"),
    ({"data": "net.py:make"}, "net.py:make: must return a data set, got a network, Sequential"),
    ({"data": "net.py:tiny", "forget": "class:1"}, "must accept images of shape"),
    ({"size": "32"}, "--size: must be left out"),
    ({"mean": "0.5"}, "--mean, --std: must be given together"),
    ({"mean": "0.5,a", "std": "1,1"}, "--mean: must be numbers"),
    ({"mean": "0.5", "std": "0"}, "std: must be above 0"),
    ({"forget": "missing.txt"}, "--forget: must be a file of indices or class:NUMBER, got"),
    ({"forget": "class:11"}, "must be a class that has samples"),
    ({"forget": "class:five"}, "must be indices, a mask or class:NUMBER"),
    ({"forget": "net.py"}, "line 2: must be an index"),
    ({"retain": "sample:5000"}, "must be at most the 880 samples that are not forgotten"),
    ({"retain": "sample:many"}, "must be indices or sample:NUMBER"),
    ({"retain": "rows.txt"}, "retain: must have no sample of forget"),
    ({"validation": "0.1"}, "--validation: must be share:NUMBER"),
    ({"method": "finetne"}, "unknown method 'finetne'; did you mean 'finetune'?"),
    ({"method": "retrain"}, "retrain"),
    ({"set": ["lr"]}, "--set: must be NAME=VALUE, got 'lr'"),
    ({"set": ["lr=fast"]}, "finetune: lr: must be a number"),
    ({"set": ["lr=-1"]}, "finetune: lr: must be a number"),
    ({"set": ["epochs=1.5"]}, "finetune: epochs: must be an integer"),
    ({"set": ["rate=1"]}, "unknown key 'rate'"),
    ({"set": ["lr=1", "lr=2"]}, "--set: lr: must be given once"),
    ({"tune": "3", "set": ["epochs=1"]}, "--tune: must have validation data, such as --validation share:0.1, got none"),
    ({"tune": "3", "validation": "share:0.5"}, "--tune: must leave settings to search"),
    ({"max_drop": "inf"}, "max_drop: must be a number of percentage points"),
    ({"max_drop": "-1"}, "max_drop: must be a number of percentage points"),
    ({"device": "cuda:99"}, "device: must be available here, got 'cuda:99'"),
    ({"reference": ["missing.pt"]}, "--reference: "),
    ({"out": "."}, "must be a new or an empty folder"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_INPUT, ids=[str(changes) for changes, _ in BAD_INPUT])
def test_bad_input_is_one_line_and_changes_nothing(
    changes: dict[str, Any], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(folder)
    assert cli.main(options(**changes)) == 2
    output = capsys.readouterr()
    (line,) = output.err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert "Unlearned" not in output.out
    assert snapshot(folder) == before


def test_a_full_folder_is_found_before_any_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adaprob_ray.unlearning.inputs.load_inputs", lambda *_: pytest.fail("inputs are read"))
    (folder / "out").mkdir()
    (folder / "out" / "file").write_text("", encoding="utf-8")
    assert cli.main(options()) == 2
    assert cli.main(options(out="new", method="unknown")) == 2


# -- settings --------------------------------------------------------------------------------------------------------------


def test_the_limit_of_the_error_is_no_setting() -> None:
    with pytest.raises(InputError) as stop:
        method_settings(["lr=0.1", "max_drop=5"], "adaprob")
    assert str(stop.value) == "--set: must leave max_drop to --max-drop, got 'max_drop=5'"


def test_texts_become_values_of_the_types_of_the_method() -> None:
    assert method_settings(("lr=1e-3", "epochs=3", "solver=scaling"), "adaprob") == {
        "lr": 1e-3,
        "epochs": 3,
        "solver": "scaling",
    }
    lr = method_settings(("lr=1",), "adaprob")["lr"]
    assert (lr, type(lr)) == (1.0, float)
    assert method_settings(("milestones=3,5",), "scrub") == {"milestones": [3, 5]}
    assert method_settings(("milestones=3",), "scrub") == {"milestones": [3]}
    assert method_settings(("source=scrub", "scrub.epochs=2"), "adaprob") == {"source": "scrub", "scrub": {"epochs": 2}}
    for assignments in (("=1",), ("lr=",), ("scrub=1", "scrub.epochs=2")):
        with pytest.raises(InputError, match="--set"):
            method_settings(assignments, "adaprob")


def test_numbers_and_json() -> None:
    assert numbers("0.5, 1,2e-1", "--mean") == (0.5, 1.0, 0.2)
    assert numbers(None, "--mean") is None
    assert numbers("", "--mean") == ()
    assert json_arguments('{"depth": 2}', "--model-args") == {"depth": 2}


# -- audit -----------------------------------------------------------------------------------------------------------------


def test_audit_recomputes_everything(
    done: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    before = snapshot(done)
    assert cli.main(["audit", str(done / "out")]) == 0
    output = capsys.readouterr().out
    for kind in ("file weights.pt", "Merkle root of the forgotten samples", "test_error_percent", "most exposed"):
        assert f"\n{kind}" in f"\n{output}"
    assert "differ" not in output
    assert snapshot(done) == before


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("bit", [0, 7])
@pytest.mark.parametrize("name", ["out/weights.pt", "weights.pt"])
def test_one_flipped_bit_in_the_weights(
    name: str, bit: int, share: float, done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = done / name
    data = bytearray(path.read_bytes())
    data[int(share * len(data))] ^= 1 << bit
    path.write_bytes(bytes(data))
    assert cli.main(["audit", "out"]) == 1
    output = capsys.readouterr().out
    assert (
        "file weights.pt: recorded" if name.startswith("out") else "file of the original weights: recorded"
    ) in output


def test_a_bit_that_makes_a_weight_infinite(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = torch.load(done / "out" / "weights.pt")
    checkpoint["state_dict"]["module.1.bias"][0] = float("inf")
    torch.save(checkpoint, done / "out" / "weights.pt")
    assert cli.main(["audit", "out"]) == 1
    assert "cannot be recomputed" in capsys.readouterr().err


@pytest.mark.parametrize("change", ["another", "one less", "one more"])
def test_one_changed_index(change: str, done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = (done / "rows.txt").read_text(encoding="utf-8").split()
    changed = {"another": ["4", *rows[1:]], "one less": rows[1:], "one more": [*rows, "4"]}[change]
    (done / "other.txt").write_text("\n".join(changed), encoding="utf-8")
    assert cli.main(["audit", "out", "--forget", "other.txt"]) == 1
    assert "Merkle root of the forgotten samples: recorded" in capsys.readouterr().out
    (done / "other.txt").write_text("\n".join(reversed(rows)), encoding="utf-8")
    assert cli.main(["audit", "out", "--forget", "other.txt"]) == 0, "the order does not matter"


def test_one_changed_image(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = (done / "net.py").read_text(encoding="utf-8")
    line = "    labels = torch.tensor(digits.target)"
    changed = net.replace(line, f"    images[3, 0, 2, 2] += 1\n{line}")
    assert changed != net
    (done / "changed.py").write_text(changed, encoding="utf-8")
    assert cli.main(["audit", "out", "--data", "changed.py:data"]) == 1
    assert "Merkle root of the forgotten samples: recorded" in capsys.readouterr().out


def test_one_changed_number_in_the_record(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = done / "out" / "record.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    item = next(each for each in record["predicate"]["evidence"] if each["metric"] == "test_error_percent")
    item["value"] += 0.2
    path.write_text(json.dumps(record), encoding="utf-8")
    assert cli.main(["audit", "out"]) == 1
    output = capsys.readouterr().out
    assert "1 of " in output
    assert "test_error_percent of original: value: recorded" in output


def test_without_inputs_the_options_name_them(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (done / "out" / "inputs.json").unlink()
    assert cli.main(["audit", "out", "--model", "net.py:make"]) == 2
    assert "--data, --forget: must be given" in capsys.readouterr().err
    names = ["--model", "net.py:make", "--data", "net.py:data", "--forget", "rows.txt", "--weights", "weights.pt"]
    assert cli.main(["audit", "out", *names]) == 0


def test_what_was_saved_from_python_is_audited_by_its_options(done: Path) -> None:
    names: dict[str, Any] = {}
    exec(NET, names)
    model, data = names["make"](), names["data"]()
    read_weights(done / "weights.pt").load_into(model)
    train, test = ((255 * images, labels) for images, labels in (data["train"], data["test"]))
    result = adaprob_ray.unlearn(
        model,
        train,
        forget=[3, 9, 27],
        retain=[*range(100, 300)],
        test=test,
        method="finetune",
        mean=[2.0],
        std=[250.0],
    )
    result.save("python")
    (done / "wide.py").write_text(NET.replace("/ 16", "/ 16 * 255"), encoding="utf-8")
    (done / "three.txt").write_text("3\n9\n27\n", encoding="utf-8")
    (done / "retain.json").write_text(json.dumps([*range(100, 300)]), encoding="utf-8")
    names = ["--model", "net.py:make", "--weights", "weights.pt", "--data", "wide.py:data", "--forget", "three.txt"]
    names += ["--retain", "retain.json", "--mean", "2", "--std", "250"]
    assert cli.main(["audit", "python", *names]) == 0
    assert cli.main(["audit", "python", *names[:-4]]) == 1, "with another normalization"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing"], "missing: must be a folder that `adaprob-ray unlearn` wrote, got no record.json"),
        (["out", "--weights", "missing.pt"], "missing.pt: cannot be read"),
        (["out", "--forget", "missing.txt"], "--forget: must be a file of indices"),
        (["out", "--model", "net.py:mak"], "did you mean 'make'?"),
        (["out", "--data", "cifar"], "--data: must be cifar10"),
        (["out", "--device", "cuda:99"], "device: must be available here"),
    ],
)
def test_bad_input_of_audit(arguments: list[str], message: str, done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["audit", *arguments]) == 2
    output = capsys.readouterr()
    (line,) = output.err.splitlines()
    assert message in line


@pytest.mark.parametrize("name", ["record.json", "salt.json", "inputs.json"])
@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"folder": 3}'])
def test_files_of_a_record_that_are_something_else(
    name: str, text: str, done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (done / "out" / name).write_text(text, encoding="utf-8")
    assert cli.main(["audit", "out"]) == 2
    assert all(line.startswith("error: ") for line in capsys.readouterr().err.splitlines())
