"""The token that admits the operator to an agent, and what an agent says that does not let it in. Pure."""

from __future__ import annotations

from pydantic import SecretStr

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds.resource import SecretKeyRef
from voxfleet_operator.fleet.identity import MacRejected, other_control_plane
from voxfleet_operator.fleet.mac_view import AgentRefused


def agent_token(value: bytes, ref: SecretKeyRef) -> SecretStr:
    """Raises MacRejected for what cannot be a token."""
    text = value.strip().decode("ascii", errors="replace")
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise MacRejected(
            Reason.AGENT_TOKEN_REFUSED,
            f"Secret {ref.name}, key {ref.key} is no token; store the agent's tokenFile there",
        )
    return SecretStr(text)


def refused_conversation(refusal: AgentRefused, ref: SecretKeyRef) -> tuple[Reason, str]:
    """Why there is no contact with an agent that refused a call, and what to do."""
    if refusal.status == 401:
        return (
            Reason.AGENT_TOKEN_REFUSED,
            f"the agent refused the token of Secret {ref.name}, key {ref.key}; store the agent's tokenFile there",
        )
    if refusal.status == 403:
        trouble = other_control_plane(refusal.problem.owner)
        return trouble.reason, trouble.message
    return Reason.AGENT_UNREACHABLE, f"the agent answered {refusal}"
