r"""Pages as LaTeX: a document of its own with booktabs, whose `table` environments can be copied as they are."""

from __future__ import annotations

from collections.abc import Sequence

from adaprob_ray.reporting.tables.layout import Block, Document

_PREAMBLE = r"""% Needs booktabs and graphicx. Each table is shrunk to the width of the line where it is wider.
\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{textcomp,booktabs,graphicx}
\usepackage[margin=2cm]{geometry}
\newsavebox{\fitted}
\begin{document}
"""
_SIGNS = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "\N{NO-BREAK SPACE}": "~", "−": r"$-$", "±": r"$\pm$", "≤": r"$\le$", "≥": r"$\ge$", "–": "--", "·": r"$\cdot$",
    "†": r"$\dagger$", "×": r"$\times$", "λ": r"$\lambda$", "η": r"$\eta$", "√": r"$\surd$", "…": r"\dots{}", "’": "'",
    '"': r"\textquotedbl{}", "‖": r"$\Vert$", "→": r"$\rightarrow$", "∞": r"$\infty$", "\n": " ",
}  # fmt: skip
LATIN = {*range(0x20, 0x7F), *range(0xA1, 0x100)}  # what the encodings of the preamble print


def latex(pages: Sequence[Document], title: str) -> str:
    """A whole document: for each block a table with its caption, heads over columns, numbers to the right."""
    parts = [_PREAMBLE, rf"\section*{{{escape_latex(title)}}}"]
    for page in pages:
        parts.append(rf"\subsection*{{{escape_latex(page.heading)}}}")
        parts += [_table(block, page.heading) for block in page.blocks]
        notes = [rf"\item {escape_latex(line)}" for line in page.notes]
        parts += [r"\begin{itemize}", *notes, r"\end{itemize}"] if notes else []
    return "\n".join([*parts, r"\end{document}", ""])


def _table(block: Block, heading: str) -> str:
    caption = ", ".join(filter(None, (heading, block.title)))
    columns = "l" + "r" * (len(block.header) - 1)
    lines = [
        r"\begin{table}[htbp]",
        rf"\caption{{{escape_latex(caption)}}}",
        rf"\sbox{{\fitted}}{{\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _line(block.header),
        r"\midrule",
        *map(_line, block.body),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\centering\ifdim\wd\fitted>\linewidth\resizebox{\linewidth}{!}{\usebox{\fitted}}\else\usebox{\fitted}\fi",
        r"\end{table}",
    ]
    return "\n".join(lines)


def _line(entries: Sequence[str]) -> str:
    return " & ".join(map(escape_latex, entries)) + r" \\"


def escape_latex(text: str) -> str:
    """Text as LaTeX: special characters escaped; characters without a LaTeX form are written as code points."""
    return "".join(_SIGNS.get(sign) or (sign if ord(sign) in LATIN else f"[U+{ord(sign):04X}]") for sign in text)
