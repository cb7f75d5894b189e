"""The processor, and which of their kernels the numerical libraries choose for it.

Sums are added in another order by kernels for another instruction set, so equal cells may give other numbers on other
processors. These columns of a Record tell why; they are equal between any two executions on one machine.

oneDNN, which computes convolutions, detects the processor itself, and no Python interface tells its level. The levels:
https://uxlfoundation.github.io/oneDNN/dev_guide_cpu_dispatcher_control.html, and src/cpu/x64/cpu_isa_traits.hpp.
"""

from __future__ import annotations

import functools
import os
import platform
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy  # noqa: F401 (its BLAS must be loaded before threadpoolctl looks)
import threadpoolctl
import torch

# oneDNN reads the first of these that is not empty.
ONEDNN_CAPS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")

_AVX2 = {"sse4_1", "avx", "avx2"}
_AVX2_VNNI = _AVX2 | {"avx_vnni"}
_AVX512_CORE = _AVX2 | {"avx512f", "avx512bw", "avx512vl", "avx512dq"}
_AVX512_CORE_BF16 = _AVX512_CORE | {"avx512_vnni", "avx512_bf16"}
_AVX512_CORE_FP16 = _AVX512_CORE_BF16 | _AVX2_VNNI | {"avx512_fp16"}
_AVX512_CORE_AMX = _AVX512_CORE_FP16 | {"amx_tile", "amx_int8", "amx_bf16"}

# oneDNN's levels, in the order in which it prefers them, and the processor flags that each one needs. A cap allows the
# flags of its own level and no others.
ONEDNN_LEVELS: dict[str, set[str]] = {
    "SSE41": {"sse4_1"},
    "AVX": {"sse4_1", "avx"},
    "AVX2": _AVX2,
    "AVX2_VNNI": _AVX2_VNNI,
    "AVX2_VNNI_2": _AVX2_VNNI | {"avx_vnni_int8", "avx_ne_convert"},
    "AVX512_CORE": _AVX512_CORE,
    "AVX512_CORE_VNNI": _AVX512_CORE | {"avx512_vnni"},
    "AVX512_CORE_BF16": _AVX512_CORE_BF16,
    "AVX512_CORE_FP16": _AVX512_CORE_FP16,
    "AVX512_CORE_AMX": _AVX512_CORE_AMX,
    "AVX512_CORE_AMX_FP16": _AVX512_CORE_AMX | {"amx_fp16"},
}
_ONEDNN_ALIASES = {
    "AVX10_1_512": "AVX512_CORE_FP16",
    "AVX10_1_512_AMX": "AVX512_CORE_AMX",
    "AVX10_1_512_AMX_FP16": "AVX512_CORE_AMX_FP16",
}
# /proc/cpuinfo does not list these; PyTorch detects them itself, in versions that have `get_capabilities`.
_UNLISTED_FLAGS = ("amx_fp16", "avx_ne_convert", "avx_vnni_int8")
_SIGNATURE_FIELDS = (
    *("vendor_id", "cpu family", "model", "stepping"),  # x86
    *("CPU implementer", "CPU variant", "CPU part", "CPU revision"),  # Arm
)


def cpu_columns() -> dict[str, str | None]:
    """Columns about the processor and the kernels in use; None where something is not set or cannot be known."""
    fields = cpuinfo()
    onednn = onednn_instruction_set(cpu_flags(), os.environ) if torch.backends.mkldnn.is_available() else None
    return {
        "cpu_model": cpu_model(fields),
        "cpu_signature": cpu_signature(fields),
        "cpu_instruction_set": torch.backends.cpu.get_cpu_capability(),
        "onednn_instruction_set": onednn,
        "blas": _blas(),
        "mkl_instructions": os.environ.get("MKL_ENABLE_INSTRUCTIONS"),
        "mkl_cbwr": os.environ.get("MKL_CBWR"),
    }


@functools.cache
def cpuinfo() -> Mapping[str, str]:
    """The fields of /proc/cpuinfo; none where the system has no such file."""
    file = Path("/proc/cpuinfo")
    return parse_cpuinfo(file.read_text(encoding="utf-8")) if file.exists() else {}


def parse_cpuinfo(text: str) -> dict[str, str]:
    """The fields of the first processor in the text of /proc/cpuinfo."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    return fields


def cpu_model(fields: Mapping[str, str]) -> str:
    """The brand, which clouds may shorten: several processors call themselves 'AMD EPYC'."""
    return fields.get("model name") or platform.processor()


def cpu_signature(fields: Mapping[str, str]) -> str | None:
    """Vendor, family, model and stepping, which identify the processor's design."""
    return ", ".join(f"{name} {fields[name]}" for name in _SIGNATURE_FIELDS if fields.get(name)) or None


def cpu_flags() -> set[str]:
    """The processor's features, named as in /proc/cpuinfo."""
    fields = cpuinfo()
    detected: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    listed = fields.get("flags", fields.get("Features", "")).split()
    return {*listed, *(name for name in _UNLISTED_FLAGS if detected.get(name))}


def onednn_instruction_set(flags: set[str], environment: Mapping[str, str]) -> str | None:
    """The level that oneDNN dispatches to on a processor with these flags.

    None for a processor that is not x86, or lacks SSE 4.1, and for a cap at a level that is not listed here.
    """
    cap = next((environment[name] for name in ONEDNN_CAPS if environment.get(name)), "").upper()
    if cap.startswith("AVX10_2"):
        return None
    # oneDNN ignores a cap that it does not know.
    usable = flags & ONEDNN_LEVELS.get(_ONEDNN_ALIASES.get(cap, cap), flags)
    return next((name for name, needed in reversed(ONEDNN_LEVELS.items()) if needed <= usable), None)


@functools.cache
def _blas() -> str:
    return describe_blas(torch.__config__.show(), threadpoolctl.threadpool_info())


def describe_blas(torch_config: str, libraries: Iterable[Mapping[str, Any]]) -> str:
    """Name, version and kernels of the BLAS libraries of PyTorch and numpy.

    Args:
        torch_config: `torch.__config__.show()`. PyTorch's wheels link their BLAS statically, so that it is no library.
        libraries: `threadpoolctl.threadpool_info()`.
    """
    name = re.search(r"BLAS_INFO=(\w+)", torch_config)
    version = re.search(r"Math Kernel Library Version (\S+)", torch_config)
    built_in = ["torch", *(match[1] for match in (name, version) if match)]
    loaded = {
        " ".join(str(library[key]) for key in ("internal_api", "version", "architecture") if library.get(key))
        for library in libraries
        # SciPy brings a BLAS of its own, which is loaded or not depending on what the process has imported.
        if library["user_api"] == "blas" and not {"scipy", "scipy.libs"} & {*Path(library["filepath"]).parts}
    }
    return "; ".join([" ".join(built_in), *sorted(loaded)])
