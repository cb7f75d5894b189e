"""Pages as LaTeX: it compiles, every entry is there, nothing of ours is read as a command."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from adaprob_ray.reporting.tables.latex import escape_latex, latex
from adaprob_ray.reporting.tables.layout import Block, Document

NASTY = Document(
    "CIFAR-5 · a_b{c} 100 % & more",
    [
        Block(
            "first",
            ["", "test error (%)", "λ ‖ η"],
            [["scrub_x", "1.0 ± 0.2 *", "≤ 3.9"], ["~^\\$#", "−1", "–"]],
        ),
        Block("", ["", "b"], [["x", '"q" <tag> [1] | ∞ × √ …']]),
    ],
    ["100 % of rows; 1e-3_x → é", "雪 has no sign here"],
)


def test_it_compiles(tmp_path: Path) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    (tmp_path / "page.tex").write_text(latex([NASTY, NASTY], "a_b & 50 %"), encoding="utf-8")
    process = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"],
        cwd=tmp_path,
        capture_output=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stdout.decode(errors="replace")[-2000:]
    assert (tmp_path / "page.pdf").stat().st_size > 1000


def test_every_line_has_as_many_entries_as_columns() -> None:
    text = latex([NASTY], "title")
    for block in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", text, re.S):
        columns, body = block
        lines = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert len(lines) >= 2
        assert {len(re.split(r"(?<!\\)&", line)) for line in lines} == {len(columns)}
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 2


def test_braces_balance_and_no_sign_is_left_to_tex() -> None:
    text = latex([NASTY], "title")
    plain = re.sub(r"\\[{}]", "", text)
    assert plain.count("{") == plain.count("}")
    assert escape_latex("a_b & 5 % {x} $1 #2 ~ ^ \\") == (
        r"a\_b \& 5 \% \{x\} \$1 \#2 \textasciitilde{} \textasciicircum{} \textbackslash{}"
    )
    assert escape_latex("1.0 ± 0.2") == r"1.0 $\pm$ 0.2"
    assert escape_latex("雪") == "[U+96EA]"
    assert escape_latex("é") == "é"
