"""Objects as people write them."""

from __future__ import annotations

from typing import Any

LEASE_SECONDS = 30


def contract(**spec: object) -> dict[str, Any]:
    sound = {"containers": ["wav"], "sampleRatesHz": [16000], "channels": [1]}
    return {
        "kind": "VoiceContract",
        "metadata": {"name": "contract", "namespace": "team"},
        "spec": {"input": sound, **spec},
    }


LEDGER_KEY = "A" * 43 + "="


def job_body(name: str = "job", **spec: object) -> dict[str, Any]:
    body = {
        "contractRef": {"name": "contract"},
        "model": {"builtin": {"name": "commands"}},
        "input": {"prefix": {"uri": "file:///data/in/"}},
        "output": {"uri": "file:///data/out/"},
        **spec,
    }
    return {"kind": "AudioBatchJob", "metadata": {"name": name, "namespace": "team"}, "spec": body}


def mac_agent(name: str, **spec: object) -> dict[str, Any]:
    body = {
        "ssh": {
            "host": "127.0.0.1",
            "user": "voxfleet",
            "hostKeys": ["ssh-ed25519 " + "A" * 68],
            "identitySecretRef": {"name": "fleet", "key": "id"},
        },
        "tokenSecretRef": {"name": name, "key": "token"},
        "ledgerPublicKey": LEDGER_KEY,
        "access": [{"namespaceSelector": {}, "uriPrefixes": ["file:///data/"]}],
        "disconnect": {"lostAfter": f"{LEASE_SECONDS}s"},
        **spec,
    }
    return {"kind": "MacAgent", "metadata": {"name": name}, "spec": body}
