"""The page on methods says what the code does."""

from __future__ import annotations

import dataclasses
import re

import pytest

from adaprob_ray.catalogue import METHODS
from adaprob_ray.describe import module_docstring
from docs.generate import PATH, page, source


def test_the_page_on_methods_is_up_to_date() -> None:
    assert PATH.read_text() == page(), "docs/methods.md is stale: make docs"


@pytest.mark.parametrize("name", METHODS)
def test_every_word_of_a_docstring_and_every_setting_is_on_the_page(name: str) -> None:
    """Up to white space, and the backslashes that Markdown needs."""
    text = page().partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    plain = re.sub(r"```(text)?|\\(?=[*<|])", " ", text).replace(" *", "*")
    words = " ".join(module_docstring(METHODS[name]).split())
    assert re.sub(r"\s", "", words) in re.sub(r"\s", "", plain)
    for field in dataclasses.fields(METHODS[name]):  # type: ignore[arg-type]
        assert f"| `{field.name}` |" in text


def test_sources_that_the_paper_gets_wrong_stand_beside_the_true_ones() -> None:
    for name, true, cited in (("neggrad_plus", "Kurmanji", "Kodge"), ("ntk", "Golatkar", "Doan")):
        published, instead = source(METHODS[name])
        assert true in published
        assert cited in instead
        assert f"| [`{name}`](#{name}) | {published} | {instead} |" in page()
