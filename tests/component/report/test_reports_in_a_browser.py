"""Reports in a real browser: on a phone and a desk, in the dark, without scripts, and without a network."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.rig.browser import Browser, browser
from tests.rig.reports import HOSTILE, job_report, month_report

from voxfleet_report.job_page import job_page
from voxfleet_report.month_page import month_page

FIGURES = (
    "Object.fromEntries([...document.querySelectorAll('[data-figure]')]"
    ".map(element => [element.dataset.figure, [element.dataset.value, element.textContent]]))"
)
LAYOUT = "[document.documentElement.scrollWidth, innerWidth, getComputedStyle(document.body).backgroundColor]"


class _Texts(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: set[str] = set()
        self.feed(text)

    def handle_data(self, data: str) -> None:
        self.texts.add(data)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    found = {"job": folder / "report.html", "month": folder / "month.html"}
    found["job"].write_text(job_page(job_report()), encoding="utf-8")
    found["month"].write_text(month_page(month_report()), encoding="utf-8")
    return found


@pytest.mark.parametrize("kind", ["job", "month"])
@pytest.mark.parametrize(("width", "dark"), [(375, False), (840, False), (1280, True)])
def test_a_report_fits_its_window_and_asks_for_nothing(
    chromium: Browser, files: dict[str, Path], kind: str, width: int, *, dark: bool
) -> None:
    chromium.open(files[kind], width=width, dark=dark)
    wide, window, background = chromium.evaluate(LAYOUT)
    assert wide <= window == width
    assert background == ("rgb(13, 17, 23)" if dark else "rgb(255, 255, 255)")
    assert chromium.requests == [files[kind].as_uri()]
    assert chromium.complaints == []


def test_the_numbers_are_in_the_document(chromium: Browser, files: dict[str, Path]) -> None:
    chromium.open(files["job"])
    figures = chromium.evaluate(FIGURES)
    assert figures["clips.total"] == ["5006", "5,006"]
    assert figures["usage.machineSeconds"] == ["5340.738", "5340.738"]
    assert figures["latency.p95Milliseconds"][0] == str(job_report().times["latency"].p95)
    assert len(chromium.accessible_names("image")) == 8
    assert all(
        "; p50" in name or "By batch size" in name or "mac-00" in name for name in chromium.accessible_names("image")
    )
    assert len(chromium.accessible_names("columnheader")) > 20


def test_a_report_is_whole_without_scripts_and_no_name_becomes_one(chromium: Browser, files: dict[str, Path]) -> None:
    chromium.open(files["job"], scripts=False)
    texts = _Texts(chromium.html()).texts
    assert {"5,006", "5340.738", HOSTILE[0], HOSTILE[1], HOSTILE[4], "\\u202evaw.live"} <= texts
    assert chromium.evaluate("document.title") == "calls/nightly-2026-11-29: report"
    assert chromium.evaluate("document.querySelectorAll('script, img').length") == 0


def test_on_a_phone_each_cell_says_what_it_is(chromium: Browser, files: dict[str, Path]) -> None:
    """The rows are blocks there; they stay rows and cells for a screen reader."""
    chromium.open(files["month"], width=375)
    assert chromium.evaluate("getComputedStyle(document.querySelector('td'), '::before').content") != "none"
    assert len(chromium.accessible_names("row")) == 59


def test_a_report_prints(chromium: Browser, files: dict[str, Path], tmp_path: Path) -> None:
    chromium.open(files["job"], dark=True)
    chromium.pdf(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    chromium.open(files["job"], dark=True, media="print")
    assert chromium.evaluate(LAYOUT)[2] == "rgb(255, 255, 255)", "paper is white, whatever the screen is"
