"""What the memory of a Mac is promised to, and the one rule by which it must fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_api.pools import MemoryClaim, claimed_bytes, claims_text, size_text, usable_memory_bytes
from voxfleet_api.quantities import quantity_bytes

GIB = 2**30


@pytest.mark.parametrize(
    ("memory_bytes", "working_set_bytes", "usable_bytes"),
    [(100 * GIB, None, 85 * GIB), (100 * GIB, 75 * GIB, 75 * GIB), (100 * GIB, 90 * GIB, 85 * GIB)],
)
def test_the_system_keeps_its_share_and_the_gpu_its_limit(
    memory_bytes: int, working_set_bytes: int | None, usable_bytes: int
) -> None:
    assert usable_memory_bytes(memory_bytes, working_set_bytes) == usable_bytes


def test_the_sum_is_written_out() -> None:
    claims = [MemoryClaim("night", "24Gi", 24 * GIB, 2), MemoryClaim("text-llm", "20Gi", 20 * GIB)]
    assert claims_text(claims) == "2 x 24Gi (night) + 20Gi (reserved: text-llm) = 69632 MiB"
    assert claimed_bytes(claims) == 68 * GIB


@given(st.integers(0, 10**15 - 1))
def test_a_size_is_written_as_people_may_write_it(size_bytes: int) -> None:
    assert quantity_bytes(size_text(size_bytes)) == size_bytes
