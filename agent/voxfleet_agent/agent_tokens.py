"""The tokens that callers of the agent show: one of the operator, one of those who open sessions."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from voxfleet_agent.config import AgentConfig, ConfigError, read_private_file

LEAST_CHARACTERS = 16


@dataclass(frozen=True, slots=True)
class AgentTokens:
    """What callers prove themselves with."""

    operator: str = field(repr=False)
    session: str | None = field(default=None, repr=False)
    """Of those who open sessions; None: no session is taken."""


def read_tokens(config: AgentConfig) -> AgentTokens:
    """Raises ConfigError, also when the same token would open both doors."""
    operator = _read_token(config.token_file, "tokenFile")
    if config.session_token_file is None:
        return AgentTokens(operator)
    session = _read_token(config.session_token_file, "sessionTokenFile")
    if session == operator:
        raise ConfigError(
            f"sessionTokenFile: {config.session_token_file} holds the token of tokenFile; write another one, because"
            " who has it may open sessions and nothing else"
        )
    return AgentTokens(operator, session)


def _read_token(file: Path, field_name: str) -> str:
    token = read_private_file(file, field_name).decode("ascii", errors="replace").strip()
    if len(token) < LEAST_CHARACTERS:
        raise ConfigError(f"{field_name}: {file} holds no token of at least {LEAST_CHARACTERS} characters")
    return token
