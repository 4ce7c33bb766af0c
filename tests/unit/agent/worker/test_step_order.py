"""Which step of inference comes next."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_agent.worker.step_order import BATCH_STEP, StepKind, WaitingStep, next_step

FINAL = WaitingStep(StepKind.FINAL, 50, 1)
EARLIER_FINAL = WaitingStep(StepKind.FINAL, 40, 2)
FIRST = WaitingStep(StepKind.FIRST_AUDIO, 10, 3)
HUNGRY = WaitingStep(StepKind.NEXT_AUDIO, 100, 4)
FED = WaitingStep(StepKind.NEXT_AUDIO, 9_000, 5)
LISTEN = WaitingStep(StepKind.LISTEN, 1, 6)
PARTIAL = WaitingStep(StepKind.PARTIAL, 2, 7)
EARLIER_PARTIAL = WaitingStep(StepKind.PARTIAL, 1, 8)


@pytest.mark.parametrize(
    ("waiting", "batch", "paused", "expected"),
    [
        ([], False, False, None),
        ([], True, False, BATCH_STEP),
        ([], True, True, None),
        ([PARTIAL], True, False, PARTIAL),
        ([PARTIAL], True, True, PARTIAL),
        ([PARTIAL, EARLIER_PARTIAL], False, False, EARLIER_PARTIAL),
        ([PARTIAL, FINAL], True, False, FINAL),
        ([FINAL, EARLIER_FINAL], False, False, EARLIER_FINAL),
        ([FED, HUNGRY], False, False, HUNGRY),
        ([HUNGRY, FIRST], False, False, FIRST),
        ([FIRST, FINAL], False, False, FINAL),
        ([PARTIAL, LISTEN], False, False, LISTEN),
        ([LISTEN, FED], False, False, FED),
    ],
)
def test_the_order(waiting: list[WaitingStep], batch: bool, paused: bool, expected: WaitingStep | None) -> None:
    assert next_step(waiting, batch_waits=batch, batches_paused=paused) == expected


STEPS = st.lists(
    st.builds(
        WaitingStep,
        st.sampled_from([kind for kind in StepKind if kind is not StepKind.BATCH]),
        st.integers(0, 5),
        st.integers(0, 5),
    ),
    max_size=6,
)


@given(STEPS, st.booleans(), st.booleans())
def test_what_people_wait_for_goes_first_in_whatever_order_it_is_asked(
    waiting: list[WaitingStep], batch: bool, paused: bool
) -> None:
    chosen = next_step(waiting, batch_waits=batch, batches_paused=paused)
    shuffled = list(reversed(waiting))
    assert next_step(shuffled, batch_waits=batch, batches_paused=paused) == chosen
    if waiting:
        assert chosen in waiting
        assert all((chosen.kind, chosen.rank) <= (step.kind, step.rank) for step in waiting)
    else:
        assert chosen == (BATCH_STEP if batch and not paused else None)


@given(STEPS)
def test_a_partial_text_never_goes_before_a_turn_that_has_ended(waiting: list[WaitingStep]) -> None:
    chosen = next_step([*waiting, FINAL, PARTIAL], batch_waits=True, batches_paused=False)
    assert chosen is not None and chosen.kind is StepKind.FINAL
