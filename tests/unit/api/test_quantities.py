"""Durations, byte quantities and exact seconds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from voxfleet_api import quantities
from voxfleet_api.base import MAX_SIZE_BYTES, QUANTITY_PATTERN, SIZE_PATTERN, Size


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("100ms", 100), ("10s", 10_000), ("1h30m", 5_400_000), ("1m1ms", 60_001), ("0s", 0)],
)
def test_duration(text: str, milliseconds: int) -> None:
    assert quantities.duration_milliseconds(text) == milliseconds


@pytest.mark.parametrize("text", ["", "10", "1.5s", "-1s", "1d", "s", "10 s"])
def test_duration_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        quantities.duration_milliseconds(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("0Gi", 0), ("0Mi", 0), ("0k", 0), ("7", 7), ("200Mi", 209_715_200), ("3k", 3000), ("2Gi", 2**31)],
)
def test_quantity(text: str, size: int) -> None:
    assert quantities.quantity_bytes(text) == size


@pytest.mark.parametrize("text", ["", "Mi", "1.5Gi", "-1", "1 Gi", "1KB", "0KB", "007", "00Gi", "1000000Ti", "9" * 16])
def test_quantity_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        quantities.quantity_bytes(text)


@given(st.lists(st.integers(min_value=0, max_value=10**12), max_size=20))
def test_seconds_add_up_exactly(parts: list[int]) -> None:
    texts = [quantities.seconds_text(part) for part in parts]
    assert sum(quantities.seconds_milliseconds(text) for text in texts) == sum(parts)


@pytest.mark.parametrize(
    ("milliseconds", "hours"),
    [(0, "0.0000"), (3_600_000, "1.0000"), (4_332_000, "1.2033"), (180, "0.0001"), (179, "0.0000")],
)
def test_hours_round_half_up(milliseconds: int, hours: str) -> None:
    assert quantities.hours_text(milliseconds) == hours


@given(st.from_regex(QUANTITY_PATTERN, fullmatch=True))
def test_every_quantity_leaves_room_in_64_bits(text: str) -> None:
    assert 0 <= quantities.quantity_bytes(text) <= MAX_SIZE_BYTES < 2**62


SIZES: TypeAdapter[str] = TypeAdapter(Size)


@given(st.from_regex(SIZE_PATTERN, fullmatch=True))
def test_every_size_leaves_room_in_64_bits(text: str) -> None:
    assert 1 <= quantities.quantity_bytes(SIZES.validate_python(text)) <= MAX_SIZE_BYTES < 2**62


@pytest.mark.parametrize("size", [1, 10**15 - 1, "1", "1048576Ki", "200Mi", "20Gi", "999999T", "999999Ti"])
def test_sizes_that_people_write(size: object) -> None:
    assert SIZES.validate_python(size) == str(size)


@pytest.mark.parametrize("size", [0, -1, 10**15, "0Gi", "1000000Ti", "999999999999999Ti", "1Pi", "01"])
def test_sizes_out_of_bounds(size: object) -> None:
    with pytest.raises(ValidationError):
        SIZES.validate_python(size)
