"""Label selectors."""

from __future__ import annotations

import pytest

from voxfleet_api.selectors import LabelSelector

LABELS = {"site": "berlin", "chip": "m4"}


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        pytest.param({}, True, id="empty matches all"),
        pytest.param({"matchLabels": {"site": "berlin"}}, True, id="label"),
        pytest.param({"matchLabels": {"site": "berlin", "chip": "m2"}}, False, id="one of two labels"),
        pytest.param({"matchExpressions": [{"key": "chip", "operator": "In", "values": ["m2", "m4"]}]}, True, id="in"),
        pytest.param(
            {"matchExpressions": [{"key": "chip", "operator": "NotIn", "values": ["m4"]}]}, False, id="not in"
        ),
        pytest.param({"matchExpressions": [{"key": "rack", "operator": "NotIn", "values": ["1"]}]}, True, id="absent"),
        pytest.param({"matchExpressions": [{"key": "rack", "operator": "Exists"}]}, False, id="exists"),
        pytest.param({"matchExpressions": [{"key": "rack", "operator": "DoesNotExist"}]}, True, id="does not exist"),
    ],
)
def test_matches(selector: dict[str, object], matches: bool) -> None:
    assert LabelSelector.load(selector).matches(LABELS) is matches
