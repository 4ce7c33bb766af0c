"""No endpoint's clients take the places of another's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from voxfleet_gateway.call_places import FREE_SHARE, CallPlaces

ENDPOINTS = ("a", "b", "c")


def test_one_endpoint_alone_has_three_quarters_and_the_next_one_some_of_the_rest() -> None:
    places = CallPlaces(256)
    assert sum(places.take("a") for _ in range(300)) == 192
    assert sum(places.take("b") for _ in range(300)) == 48
    places.leave("a")
    assert places.take("a") or places.take("b")


@given(st.integers(1, 40), st.lists(st.tuples(st.booleans(), st.sampled_from(ENDPOINTS)), max_size=200))
def test_never_more_than_there_are_and_an_endpoint_without_a_call_gets_one_while_any_is_free(
    max_calls: int, steps: list[tuple[bool, str]]
) -> None:
    places, taken = CallPlaces(max_calls), dict.fromkeys(ENDPOINTS, 0)
    for takes, endpoint in steps:
        free = max_calls - sum(taken.values())
        if takes:
            was_taken = places.take(endpoint)
            assert was_taken == (taken[endpoint] < FREE_SHARE * free)
            taken[endpoint] += was_taken
        elif taken[endpoint]:
            places.leave(endpoint)
            taken[endpoint] -= 1
        assert len(places) == sum(taken.values()) <= max_calls
