"""Checks the files that the agent needs to start: its tokens, its ledger key, and certificates to trust."""

from __future__ import annotations

from collections.abc import Callable

from voxfleet_agent.agent_tokens import read_tokens
from voxfleet_agent.config import AgentConfig, ConfigError
from voxfleet_agent.doctor.finding import Finding, fail, ok, warn
from voxfleet_agent.ledger import load_key
from voxfleet_api.pools import PoolKind


def check_secrets(config: AgentConfig) -> list[Finding]:
    """Reads the files as the agent does when it starts."""
    findings = [
        _check(
            "tokens",
            lambda: read_tokens(config),
            "delete it and run voxfleet-agent init --config FILE, which makes another",
        ),
        _check(
            "ledger key",
            lambda: load_key(config.ledger_key_file),
            "put the key back from your backup; voxfleet-agent init --config FILE makes another where there is"
            " none, which the MacAgent's ledgerPublicKey must then name",
        ),
    ]
    if config.session_token_file is None and any(pool.kind is PoolKind.INTERACTIVE for pool in config.pools):
        findings.append(
            warn(
                "session token",
                "there is an Interactive pool and no sessionTokenFile: the agent takes no session of an endpoint",
                "name a file in sessionTokenFile, and run voxfleet-agent init --config FILE",
            )
        )
    if config.https.ca_bundle is not None:
        findings.append(_check("certificates", lambda: _read_bundle(config), "correct https.caBundle, or its file"))
    return findings


def _check(name: str, read: Callable[[], object], mend: str) -> Finding:
    try:
        read()
    except ConfigError as error:
        what, _, own = str(error).partition("; ")
        return fail(name, what, own or mend)
    return ok(name, "can be read")


def _read_bundle(config: AgentConfig) -> None:
    file = config.https.ca_bundle
    try:
        if file is not None and b"BEGIN CERTIFICATE" not in file.read_bytes():
            raise ConfigError(f"https.caBundle: {file} holds no certificate in PEM form")
    except OSError as error:
        raise ConfigError(f"https.caBundle: {file}: {error.strerror}") from error
