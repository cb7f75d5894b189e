"""The report in a real browser, by keyboard alone, at desktop and phone width. Needs chromium on the PATH."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from synthetic_records import frame, seeds
from synthetic_searches import ADAPROB, FINETUNE, group

from adaprob_ray.reporting.report import write_report
from adaprob_ray.reporting.search.report_section import search_sections
from benchmarks.chromium import Browser, browser, open_file

PROGRAM = shutil.which("chromium") or shutil.which("google-chrome") or ""
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not PROGRAM, reason="chromium is not installed")]

NAMES = """[...document.querySelectorAll('.part')[0].querySelectorAll('.grid')[0].tBodies[0].rows]
    .filter((row) => !row.hidden).map((row) => row.dataset.name)"""
CELLS = "[...document.querySelectorAll('tr[data-at]')].filter((row) => !row.hidden).length"
KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), "Escape": (27, ""), "/": (191, "/")}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    attack = "</script><script>window.attacked = true</script><img src=x onerror='window.attacked = true'>"
    records = frame(
        *seeds("original", "test_error_percent", 7.0, 7.5, 8.0, forget_error_percent=0.0, retain_error_percent=0.0),
        *seeds("retrain", "test_error_percent", 10.0, 11.0, 12.0, forget_error_percent=40.0, retain_error_percent=1.0),
        *seeds("scrub", "test_error_percent", 2.0, 2.5, 3.0, **{"method.lr": 0.25}),
        *seeds("a " + "very long " * 9 + attack, "test_error_percent", 20.0, 21.0, 25.0, host=attack),
    )
    folder = tmp_path_factory.mktemp("report")
    return write_report(
        records,
        missing=[attack],
        title="in a browser",
        folder=folder,
        extra=search_sections([group(ADAPROB, FINETUNE)]),
    )


@pytest.fixture(params=[1440, 390])
def tab(request: pytest.FixtureRequest, path: Path) -> Iterator[Browser]:
    with browser(PROGRAM, request.param) as tab:
        opened = open_file(tab, path)
        assert opened.width <= request.param
        yield tab
        assert tab.messages == []
        assert tab.value("window.attacked === undefined")


def press(tab: Browser, key: str) -> None:
    code, text = KEYS[key]
    for kind in ("keyDown", "keyUp"):
        event = {"type": kind, "key": key, "windowsVirtualKeyCode": code}
        tab.call("Input.dispatchKeyEvent", event | ({"text": text} if text and kind == "keyDown" else {}))


def reach(tab: Browser, selector: str) -> None:
    """Tab until an element is focused; fails where none is within 200 presses."""
    for _ in range(200):
        press(tab, "Tab")
        if tab.value(f"document.activeElement.matches({selector!r})"):
            return
    pytest.fail(f"{selector} is not reachable by Tab")


def test_search_filters_tables_cells_and_holes_at_once(tab: Browser) -> None:
    press(tab, "/")
    assert tab.value("document.activeElement.id") == "search"
    tab.call("Input.insertText", {"text": "SCRUB seed=2 lr=0.25"})
    assert tab.value(NAMES) == ["scrub"]
    assert tab.value(CELLS) == 1
    assert tab.value("document.querySelector('.holes li').hidden")
    assert tab.value("document.getElementById('found').textContent") == "1 of 12 cells, 1 of 1 tables"
    tab.call("Input.insertText", {"text": " nonsense"})
    assert tab.value("[...document.querySelectorAll('.part')].every((part) => part.hidden)")
    press(tab, "Escape")
    assert tab.value(CELLS) == 12
    assert tab.value("document.getElementById('search').value") == ""


def test_a_head_sorts_by_enter_and_says_so(tab: Browser) -> None:
    before = tab.value(NAMES)
    reach(tab, ".part thead th:nth-child(2) button")
    orders = []
    for _ in range(3):
        press(tab, "Enter")
        orders.append((tab.value("document.activeElement.parentElement.getAttribute('aria-sort')"), tab.value(NAMES)))
    assert [order for order, _ in orders] == ["ascending", "descending", "none"]
    assert [name[:5] for name in orders[0][1]] == ["scrub", "origi", "retra", "a ver"]  # by mean: 2.5, 7.5, 11, 22
    assert orders[1][1] == orders[0][1][::-1]
    assert orders[2][1] == before


def test_a_cell_opens_to_all_that_it_holds(tab: Browser) -> None:
    assert tab.value("document.querySelectorAll('.detail').length") == 0
    reach(tab, ".cells .open")
    press(tab, "Enter")
    assert tab.value("document.activeElement.getAttribute('aria-expanded')") == "true"
    text = tab.value("document.querySelector('.detail').innerText")
    for words in ("original10", "test_error_percent", "recipe.lr", "e2d24799f071", "cpu (a)", "run_dirty"):
        assert words in text
    assert tab.value("document.querySelector('.frame').getBoundingClientRect().right <= innerWidth")
    press(tab, "Enter")
    assert tab.value("document.querySelector('.detail').hidden")


def test_a_row_finds_its_cells(tab: Browser) -> None:
    reach(tab, "tr[data-name=scrub] .find")
    press(tab, "Enter")
    assert tab.value(CELLS) == 3
    assert tab.value(NAMES) == ["scrub"]
