"""The instruction sets that kernels of this machine may use, each as environment variables that hold libraries to it.

Kernels for other instruction sets add in another order, so that a training ends with other float32 weights. No verdict of a
test may hang on that, and a test run under every set shows it:

    python tests/isa/instruction_sets.py                    # the names of the sets that this machine has
    python tests/isa/instruction_sets.py pytest tests/golden    # the command under each; fails if it fails under one

oneDNN computes convolutions, ATen what is elementwise or a sum, MKL matrix products. MKL obeys its variable on Intel's
processors only.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
NATIVE = "native"

# In rising order: the flags of /proc/cpuinfo that the set needs, and what holds oneDNN, ATen and MKL to it. The names are
# oneDNN's (its documentation, "CPU Dispatcher Control").
INSTRUCTION_SETS: dict[str, tuple[set[str], dict[str, str]]] = {
    "SSE41": (
        {"sse4_1", "sse4_2"},
        {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    ),
    "AVX2": (
        {"avx2", "fma"},
        {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    ),
    "AVX512_CORE": (
        {"avx512f", "avx512bw", "avx512dq", "avx512vl"},
        {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE", "ATEN_CPU_CAPABILITY": "avx512", "MKL_ENABLE_INSTRUCTIONS": "AVX512"},
    ),
}
VARIABLES = tuple(INSTRUCTION_SETS["SSE41"][1])
# Flags by which libraries choose kernels start with one of these.
FLAG_PREFIXES = ("sse", "ssse", "avx", "amx", "fma", "f16c", "bmi")


def cpuinfo(field: str) -> str:
    """What the system says of the first processor; "" where it has no /proc/cpuinfo, or no such field."""
    lines = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == field), "")


def processor_features() -> list[str]:
    return sorted(flag for flag in cpuinfo("flags").split() if flag.startswith(FLAG_PREFIXES))


def available_sets() -> dict[str, dict[str, str]]:
    """The environment variables of each set that this machine has, and `native`, which has none: all that is there."""
    features = set(cpuinfo("flags").split())
    environments = {name: limits for name, (flags, limits) in INSTRUCTION_SETS.items() if flags <= features}
    return {**environments, NATIVE: {}}


def limited_environment(limits: dict[str, str]) -> dict[str, str]:
    """The environment of this process, with these limits and none that it had before."""
    return {**{name: value for name, value in os.environ.items() if name not in VARIABLES}, **limits}


def main(command: list[str]) -> int:
    sets = available_sets()
    if not command:
        sys.stdout.write("\n".join(sets) + "\n")
        return 0
    failed = []
    for name, limits in sets.items():
        sys.stdout.write(f"== {name}: {' '.join(f'{key}={value}' for key, value in limits.items())}\n")
        sys.stdout.flush()
        if subprocess.run(command, env=limited_environment(limits), check=False).returncode:
            failed.append(name)
    sys.stdout.write(f"== failed under {', '.join(failed)}\n" if failed else f"== passed under {', '.join(sets)}\n")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
