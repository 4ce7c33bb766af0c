"""Index ranges as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_api import ranges


@pytest.mark.parametrize(
    ("indexes", "text"),
    [
        pytest.param([], "", id="none"),
        pytest.param([3], "3", id="one"),
        pytest.param([0, 1, 2, 3, 7], "0-3,7", id="run and single"),
        pytest.param([7, 1, 0, 1], "0-1,7", id="unsorted with a duplicate"),
    ],
)
def test_encode(indexes: list[int], text: str) -> None:
    assert ranges.encode(indexes) == text


@pytest.mark.parametrize(
    "text", ["a", "1-", "-1", "3-1", "1,1", "0-4,2", "1,,2", " 1", "1 ", "٣", "0-9999999", "0-99999999999"]
)
def test_decode_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"index or a range|must ascend|split the job"):
        ranges.decode(text)


@given(st.sets(st.integers(min_value=0, max_value=5000)))
def test_decode_inverts_encode(indexes: set[int]) -> None:
    assert ranges.decode(ranges.encode(indexes)) == sorted(indexes)
    assert ranges.count(ranges.encode(indexes)) == len(indexes)


@given(st.integers(0, 300), st.integers(0, 300))
def test_a_range_is_written_as_its_indexes_are(start: int, stop: int) -> None:
    assert ranges.encode(range(start, stop)) == ranges.encode(list(range(start, stop)))
