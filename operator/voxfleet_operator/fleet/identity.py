"""Checks that an agent is on the Mac that was enrolled and serves this control plane. Pure."""

from __future__ import annotations

import base64
import binascii

from cryptography.exceptions import InvalidSignature

from voxfleet_api.conditions import Reason
from voxfleet_api.digest import canonical_json
from voxfleet_api.ledger import IDENTITY_CONTEXT, public_key
from voxfleet_api.protocol import Identity, identity_claim


class MacRejected(Exception):
    """A Mac that must not be connected: a reason for its condition, and a message that says what to do."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def check_identity(identity: Identity, *, nonce: str, pinned_key: str, control_plane: str) -> None:
    """Raises MacRejected if `pinned_key` did not sign this nonce, or if the agent serves another cluster."""
    advice = "nothing secret was sent. spec.ledgerPublicKey must be the key that `voxfleet-agent init` printed there"
    if identity.public_key != pinned_key:
        raise MacRejected(
            Reason.IDENTITY_MISMATCH, f"the agent has ledger key {identity.public_key:.44}, not {pinned_key}; {advice}"
        )
    try:
        public_key(pinned_key).verify(
            base64.b64decode(identity.signature, validate=True),
            IDENTITY_CONTEXT + canonical_json(identity_claim(identity)),
        )
    except (InvalidSignature, binascii.Error, ValueError) as error:
        raise MacRejected(Reason.IDENTITY_MISMATCH, f"the agent did not prove its ledger key; {advice}") from error
    if identity.nonce != nonce:
        raise MacRejected(Reason.IDENTITY_MISMATCH, f"the agent repeated an old proof; {advice}")
    if identity.control_plane not in (None, control_plane):
        raise other_control_plane(identity.control_plane)


def other_control_plane(owner: str | None) -> MacRejected:
    return MacRejected(
        Reason.OTHER_CONTROL_PLANE,
        f"the agent serves control plane {owner or 'unknown'} (the UID of its kube-system namespace);"
        " delete the MacAgent here or there",
    )


def duplicate_machine(twin: str) -> MacRejected:
    return MacRejected(
        Reason.DUPLICATE_MACHINE,
        f"MacAgent {twin}, which is older, names the same machine or ledger key; delete one of the two",
    )
