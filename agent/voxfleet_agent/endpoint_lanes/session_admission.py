"""Decides whether a caller may open a session on an endpoint's lane, before the connection is upgraded. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from voxfleet_agent.attempts.admission import Binding, Caller, Refusal, decide_read
from voxfleet_api.endpoint_lanes import LaneState
from voxfleet_api.protocol import Problem

RETRY_AFTER_SECONDS = 1
SOCKETS_OF_A_SESSION = 4
"""Connections that a lane takes for each of its sessions: those that ended stay until their callers close them."""


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """A lane as it is found; `state` None: the endpoint has none of this generation here."""

    state: LaneState | None
    warm: bool
    stopping: bool
    """Whether the agent stops. A Mac that drains keeps its warm lanes until another Mac has one."""
    open_sessions: int
    awaited_sessions: int
    """Connections whose first message has not come."""
    sockets: int
    most_sessions: int


def decide_session_caller(caller: Caller, bound: Binding, *, takes_sessions: bool) -> Refusal | None:
    """`caller`: as its session token says. `takes_sessions`: whether this agent has such a token at all."""
    if not takes_sessions:
        message = "this agent takes no sessions: sessionTokenFile is missing in its file (docs/how-to/add-a-mac.md)"
        return Refusal(403, Problem(message=message))
    if not caller.authenticated:
        return Refusal(401, Problem(message="the bearer token opens no session; see the agent's sessionTokenFile"))
    return decide_read(caller, bound)


def decide_session(facts: SessionFacts) -> Refusal | None:
    """Refuses a session on a lane: 404, 503 or 429."""
    if facts.state is None:
        return Refusal(404, Problem(message="this agent has no such lane; another generation may be on its way"))
    if facts.stopping or facts.state is LaneState.DELETING:
        return Refusal(503, Problem(message="the lane is given back; open a session on another"))
    if facts.state is not LaneState.READY or not facts.warm:
        return Refusal(503, Problem(message="the lane is not warm"), RETRY_AFTER_SECONDS)
    taken = facts.open_sessions + facts.awaited_sessions
    if taken >= facts.most_sessions or facts.sockets >= SOCKETS_OF_A_SESSION * facts.most_sessions:
        return Refusal(429, Problem(message=f"the lane serves {facts.most_sessions} sessions"), RETRY_AFTER_SECONDS)
    return None
