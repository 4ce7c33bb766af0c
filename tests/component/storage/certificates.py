"""A certificate authority for tests, and the server certificate that it signs."""

from __future__ import annotations

import ssl
from pathlib import Path

from voxfleet_dev import certificates

NAMES = ("localhost", "storage.test")


class Authority:
    """`ca_file` is what clients trust; `server_file` holds key and certificate for NAMES and 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        self.ca_file, self.server_file = folder / "ca.pem", folder / "server.pem"
        authority = certificates.Authority("VoxFleet tests")
        server = authority.for_server(*NAMES, "127.0.0.1")
        self.ca_file.write_text(authority.pem)
        self.server_file.write_text(server.key_pem + server.pem)

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server_file)
        return context
