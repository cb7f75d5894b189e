"""Markup that is safe by construction: whatever is not already `Html` is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape


class Html(str):
    """Text that is markup already."""


def element(name: str, attributes: Mapping[str, object], *children: str) -> Html:
    """`<name attributes>children</name>`. Attributes of None are left out, True stands alone, all values are escaped."""
    words = "".join(
        f" {key}" if value is True else f' {key}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    return Html(f"<{name}{words}>{join(*children)}</{name}>")


def join(*children: str) -> Html:
    """Markup as it is, text escaped."""
    return Html("".join(child if isinstance(child, Html) else escape(child, quote=False) for child in children))
