"""Columns about the processor, from given texts and environments: the tests pass on any processor."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
import torch

from adaprob_ray.runtime.cpu_columns import (
    ONEDNN_CAPS,
    ONEDNN_LEVELS,
    cpu_columns,
    cpu_model,
    cpu_signature,
    describe_blas,
    onednn_instruction_set,
    parse_cpuinfo,
)

HASWELL = "fpu sse4_1 sse4_2 avx f16c avx2 fma"
ALDER_LAKE = f"{HASWELL} avx_vnni"
SKYLAKE = f"{HASWELL} avx512f avx512dq avx512bw avx512vl avx512cd"
ZEN_4 = f"{SKYLAKE} avx512_vnni avx512_bf16"
ZEN_5 = f"{ZEN_4} avx_vnni"
SAPPHIRE_RAPIDS = f"{ZEN_5} avx512_fp16 amx_tile amx_int8 amx_bf16"
GRANITE_RAPIDS = f"{SAPPHIRE_RAPIDS} amx_fp16"
SIERRA_FOREST = f"{ALDER_LAKE} avx_vnni_int8 avx_ne_convert"


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        ("fpu sse4_1", "SSE41"),
        ("fpu sse4_1 avx", "AVX"),
        (HASWELL, "AVX2"),
        (ALDER_LAKE, "AVX2_VNNI"),
        (SIERRA_FOREST, "AVX2_VNNI_2"),
        (SKYLAKE, "AVX512_CORE"),
        (f"{SKYLAKE} avx512_vnni", "AVX512_CORE_VNNI"),
        (ZEN_4, "AVX512_CORE_BF16"),
        (ZEN_5, "AVX512_CORE_BF16"),
        (f"{ZEN_5} avx512_fp16", "AVX512_CORE_FP16"),
        (SAPPHIRE_RAPIDS, "AVX512_CORE_AMX"),
        (GRANITE_RAPIDS, "AVX512_CORE_AMX_FP16"),
        ("fp asimd evtstrm sve bf16", None),
        ("", None),
    ],
)
def test_the_level_of_onednn_follows_from_the_flags(flags: str, level: str | None) -> None:
    assert onednn_instruction_set(set(flags.split()), {}) == level


@pytest.mark.parametrize(
    ("flags", "caps", "level"),
    [
        (SAPPHIRE_RAPIDS, {"ONEDNN_MAX_CPU_ISA": "AVX2"}, "AVX2"),
        (SAPPHIRE_RAPIDS, {"ONEDNN_MAX_CPU_ISA": "avx2"}, "AVX2"),
        (SAPPHIRE_RAPIDS, {"ONEDNN_MAX_CPU_ISA": "AVX2_VNNI_2"}, "AVX2_VNNI"),
        (SAPPHIRE_RAPIDS, {"ONEDNN_MAX_CPU_ISA": "AVX10_1_512"}, "AVX512_CORE_FP16"),
        (SAPPHIRE_RAPIDS, {"ONEDNN_MAX_CPU_ISA": "AVX10_1_512_AMX_FP16"}, "AVX512_CORE_AMX"),
        (SAPPHIRE_RAPIDS, {"ONEDNN_MAX_CPU_ISA": "AVX10_2_512"}, None),
        (SAPPHIRE_RAPIDS, {"ONEDNN_MAX_CPU_ISA": "DEFAULT"}, "AVX512_CORE_AMX"),
        (SAPPHIRE_RAPIDS, {"ONEDNN_MAX_CPU_ISA": "NONSENSE"}, "AVX512_CORE_AMX"),
        (SAPPHIRE_RAPIDS, {"DNNL_MAX_CPU_ISA": "SSE41"}, "SSE41"),
        (SAPPHIRE_RAPIDS, {"ONEDNN_MAX_CPU_ISA": "AVX2", "DNNL_MAX_CPU_ISA": "SSE41"}, "AVX2"),
        (SAPPHIRE_RAPIDS, {"ONEDNN_MAX_CPU_ISA": "", "DNNL_MAX_CPU_ISA": "SSE41"}, "SSE41"),
        # Levels are partly ordered: this cap has no AVX2_VNNI.
        (ALDER_LAKE, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}, "AVX2"),
        (ALDER_LAKE, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_FP16"}, "AVX2_VNNI"),
        (HASWELL, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}, "AVX2"),
    ],
)
def test_the_environment_caps_the_level(flags: str, caps: dict[str, str], level: str | None) -> None:
    assert onednn_instruction_set(set(flags.split()), caps) == level


@pytest.mark.parametrize("level", ONEDNN_LEVELS)
def test_every_level_can_be_the_cap(level: str) -> None:
    flags = set(f"{GRANITE_RAPIDS} {SIERRA_FOREST}".split())
    assert onednn_instruction_set(flags, {"ONEDNN_MAX_CPU_ISA": level}) == level


VERBOSE = {
    "Intel SSE4.1": "SSE41",
    "Intel AVX": "AVX",
    "Intel AVX2": "AVX2",
    "Intel AVX2 with Intel DL Boost": "AVX2_VNNI",
    "Intel AVX-512 with AVX512BW, AVX512VL, and AVX512DQ extensions": "AVX512_CORE",
    "Intel AVX-512 with Intel DL Boost": "AVX512_CORE_VNNI",
    "Intel AVX-512 with Intel DL Boost and bfloat16 support": "AVX512_CORE_BF16",
    "Intel AVX 10.1": "AVX512_CORE_FP16",
    "Intel AVX10.1 and Intel AMX with bfloat16 and 8-bit integer support": "AVX512_CORE_AMX",
}


@pytest.mark.slow
@pytest.mark.parametrize("cap", ["", "AVX2", "AVX512_CORE_BF16"])
@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch without oneDNN")
def test_the_column_says_what_onednn_says_of_itself(cap: str) -> None:
    """On this machine: ONEDNN_VERBOSE prints the level at the first convolution."""
    script = (
        "import json, torch\n"
        "from adaprob_ray.runtime.cpu_columns import cpu_columns\n"
        "torch.nn.Conv2d(16, 16, 3)(torch.zeros(8, 16, 16, 16))\n"
        "print(json.dumps(cpu_columns()))\n"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ONEDNN_CAPS}
    environment |= {"ONEDNN_VERBOSE": "1", "ONEDNN_MAX_CPU_ISA": cap}
    command = [sys.executable, "-c", script]
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    match = re.search(r"isa:(.*)", output)
    assert match is not None, output
    level = json.loads(output.splitlines()[-1])["onednn_instruction_set"]
    if match[1].strip() not in VERBOSE:
        pytest.skip(f"a level that this test has no name for: {match[1]}")
    assert level == VERBOSE[match[1].strip()]


EPYC = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 1
model name\t: AMD EPYC
stepping\t: 1
flags\t\t: fpu sse4_1 avx avx2

processor\t: 1
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 1
model name\t: AMD EPYC
stepping\t: 1
flags\t\t: fpu sse4_1 avx avx2
"""
GRAVITON = """processor\t: 0
BogoMIPS\t: 243.75
Features\t: fp asimd sve
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x1
CPU part\t: 0xd40
CPU revision\t: 1
"""


