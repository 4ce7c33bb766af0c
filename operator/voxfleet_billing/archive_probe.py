"""Whether a store keeps its word that an object is created and never overwritten.

Of two leaders that write the same revision of an index one has to fail. A server that ignores `If-None-Match` lets the
second overwrite the first, and rows would be lost that a statement counts.
"""

from __future__ import annotations

from voxfleet_billing.archive_access import ArchiveError, ArchiveStore

PROBE = "create-once.probe"
"""It stays: keys may not be allowed to delete."""


class OverwritesObjects(ArchiveError):
    """Nothing may be archived there."""


def check_creates_once(store: ArchiveStore) -> None:
    """Creates the same object twice. Raises OverwritesObjects, and ArchiveError if the store does not answer."""
    store.create(PROBE, b"first\n")
    if store.create(PROBE, b"second\n"):
        raise OverwritesObjects(
            f"{store.uri}/{PROBE}: was overwritten although it was to be created only (If-None-Match: *). Of two"
            " operators one could undo what the other has archived: choose a server that refuses this with HTTP 412, as"
            " Amazon's and versitygw do, or an archive on a volume"
        )
