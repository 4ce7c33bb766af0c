"""What is believed of the numbers in an agent's refusal. Pure.

An agent is another program on another machine: a number of its own must neither stop the operator nor drive it.
"""

from __future__ import annotations

from voxfleet_api.conditions import Reason
from voxfleet_operator.fleet.identity import MacRejected

SHORTEST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 1.0, 600.0
LARGEST_EPOCH_STEP = 1_000_000
"""An agent has seen a later epoch than ours if the Lease was deleted or restored; each change of leader adds one."""
LARGEST_EPOCH = 2**30
"""The Lease counts to 2^31 - 1. Leaders that follow need the other half."""


def retry_after_seconds(header: str) -> float | None:
    """None if it is no number of seconds."""
    if not (header.isascii() and header.isdecimal()):
        return None
    return min(max(float(header[:9]), SHORTEST_RETRY_SECONDS), LONGEST_RETRY_SECONDS)


def check_held_epoch(held: int | None, sent: int) -> int:
    """Returns the epoch that an agent holds, by which it refused `sent`. Raises MacRejected if it cannot be."""
    if held is not None and sent < held <= min(sent + LARGEST_EPOCH_STEP, LARGEST_EPOCH):
        return held
    said = "none" if held is None else str(held)[:20]
    raise MacRejected(
        Reason.EPOCH_NOT_BELIEVED,
        f"the agent refused epoch {sent} and names {said} as the one that it holds, which no operator has had; restart"
        " it with the right journal, or enrol this Mac anew. Nothing is placed on it",
    )
