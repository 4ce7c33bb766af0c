"""Reports as text: whatever is in a name stays text, a report stays small, and it asks for nothing."""

from __future__ import annotations

from html import escape
from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rig.reports import HOSTILE, job_report, month_report

from voxfleet_report.distribution import EDGES, distribution
from voxfleet_report.job_page import job_page
from voxfleet_report.job_report import JobReport
from voxfleet_report.month_page import month_page
from voxfleet_report.stylesheet import STYLESHEET


class _Reader(HTMLParser):
    """Every element with its attributes, and the figures by name."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.figures: dict[str, str | None] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.elements.append((tag, found))
        if "data-figure" in found:
            self.figures[found["data-figure"] or ""] = found["data-value"]


_SHORT = job_report(names=["a"]).model_copy(update={"times": {}, "rtf": None, "ladders": (), "machines": ()})
_HARMLESS = [tag for tag, _ in _Reader(job_page(_SHORT)).elements]


@settings(max_examples=30, deadline=None)
@given(text=st.one_of(st.text(max_size=60), st.sampled_from(HOSTILE)))
def test_a_name_stays_text_whatever_it_holds(text: str) -> None:
    """The elements are those of a report with a harmless name."""
    named = {"custom_id": text, "failure_class": text, "reason": text}
    quarantined = (_SHORT.quarantined[0].model_copy(update=named),)
    shown = job_page(_SHORT.model_copy(update={"name": text, "model": text or "-", "quarantined": quarantined}))
    assert [tag for tag, _ in _Reader(shown).elements] == _HARMLESS
    for sign in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069":
        assert sign not in shown


def test_a_report_runs_nothing_and_asks_for_nothing() -> None:
    for shown in (job_page(job_report()), month_page(month_report())):
        elements = _Reader(shown).elements
        assert not {tag for tag, _ in elements} & {"script", "link", "img", "iframe", "object", "base", "form"}
        assert not [name for _, given_ in elements for name in given_ if name in ("src", "href", "style", "srcset")]
        assert not [name for _, given_ in elements for name in given_ if name.startswith("on")]
        assert any((given_.get("content") or "").startswith("default-src 'none';") for _, given_ in elements)


def test_the_stylesheet_needs_no_escaping() -> None:
    assert escape(STYLESHEET) == STYLESHEET


def test_a_report_of_100_000_clips_of_which_most_are_refused_is_small() -> None:
    report = job_report(100_000, ["&" * 256] * 90_000)
    assert len(report.quarantined) == 200
    assert len(job_page(report).encode()) < 2**20
    assert "89,800 more are in errors.jsonl." in job_page(report)


def test_the_page_is_made_from_the_file_of_data_alone() -> None:
    report = job_report()
    assert job_page(JobReport.load(report.dump())) == job_page(report)


def test_figures_are_exact() -> None:
    figures = _Reader(job_page(job_report())).figures
    assert figures["clips.total"] == "5006" and figures["clips.quarantined"] == "5"
    assert figures["usage.productiveSeconds"] == "4650.000" and figures["usage.machineSeconds"] == "5340.738"
    assert figures["mac.mac-05.retrySeconds"] == "150.000"
    month = _Reader(month_page(month_report())).figures
    assert month["machineMilliseconds"] == str(30 * 203 * 3_600_000) and month["cost.EUR"] == "12375.00"
    assert month["night.2026-11-30.idleMilliseconds"] == str(90 * 3_600_000)


@given(st.lists(st.integers(min_value=0, max_value=20_000_000), min_size=1))
def test_a_histogram_counts_each_value_once_where_it_belongs(values: list[int]) -> None:
    found = distribution(values)
    assert found is not None
    assert sum(bucket.count for bucket in found.buckets) == found.clips == len(values)
    for bucket in found.buckets:
        inside = [value for value in values if bucket.start <= value and (bucket.end is None or value < bucket.end)]
        assert bucket.count == len(inside)
    assert list(EDGES) == sorted(set(EDGES)) and found.max == max(values)
