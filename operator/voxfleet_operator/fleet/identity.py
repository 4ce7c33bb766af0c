"""Checks that an agent is on the Mac that was enrolled and serves this control plane. Pure."""

from __future__ import annotations

import base64
import binascii
import json

from cryptography.exceptions import InvalidSignature

from voxfleet_api.conditions import Reason
from voxfleet_api.digest import canonical_json
from voxfleet_api.kinds import MacAgent
from voxfleet_api.ledger import IDENTITY_CONTEXT, public_key
from voxfleet_api.machine_messages import Identity, identity_claim, nonce_for_port


class MacRejected(Exception):
    """A Mac that must not be connected: a reason for its condition, and a message that says what to do."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def nonce_for(mac: MacAgent, unpredictable: str) -> str:
    """What the Mac's agent is to sign. Over HTTPS its certificate says who answers, and its port may be a proxy's."""
    return unpredictable if mac.spec.ssh is None else nonce_for_port(unpredictable, mac.spec.ssh.agent_port)


def check_identity(identity: Identity, *, mac: str, nonce: str, pinned_key: str, control_plane: str) -> None:
    """Raises MacRejected if the MacAgent's `pinned_key` did not sign this nonce, or if the agent serves another
    cluster.
    """
    check_key(identity, mac=mac, nonce=nonce, pinned_key=pinned_key)
    if identity.control_plane not in (None, control_plane):
        raise other_control_plane(identity.control_plane)


def check_key(identity: Identity, *, mac: str, nonce: str, pinned_key: str) -> None:
    """Raises MacRejected if the MacAgent's `pinned_key` did not sign this nonce."""
    proven = _proves(identity, nonce)
    if identity.public_key != pinned_key:
        raise MacRejected(Reason.IDENTITY_MISMATCH, _other_key(identity.public_key, mac, pinned_key, proven=proven))
    if not proven:
        raise MacRejected(
            Reason.IDENTITY_MISMATCH,
            f"the agent did not prove ledger key {pinned_key}, or repeated an old proof; {_NOTHING_SENT}. Find out what"
            " answers there",
        )


def _proves(identity: Identity, nonce: str) -> bool:
    """Whether the agent signed this nonce with the key that it names."""
    try:
        public_key(identity.public_key).verify(
            base64.b64decode(identity.signature, validate=True),
            IDENTITY_CONTEXT + canonical_json(identity_claim(identity)),
        )
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return identity.nonce == nonce


_NOTHING_SENT = "nothing secret was sent, and nothing runs here"


def _other_key(key: str, mac: str, pinned_key: str, *, proven: bool) -> str:
    """Whoever answers chose the key: only what was proven, and so is a key, becomes part of a command to type."""
    if not proven:
        return f"the agent has not ledger key {pinned_key} and proved no other one; {_NOTHING_SENT}"
    patch = json.dumps({"spec": {"ledgerPublicKey": key}})
    return (
        f"the agent has ledger key {key}, not {pinned_key}; {_NOTHING_SENT} until an admin accepts the new key. If this"
        f" Mac was given one (`voxfleet-agent init` printed it there), type: kubectl patch macagent {mac} --type=merge"
        f" -p '{patch}'. It then counts as another machine: what it had before is lost"
    )


def other_control_plane(owner: str | None) -> MacRejected:
    return MacRejected(
        Reason.OTHER_CONTROL_PLANE,
        f"the agent serves control plane {owner or 'unknown'} (the UID of its kube-system namespace), and keeps to it."
        " Delete this MacAgent; or, to move the Mac here, delete the MacAgent there, stop the agent, move its stateDir"
        " away and start it again",
    )


def duplicate_machine(twin: str) -> MacRejected:
    return MacRejected(
        Reason.DUPLICATE_MACHINE,
        f"MacAgent {twin}, which is older, names the same machine or ledger key; delete one of the two",
    )
