from __future__ import annotations

import pytest

from voxfleet_agent.attempts.leases import LEASED_STATES, Lease, expired, renewable
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.protocol import AttemptState

KEY = AttemptKey("shard", 1)


@pytest.mark.parametrize(("age_seconds", "lapsed"), [(0.0, False), (9.9, False), (10.0, True), (3600.0, True)])
def test_a_lease_expires_its_seconds_after_the_last_renewal(age_seconds: float, lapsed: bool) -> None:
    lease = Lease(KEY, AttemptState.RUNNING, lease_seconds=10, renewed_at_seconds=100.0)
    assert expired([lease], 100.0 + age_seconds) == ([KEY] if lapsed else [])
    assert renewable([lease], 100.0 + age_seconds) == ([] if lapsed else [KEY])


@pytest.mark.parametrize("state", list(AttemptState))
def test_only_attempts_without_an_outcome_need_a_lease(state: AttemptState) -> None:
    lease = Lease(KEY, state, lease_seconds=1, renewed_at_seconds=0.0)
    assert bool(expired([lease], 99.0)) is (state in LEASED_STATES)
    assert bool(renewable([lease], 0.5)) is (state in LEASED_STATES)
    assert {AttemptState.ACCEPTED, AttemptState.RUNNING} == LEASED_STATES


@pytest.mark.parametrize(("now_seconds", "lapsed"), [(103.9, False), (104.0, True), (200.0, True)])
def test_no_lease_lasts_beyond_the_time_at_which_the_mac_stops(now_seconds: float, lapsed: bool) -> None:
    lease = Lease(KEY, AttemptState.RUNNING, lease_seconds=1000, renewed_at_seconds=100.0)
    assert expired([lease], now_seconds, stop_at_seconds=104.0) == ([KEY] if lapsed else [])
    assert renewable([lease], now_seconds, stop_at_seconds=104.0) == ([] if lapsed else [KEY])
