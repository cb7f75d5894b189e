"""Install a wheel into an empty environment, and use it in an empty folder.

    python tests/install/check_wheel.py dist/adaprob_ray-VERSION-py3-none-any.whl [--empty]

PyTorch and its CUDA libraries (5 GB) are linked into the new environment from the one that runs this script; pip takes them for
installed. All else is installed by pip, from the wheel's own metadata. With --empty PyTorch is installed too.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
CONSTRAINTS = HERE.parents[1] / "constraints.txt"
TORCH_FAMILY = re.compile("torch|torchvision|triton|cuda-.*|nvidia-.*")
# Set for this checkout, they could bring in modules, data or results that are not the wheel's.
UNSET = ("PYTHONPATH", "PYTHONHOME", "ADAPROB_DATA", "ADAPROB_STORE", "PIP_CONSTRAINT", "VIRTUAL_ENV")

# What a user does first, in an empty folder with tiny.yaml, own_method.yaml and own_network.py. {bin} is the folder of the
# environment's commands. A new command that must work from the wheel is a line here; OUTPUTS names the files that must lie in
# the folder afterwards.
COMMANDS = (
    "{bin}/adaprob-ray --help",
    "{bin}/adaprob-ray list methods scrub",
    "{bin}/adaprob-ray init sweep mine.yaml",
    "{bin}/adaprob-ray plan mine.yaml --store store",
    "{bin}/adaprob-ray plan tiny.yaml --store store",
    "{bin}/adaprob-ray run tiny.yaml --store store",
    "{bin}/adaprob-ray status tiny.yaml --store store --exit-code",
    "{bin}/adaprob-ray compare tiny.yaml --store store",
    "{bin}/adaprob-ray report tiny.yaml --store store",
    "{bin}/adaprob-ray figure trade_off tiny.yaml --store store",
    "{bin}/adaprob-ray unlearn --model own_network.py:make --data own_network.py:data --forget class:3 --method finetune "
    "--out forgotten",
    "{bin}/adaprob-ray audit forgotten",
    "{bin}/python use_from_python.py store",
    "{bin}/adaprob-ray init method --package my_package my_method",
    "{bin}/pytest --pyargs adaprob_ray.contract --method my_package.my_method:MyMethod -m 'not slow'",
    "{bin}/adaprob-ray plan own_method.yaml --store store",
)
OUTPUTS = (
    "store/store.json",
    "out/compare-tiny.md",
    "out/compare-tiny.tex",
    "out/report.html",
    "out/trade_off.png",
    "forgotten/record.json",
)


def run(command: Sequence[str | os.PathLike[str]], folder: Path) -> None:
    """Run and show a command; exit with its code if it fails."""
    environment = {name: value for name, value in os.environ.items() if name not in UNSET}
    start = time.monotonic()
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8")
    print(f"{time.monotonic() - start:6.1f} s  {shlex.join(map(str, command))}", flush=True)
    if result.returncode:
        sys.exit(f"{result.stdout}{result.stderr}exit code {result.returncode}")


def torch_distributions() -> dict[str, importlib.metadata.Distribution]:
    """PyTorch and the libraries that it brings along, as far as this environment has them, by name."""
    return {d.name: d for d in importlib.metadata.distributions() if TORCH_FAMILY.fullmatch(d.name.lower())}


def link_torch(site_packages: Path) -> None:
    """Link the files and the metadata of this environment's PyTorch into another environment."""
    for distribution in torch_distributions().values():
        for top in sorted({file.parts[0] for file in distribution.files or () if file.parts[0] != ".."}):
            link = site_packages / top
            if not link.exists():
                link.symlink_to(Path(str(distribution.locate_file(top))).resolve())


def constraints(*, linked: bool) -> str:
    """constraints.txt; where PyTorch is linked, with its versions as they are in this environment."""
    text = CONSTRAINTS.read_text(encoding="utf-8")
    if not linked:
        return text
    others = [line for line in text.splitlines() if not TORCH_FAMILY.fullmatch(line.partition("==")[0])]
    return "\n".join([*others, *(f"{d.name}=={d.version}" for d in torch_distributions().values()), ""])


def main(wheel: Path, *, empty: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="adaprob-ray-wheel-") as temporary:
        environment, folder = Path(temporary) / "environment", Path(temporary) / "folder"
        folder.mkdir()
        run([sys.executable, "-m", "venv", environment], folder)
        if not empty:
            paths = sysconfig.get_paths("venv", vars={"base": str(environment), "platbase": str(environment)})
            link_torch(Path(paths["purelib"]))
        constraints_file = Path(temporary) / "constraints.txt"
        constraints_file.write_text(constraints(linked=not empty), encoding="utf-8")
        pip = [environment / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]
        run([*pip, "install", "--quiet", "--constraint", constraints_file, f"{wheel}[contract]"], folder)
        run([*pip, "check"], folder)
        for name in ("tiny.yaml", "own_method.yaml", "own_network.py", "use_from_python.py"):
            shutil.copy(HERE / name, folder)
        for command in COMMANDS:
            run(shlex.split(command.format(bin=environment / "bin")), folder)
        if missing := [name for name in OUTPUTS if not (folder / name).exists()]:
            sys.exit(f"{folder}: must hold {', '.join(OUTPUTS)}, missing {', '.join(missing)}")
    print(f"{wheel.name} works in an empty environment")


if __name__ == "__main__":
    wheels = [argument for argument in sys.argv[1:] if argument != "--empty"]
    if len(wheels) != 1 or not Path(wheels[0]).is_file():
        sys.exit(f"WHEEL: must be one existing file, got {' '.join(wheels) or 'none'}")
    main(Path(wheels[0]).resolve(), empty="--empty" in sys.argv[1:])
