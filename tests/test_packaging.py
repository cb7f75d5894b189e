"""What is installed: the metadata of the wheel, the pinned versions, the checks before a commit, changelog and citation."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import adaprob_ray

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
TORCH_FAMILY = re.compile("torch|torchvision|triton|cuda-.*|nvidia-.*")
CHANGELOG_SECTIONS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


def environment(python: str) -> dict[str, str]:
    """What markers see on Linux under this Python."""
    return {"python_version": python, "python_full_version": f"{python}.1", "sys_platform": "linux"}


def pins(python: str) -> dict[str, str]:
    """Name -> version of the lines of constraints.txt that apply under this Python."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    requirements = [Requirement(line) for line in lines]
    versions: dict[str, str] = {}
    for requirement in requirements:
        if requirement.marker is None or requirement.marker.evaluate(environment(python)):
            (specifier,) = requirement.specifier
            assert specifier.operator == "==", requirement
            assert requirement.url is None, requirement
            name = canonicalize_name(requirement.name)
            assert name not in versions, f"two versions of {name} with Python {python}"
            versions[name] = specifier.version
    return versions


@pytest.fixture(scope="module")
def dist_info(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The metadata that setuptools writes into a wheel of this checkout, from a copy of it."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "adaprob_ray", copy / "adaprob_ray", ignore=shutil.ignore_patterns("__pycache__"))
    code = "import setuptools.build_meta as build; build.prepare_metadata_for_build_wheel('.')"
    subprocess.run([sys.executable, "-c", code], cwd=copy, check=True, capture_output=True)
    (folder,) = copy.glob("*.dist-info")
    return folder


@pytest.fixture(scope="module")
def metadata(dist_info: Path) -> Message:
    return message_from_string((dist_info / "METADATA").read_text(encoding="utf-8"))


def test_the_metadata_comes_from_both_files(metadata: Message, dist_info: Path) -> None:
    assert metadata["Name"] == "adaprob-ray"
    assert metadata["Version"] == adaprob_ray.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["License"] is None
    assert metadata["License-File"] == "LICENSE"
    assert metadata["Requires-Python"] == "<3.14,>=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload().startswith("# adaprob_ray")
    entry_points = (dist_info / "entry_points.txt").read_text(encoding="utf-8")
    assert entry_points.split("\n")[:2] == ["[console_scripts]", "adaprob-ray = adaprob_ray.cli:main"]


@pytest.mark.parametrize("python", PYTHONS)
def test_every_direct_dependency_has_one_exact_version_within_its_range(metadata: Message, python: str) -> None:
    requirements = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]
    assert len(requirements) > 30
    versions = pins(python)
    for requirement in requirements:
        version = versions[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), (
            f"{requirement}: constraints.txt has {version}: make constraints"
        )
        assert Version(version).local is None, "a local version, such as +cpu, is on no index that others have"


def test_every_transitive_dependency_of_this_environment_is_pinned() -> None:
    versions = pins(f"{sys.version_info.major}.{sys.version_info.minor}")
    names = {canonicalize_name(d.name): d for d in importlib.metadata.distributions()}
    own = [name for name in versions if name in names and not TORCH_FAMILY.fullmatch(name)]
    if any(names[name].version != versions[name] for name in own):
        pytest.skip("this environment was not installed with constraints.txt")
    seen, waiting = set[tuple[str, frozenset[str]]](), [("adaprob-ray", frozenset({"", "dev"}))]
    while waiting:
        name, extras = waiting.pop()
        for text in names[name].requires or ():
            requirement = Requirement(text)
            if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
                continue
            child = (canonicalize_name(requirement.name), frozenset({"", *requirement.extras}))
            if child not in seen:
                seen.add(child)
                waiting.append(child)
    assert len(seen) > 100
    missing = {name for name, _ in seen} - set(versions)
    assert not {name for name in missing if not TORCH_FAMILY.fullmatch(name)}, "make constraints"


def fake_distribution(site_packages: Path, name: str, version: str) -> None:
    folder = site_packages / f"{name}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize("installed", [{}, {"torch": "2.13.0+cpu"}, {"torch": "2.12.0", "torchvision": "0.27.0"}])
def test_a_torch_that_is_installed_already_stays(installed: dict[str, str], tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (site_packages,) = venv.glob("lib/python*/site-packages")
    for name, version in installed.items():
        fake_distribution(site_packages, name, version)
    command = ["make", "--no-print-directory", f"VENV={venv}", f"{venv}/constraints.txt"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    result = subprocess.run(
        command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True, encoding="utf-8"
    )
    lines = (venv / "constraints.txt").read_text(encoding="utf-8").splitlines()
    all_lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if not installed:
        assert lines == all_lines
        assert result.stdout == ""
        return
    kept = [f"{name}=={version}" for name, version in sorted(installed.items())]
    assert result.stdout == f"keeping {' '.join(kept)} in {venv}\n"
    others = [line for line in all_lines if not TORCH_FAMILY.fullmatch(line.partition("==")[0])]
    assert lines == [*kept, *others]


def test_the_hooks_before_a_commit_are_the_commands_of_make_check() -> None:
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\ncheck: ")[2].partition("\n\n")[0]
    commands = [line.replace("$(BIN)/", ".venv/bin/").removesuffix(" .").strip() for line in recipe.splitlines()[1:]]
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    entries = [hook["entry"].removesuffix(" --force-exclude") for hook in repository["hooks"]]
    assert entries == [command.removesuffix(" --check .").removesuffix(" --check") for command in commands]
    assert {command.split("/")[-1].split()[0] for command in commands} >= {"ruff", "mypy", "codespell"}


def test_every_word_of_the_dictionary_is_found_and_none_is_in_the_project(tmp_path: Path) -> None:
    words = [line.partition("->")[0] for line in (ROOT / ".codespell-words").read_text(encoding="utf-8").splitlines()]
    assert len(words) == len(set(words)) >= 20
    assert words == sorted(words)
    page = tmp_path / "page.md"
    page.write_text("\n".join(words), encoding="utf-8")
    codespell = str(Path(sys.executable).with_name("codespell"))
    result = subprocess.run([codespell, page], cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    assert [line.split()[1] for line in result.stdout.splitlines()] == words


def test_the_changelog_has_an_unreleased_section_by_kind_of_change() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert releases[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", release) for release in releases[1:])
    for section in text.split("\n## ")[1:]:
        kinds = re.findall(r"^### (.*)$", section, re.MULTILINE)
        assert kinds
        assert kinds == [kind for kind in CHANGELOG_SECTIONS if kind in kinds]


def test_the_citation_names_this_version_and_the_paper(metadata: Message) -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert str(citation["version"]) == metadata["Version"]
    assert citation["license"] == metadata["License-Expression"]
    assert [author["name"] for author in citation["authors"]] == [metadata["Author"]]
    (paper,) = citation["references"]
    assert "Efficient Machine Unlearning via Adaptive Probability" in paper["title"]
    assert [author["family-names"] for author in paper["authors"]] == ["Zhao", "Yang", "Field", "Cao"]