def test_two_processors_of_one_brand_differ_in_their_signature() -> None:
    milan, genoa = parse_cpuinfo(EPYC), parse_cpuinfo(EPYC.replace("model\t\t: 1", "model\t\t: 17"))
    assert cpu_model(milan) == cpu_model(genoa) == "AMD EPYC"
    assert cpu_signature(milan) == "vendor_id AuthenticAMD, cpu family 25, model 1, stepping 1"
    assert cpu_signature(genoa) == "vendor_id AuthenticAMD, cpu family 25, model 17, stepping 1"


def test_an_arm_processor_has_a_signature_and_no_processor_information_has_none() -> None:
    expected = "CPU implementer 0x41, CPU variant 0x1, CPU part 0xd40, CPU revision 1"
    assert cpu_signature(parse_cpuinfo(GRAVITON)) == expected
    assert cpu_signature(parse_cpuinfo("")) is None


def library(name: str, folder: str, api: str = "blas", **more: str | None) -> dict[str, str | None]:
    return {"user_api": api, "internal_api": name, "filepath": f"/venv/site-packages/{folder}/lib.so", **more}


def test_blas_names_versions_and_kernels_of_torch_and_numpy() -> None:
    config = "  - Intel(R) oneAPI Math Kernel Library Version 2024.2-Product Build 20240605\n  - BLAS_INFO=mkl, X=Y"
    numpys = library("openblas", "numpy.libs", version="0.3.31", architecture="Zen")
    openmp = library("openmp", "torch/lib", api="openmp", version=None)
    assert describe_blas(config, [numpys, openmp]) == "torch mkl 2024.2-Product; openblas 0.3.31 Zen"
    assert describe_blas("- BLAS_INFO=open", []) == "torch open"
    assert describe_blas("", [library("mkl", "mkl/lib", version="2025.0")]) == "torch; mkl 2025.0"


def test_blas_does_not_depend_on_what_else_the_process_has_imported() -> None:
    numpys = library("openblas", "numpy.libs", version="0.3.31", architecture="Zen")
    scipys = library("openblas", "scipy.libs", version="0.3.29", architecture="Zen")
    assert describe_blas("", [scipys, numpys]) == describe_blas("", [numpys, numpys]) == describe_blas("", [numpys])


def test_columns_of_this_machine_follow_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR"):
        monkeypatch.delenv(name, raising=False)
    columns = cpu_columns()
    assert cpu_columns() == columns
    assert (columns["mkl_instructions"], columns["mkl_cbwr"]) == (None, None)
    assert columns["cpu_instruction_set"] == torch.backends.cpu.get_cpu_capability()
    monkeypatch.setenv("MKL_ENABLE_INSTRUCTIONS", "AVX2")
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    assert cpu_columns() == {**columns, "mkl_instructions": "AVX2", "mkl_cbwr": "COMPATIBLE"}


def test_columns_are_equal_in_another_process_that_has_imported_more() -> None:
    script = (
        "import json, scipy.linalg\n"
        "from adaprob_ray.runtime.cpu_columns import cpu_columns\n"
        "print(json.dumps(cpu_columns()))"
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert json.loads(output) == cpu_columns()
