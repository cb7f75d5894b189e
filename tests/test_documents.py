"""Links of the documents lead somewhere, and their examples do what they say."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from documents import PAGES, ROOT, Block, code_blocks, command_fault, command_lines, link_fault, links
from filled_store import fill

from adaprob_ray import cli
from adaprob_ray.catalogue import METHODS, REGISTRY
from adaprob_ray.search.search_file import SearchFile, SearchSection
from adaprob_ray.store import Store
from adaprob_ray.sweep.sweep import Sweep
from analysis.__main__ import commands as analysis_commands
from docs import conf
from docs.sweep_file import completed

SHELL = code_blocks("", "bash", "sh", "console", "shell")
PYTHON, YAML = code_blocks("python"), code_blocks("yaml")
# Pages whose Python is a skeleton to fill in.
SKELETONS = ("CONTRIBUTING.md",)
# With the method that pages write, which takes the settings of Finetune.
MY_METHOD = type("MyMethod", (METHODS["finetune"],), {"name": "my_method"})
EXAMPLES_REGISTRY = dataclasses.replace(REGISTRY, methods={**METHODS, "my_method": MY_METHOD})


# -- links -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file_and_a_heading(page: str) -> None:
    path = ROOT / page
    assert [fault for target in links(path) if (fault := link_fault(path, target))] == []


def test_a_broken_link_would_be_noticed(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# One, two: `three`\n\n## Same\n\n## Same\n", encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md#one-two-three) [b](other.md#same-1) [c](#d)\n\n# D\n\n[e](absent.md) [f](other.md#four)\n\n"
        '<img src="absent.png">\n\n```\n[g](code.md)\n```\n',
        encoding="utf-8",
    )
    assert [fault for target in links(page) if (fault := link_fault(page, target))] == [
        "absent.png: no such file",
        "absent.md: no such file",
        "other.md#four: no such heading",
    ]


def test_every_page_of_the_site_is_in_its_contents() -> None:
    """Sphinx says so too, but only `make docs` runs it."""
    listed = {f"{name}.md" for name in conf.CONTENTS_PAGES}
    for name in conf.CONTENTS_PAGES:
        folder = (ROOT / name).parent
        text = "".join(conf.tables_of_contents(name, (ROOT / f"{name}.md").read_text(encoding="utf-8"), folder))
        listed |= {f"{entry}.md" for entry in re.findall(r" </(\S+)>$", text, re.MULTILINE)}
    pages = {path.relative_to(ROOT).as_posix() for pattern in conf.PAGES for path in ROOT.glob(pattern)}
    assert {page for page in pages - listed if not page.startswith("results/")} == set()


def test_links_to_folders_lead_to_pages_in_the_site() -> None:
    source = [
        "[a](../results) [b](../cluster/#aws) [c](../analysis/paper/data) [d](start.md) [e](../sweeps/cifar5.yaml)"
    ]
    conf.complete_page(None, "docs/x", source)  # type: ignore[arg-type]
    assert source[0] == (
        "[a](../results/README.md) [b](../cluster/README.md#aws) c [d](start.md) [e](../sweeps/cifar5.yaml)"
    )


# -- command lines ---------------------------------------------------------------------------------------------------------


def test_every_command_line_is_accepted() -> None:
    calls = [(block, call) for block in SHELL for call in command_lines(block.text, "adaprob-ray")]
    assert len(calls) > 50
    faults = ((block, command_fault(cli.commands, "adaprob-ray", call)) for block, call in calls)
    assert [f"{block}: {fault}" for block, fault in faults if fault] == []


def test_every_command_line_of_analysis_is_accepted() -> None:
    calls = [(block, call) for block in SHELL for call in command_lines(block.text, "python")]
    calls = [(block, call[2:]) for block, call in calls if call[:2] == ["-m", "analysis"]]
    assert calls
    faults = ((block, command_fault(analysis_commands(), "python -m analysis", call)) for block, call in calls)
    assert [f"{block}: {fault}" for block, fault in faults if fault] == []


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("adaprob-ray run x.yaml --adress auto", "No such option"),
        ("ray exec a.yaml 'adaprob-ray rnu x.yaml'   # a remark", "unknown command 'rnu'"),
        ("for n in 1 2; do adaprob-ray run x.yaml --executor slurm > $n.log & done", "'slurm' is not one of"),
        ("$ .venv/bin/adaprob-ray plan", "Missing argument 'SWEEP'"),
        ("make quickstart && adaprob-ray run x.yaml --only 'seed<3' | tail", ""),
    ],
)
def test_a_wrong_command_line_would_be_noticed(line: str, fault: str) -> None:
    (call,) = command_lines(line, "adaprob-ray")
    message = command_fault(cli.commands, "adaprob-ray", call)
    assert fault in message
    assert bool(message) == bool(fault)


def test_every_target_of_make_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {call[0] for block in SHELL for call in command_lines(block.text, "make") if call}
    assert "quickstart" in targets
    assert {target for target in targets if f"\n{target}:" not in makefile} == set()


@pytest.mark.parametrize("block", [b for b in SHELL if b.page == "docs/start.md" and "mine.yaml" in b.text], ids=str)
def test_the_output_on_the_first_page_is_that_of_the_command(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of `init` and `plan`, which are fast: each line that the page shows, in this order. The page may leave lines out."""
    monkeypatch.chdir(tmp_path)
    cli.main(["init", "sweep", "mine.yaml"])
    if " 6 done" in block.text:  # the sweep with two seeds has run, then seeds were added
        fill(Store.open(str(tmp_path / "store")), Sweep.load("mine.yaml", REGISTRY).cells.values())
        text = Path("mine.yaml").read_text(encoding="utf-8")
        Path("mine.yaml").write_text(text.replace("seed: [1, 2] ", "seed: [1, 2, 3, 4, 5] "), encoding="utf-8")
    for part in block.text.split("$ adaprob-ray ")[1:]:
        command, *shown = part.splitlines()
        if command.split()[0] not in ("init", "plan"):
            continue
        if command.startswith("init"):
            Path("mine.yaml").unlink()
        capsys.readouterr()
        assert cli.main(command.split()) == 0
        printed = iter(capsys.readouterr().out.splitlines())
        assert [line for line in shown if line != "…" and line not in printed] == []


