"""A key for the clients of endpoints, whose hash is all that the cluster gets to see."""

from __future__ import annotations

import hashlib
import secrets

KEYS_SECRET = "speech-keys"


class ClientKey:
    def __init__(self, client: str = "demo") -> None:
        """`client`: whose it is."""
        self.client = client
        self.text = secrets.token_urlsafe(32)

    def secret_manifest(self, namespace: str) -> dict[str, object]:
        """KEYS_SECRET, which `spec.auth.keysSecretRef` of endpoints in the namespace may name."""
        digest = hashlib.sha256(self.text.encode()).hexdigest()
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": KEYS_SECRET, "namespace": namespace},
            "stringData": {self.client: f"sha256:{digest}"},
        }
