"""Until when an order holds, on the clock of an agent that only its answers tell of."""

from __future__ import annotations

from voxfleet_api.order_age import ClockReading
from voxfleet_operator.fleet.agent_clock import AgentClock


def test_an_order_holds_for_some_time_from_now_on_the_agents_clock() -> None:
    clock = AgentClock()
    clock.answered("boot-1 50000", 1000.0)
    assert clock.good_until(20.0, 1000.0) == ClockReading("boot-1", 70_000)
    assert clock.good_until(20.0, 1007.5) == ClockReading("boot-1", 77_500)
    clock.answered("boot-2 10", 1010.0)
    assert clock.good_until(1.0, 1010.0) == ClockReading("boot-2", 1010)


def test_an_agent_without_a_clock_is_sent_no_time() -> None:
    clock = AgentClock()
    for header in (None, "", "50000", "boot x", "boot " + "9" * 16, "boot 1\r\nmore: 2"):
        clock.answered(header, 0.0)
        assert clock.good_until(20.0, 0.0) is None


def test_what_cannot_be_read_leaves_what_is_known() -> None:
    clock = AgentClock()
    clock.answered("boot-1 0", 0.0)
    clock.answered("garbage", 5.0)
    assert clock.good_until(1.0, 5.0) == ClockReading("boot-1", 6000)


def test_a_time_is_over_once_it_has_passed_or_its_mac_has_started_anew() -> None:
    time = ClockReading("boot-1", 5)
    assert not time.is_over(ClockReading("boot-1", 5)) and time.is_over(ClockReading("boot-1", 6))
    assert time.is_over(ClockReading("boot-2", 0))
