"""Which cached models are evicted."""

from __future__ import annotations

import pytest

from voxfleet_agent.models.model_cache import CachedModel, choose_evictions
from voxfleet_api.failures import FailureClass, VoxFleetError


def model(name: str, size_bytes: int, last_used_seconds: float, *, in_use: bool = False) -> CachedModel:
    return CachedModel(name, size_bytes, last_used_seconds, in_use)


OLD, NEW, USED = model("old", 40, 1), model("new", 30, 3), model("used", 20, 0, in_use=True)


@pytest.mark.parametrize(
    ("cached", "needed_bytes", "evicted"),
    [
        pytest.param((), 100, (), id="empty"),
        pytest.param((OLD, NEW), 30, (), id="fits exactly"),
        pytest.param((OLD, NEW), 31, ("old",), id="one byte too many"),
        pytest.param((NEW, OLD), 70, ("old",), id="the order of the list does not matter"),
        pytest.param((OLD, NEW), 71, ("old", "new"), id="the newer one follows"),
        pytest.param((OLD, NEW, USED), 50, ("old",), id="in use stays, although it is the oldest"),
        pytest.param((OLD, NEW, USED), 80, ("old", "new"), id="all but what is in use"),
        pytest.param((model("b", 10, 5), model("a", 95, 5)), 0, ("a",), id="over the quota already; ties by name"),
    ],
)
def test_the_least_recently_used_are_evicted_first(
    cached: tuple[CachedModel, ...], needed_bytes: int, evicted: tuple[str, ...]
) -> None:
    assert choose_evictions(cached, needed_bytes, 100) == evicted


def test_a_model_larger_than_the_quota_is_refused_with_the_arithmetic() -> None:
    with pytest.raises(VoxFleetError) as caught:
        choose_evictions((OLD,), 130, 100)
    assert caught.value.failure_class is FailureClass.MODEL_UNAVAILABLE
    assert all(number in caught.value.message for number in ("130 bytes", "is 100", "30 too few"))


def test_models_in_use_that_fill_the_cache_exhaust_scratch() -> None:
    with pytest.raises(VoxFleetError) as caught:
        choose_evictions((OLD, USED), 90, 100)
    assert caught.value.failure_class is FailureClass.SCRATCH_EXHAUSTED
    assert all(number in caught.value.message for number in ("needs 90", "20 are in use", "is 100: 10 too few"))
