"""Counting requests in an audit log; audit.jsonl is a piece of one that a kube-apiserver wrote."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.bench.audit import operator_requests

LINES = Path(__file__).with_name("audit.jsonl").read_text().splitlines(keepends=True)
FIRST_LIST = datetime.fromisoformat("2026-11-21T03:46:14.902802+00:00")
VERSION = datetime.fromisoformat("2026-11-21T03:46:15.942657+00:00")
MICROSECOND, MINUTE = timedelta(microseconds=1), timedelta(minutes=1)


def test_requests_are_counted_by_what_they_ask() -> None:
    """Those of kubectl, the server itself and the benchmark are left out, and the watch that kopf opened."""
    assert operator_requests(LINES, FIRST_LIST - MINUTE, VERSION + MINUTE) == Counter(
        {
            "list audioshards": 1,
            "list namespaces": 1,
            "patch voicecontracts/status": 1,
            "create leases": 1,
            "get /version": 1,
        }
    )


def test_a_request_counts_once_though_it_has_several_stages() -> None:
    started = [line.replace("ResponseComplete", "ResponseStarted") for line in LINES]
    assert operator_requests([*started, *LINES], FIRST_LIST, VERSION) == operator_requests(LINES, FIRST_LIST, VERSION)


def test_the_time_span_includes_its_ends_and_nothing_else() -> None:
    assert operator_requests(LINES, FIRST_LIST, VERSION).total() == 5
    inner = operator_requests(LINES, FIRST_LIST + MICROSECOND, VERSION - MICROSECOND)
    assert inner == Counter({"list namespaces": 1, "patch voicecontracts/status": 1, "create leases": 1})


def test_an_unknown_client_counts() -> None:
    """A request that nobody is known for must not make the operator look better."""
    renamed = [line.replace("voxfleet-bench/1", "aiohttp/3.13") for line in LINES]
    assert operator_requests(renamed, FIRST_LIST, VERSION + MINUTE)["get voicecontracts"] == 1


def test_a_line_that_is_being_written_does_not_count() -> None:
    cut = [*LINES, LINES[2][:80]]
    assert operator_requests(cut, FIRST_LIST, VERSION) == operator_requests(LINES, FIRST_LIST, VERSION)


def test_a_line_of_another_form_is_an_error() -> None:
    with pytest.raises(ValidationError, match="requestReceivedTimestamp"):
        operator_requests(['{"stage": "ResponseComplete", "verb": "get", "requestURI": "/"}\n'], FIRST_LIST, VERSION)
