"""Which sets a machine has, and a command under each of them."""

from __future__ import annotations

import sys
from pathlib import Path

import instruction_sets
import pytest

CPUINFO = "processor : 0\nvendor_id : AuthenticAMD\nflags : {flags}\n\nprocessor : 1\nflags : none\n"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with AVX2 and without AVX-512."""
    path = tmp_path / "cpuinfo"
    path.write_text(CPUINFO.format(flags="fpu sse4_1 sse4_2 fma avx avx2"))
    monkeypatch.setattr(instruction_sets, "CPUINFO", path)
    return path


def test_the_sets_are_those_whose_flags_the_processor_has(machine: Path) -> None:
    assert list(instruction_sets.available_sets()) == ["SSE41", "AVX2", "native"]
    assert instruction_sets.processor_features() == ["avx", "avx2", "fma", "sse4_1", "sse4_2"]
    assert instruction_sets.cpuinfo("vendor_id") == "AuthenticAMD"
    machine.unlink()
    assert instruction_sets.available_sets() == {"native": {}}


def test_every_set_limits_the_same_three_libraries() -> None:
    for _, limits in instruction_sets.INSTRUCTION_SETS.values():
        assert set(limits) == {"ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS"}


def test_a_limit_replaces_the_one_that_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX")
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    environment = instruction_sets.limited_environment({"ONEDNN_MAX_CPU_ISA": "SSE41"})
    assert environment["ONEDNN_MAX_CPU_ISA"] == "SSE41"
    assert "ATEN_CPU_CAPABILITY" not in environment


def test_a_command_that_fails_under_one_set_fails(machine: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = "import os, sys; isa = os.environ.get('ONEDNN_MAX_CPU_ISA', 'none'); print(isa, flush=True); sys.exit(isa == {!r})"
    assert instruction_sets.main([sys.executable, "-c", code.format("AVX2")]) == 1
    assert "\n== failed under AVX2\n" in capfd.readouterr().out
    assert instruction_sets.main([sys.executable, "-c", code.format("another")]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[1::2][:3] == ["SSE41", "AVX2", "none"]
    assert lines[-1] == "== passed under SSE41, AVX2, native"
