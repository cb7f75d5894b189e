"""The sections of docs/fidelity.md without verdicts of single numbers: the abstract's claims, and Tables 6 and 7."""

from __future__ import annotations

from collections.abc import Sequence

from adaprob_ray.reporting.tables.format import EMPTY_CELL
from adaprob_ray.reporting.tables.layout import Block
from adaprob_ray.reporting.tables.model import Table
from adaprob_ray.reporting.tables.render import markdown_table
from analysis.paper.claims import Claim, printed_claims
from analysis.paper.training_recipes import SETTING_NAMES, RecipeSetting
from analysis.paper.verdicts import NOT_MEASURED

NO_BREAK = "\u00a0"


def claims_section(claims: Sequence[tuple[Table, Claim]]) -> str:
    """Both claims with every pair of rows that they are judged by."""
    lines = []
    for words, printed in printed_claims().items():
        matching = [(table, claim) for table, claim in claims if claim.words == words]
        for table, claim in matching:
            rows = f"{claim.reading} against {claim.rival}, {table.heading}"
            lines.append([words, printed, claim.text, str(claim.n), rows, claim.verdict])
        if not matching:
            lines.append([words, printed, EMPTY_CELL, EMPTY_CELL, EMPTY_CELL, NOT_MEASURED])
    head = ["", "paper", "ours", "n", "rows", "verdict"]
    return markdown_table(Block("", head, lines)) + "\n\n- no table of the paper defines the first (protocol §9, 37)"


def recipes_section(lines: Sequence[RecipeSetting]) -> str:
    """Settings are chosen, not measured: whose ours are takes the verdict's place. Networks with equal entries share a line."""
    order = list(SETTING_NAMES)
    networks: dict[tuple[str, ...], list[str]] = {}
    for line in sorted(lines, key=lambda line: order.index(line.setting)):
        entry = (line.setting.replace("_", " "), line.paper, line.notebooks, line.ours, line.whose)
        networks.setdefault(entry, []).append(line.name)
    everything = list(dict.fromkeys(line.name for line in lines))
    head = ["setting", "of", "paper", "notebooks", "ours", "ours is"]
    body = [
        [entry[0], _networks(names, everything), *entry[1:4], entry[4].replace(" ", NO_BREAK)]
        for entry, names in networks.items()
    ]
    return markdown_table(Block("", head, body)).replace("| --: |", "| :-- |", 1)


def _networks(names: Sequence[str], everything: Sequence[str]) -> str:
    """Some networks of Tables 6 and 7 in a few words."""
    groups = {
        f"all {len(everything)}": list(everything),
        "CIFAR5 and Lacuna5": [name for name in everything if "5)" in name],
        "CIFAR10 and Lacuna10": [name for name in everything if "10)" in name],
    }
    words = next((words for words, group in groups.items() if group == list(names)), None)
    # More than half: at most one line of a setting has as many, so that the others are all named.
    return words or (", ".join(names) if len(names) <= len(everything) / 2 else "all others")