# -- YAML ------------------------------------------------------------------------------------------------------------------


def parse_example(text: str) -> Any:
    """The cells of an example of a sweep file, or the targets of one of a search file. Keys that it lacks are added."""
    given = yaml.safe_load(text)
    if not given.keys() <= SearchSection.model_fields.keys():
        document = completed(text)
        is_search = "search" in yaml.safe_load(document)
        return (
            SearchFile.parse(document, EXAMPLES_REGISTRY).targets
            if is_search
            else Sweep.parse(document, EXAMPLES_REGISTRY).cells
        )
    section = {"trials": 10, "seeds": [11], "rule": "oracle", **given}
    labels = {"retrain": {}, **{label: {} for label in section.get("space", ["finetune"])}}
    return SearchFile.parse(
        completed(yaml.safe_dump({"methods": labels, "search": section})), EXAMPLES_REGISTRY
    ).targets


@pytest.mark.parametrize("block", YAML, ids=str)
def test_every_example_of_yaml_parses(block: Block) -> None:
    assert parse_example(block.text)


@pytest.mark.parametrize("text", ["resources: {trian: {cpu: 2}}\n", "space: {adaprob: {lamb: {log: [0.1, 10.0]}}}\n"])
def test_a_wrong_example_of_yaml_would_be_noticed(text: str) -> None:
    with pytest.raises(ValueError, match="did you mean"):
        parse_example(text)


# -- Python ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder_with_a_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mine.yaml, the sweeps of the repository, and a store with the cells of mine.yaml."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "sweeps").symlink_to(ROOT / "sweeps")
    sweep = folder / "mine.yaml"
    sweep.write_text((ROOT / "tests/install/tiny.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    command = [sys.executable, "-m", "adaprob_ray", "run", str(sweep), "--store", str(folder / "store")]
    subprocess.run([*command, "--executor", "local", "--no-tensorboard"], check=True, capture_output=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("block", [block for block in PYTHON if block.page not in SKELETONS], ids=str)
def test_every_example_of_python_runs(block: Block, folder_with_a_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder with a store, and with the matrix, the weights and the column sums that a projection needs."""
    import numpy as np
    import torch

    monkeypatch.chdir(folder_with_a_store)
    matrix = torch.randn(30, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64).log_softmax(1)
    np.asarray(matrix, "float16").tofile("logits.f16")
    monkeypatch.setattr(np, "memmap", lambda *_, **__: np.fromfile("logits.f16", "float16").reshape(30, 4))
    names = {"logits": matrix, "log_reference": matrix, "weights": torch.ones(30), "totals": matrix.exp().sum(0)}
    exec(compile(block.text, str(block), "exec"), {**names, "numpy": np, "torch": torch})


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_every_example_of_python_is_python(block: Block) -> None:
    compile(block.text, str(block), "exec")
