"""What reading Records, tables, figures and the report load."""

from __future__ import annotations

import json
import subprocess
import sys

SCRIPT = """
import importlib, json, pkgutil, sys
import adaprob_ray.reporting

for name in ("records", "stats", "tables", "figures", "report"):
    package = importlib.import_module(f"adaprob_ray.reporting.{name}")
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
print(json.dumps(sorted(sys.modules)))
"""


def test_reporting_loads_neither_torch_nor_ray() -> None:
    process = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    modules = set(json.loads(process.stdout))
    assert "adaprob_ray.reporting.figures.trade_off" in modules
    assert modules & {"torch", "ray", "optuna", "matplotlib.pyplot", "adaprob_ray.catalogue"} == set()
