"""As which Mac a chain was archived last."""

from __future__ import annotations

import pytest

from voxfleet_operator.ledger_archive import ArchiveBusy
from voxfleet_operator.reconcile.statement.archived_chains import KEPT, ArchivedChains


def test_a_chain_is_elsewhere_for_every_other_name() -> None:
    chains = ArchivedChains()
    assert chains.elsewhere("key", "chain", "mac-b") is None
    with chains.archiving("key", "chain", "mac-a", "2026-11"):
        pass
    assert chains.elsewhere("key", "chain", "mac-a") is None
    assert chains.elsewhere("key", "chain", "mac-b") == ("mac-a", "2026-11")
    assert chains.elsewhere("another key", "chain", "mac-b") is None


def test_nobody_writes_a_chain_that_is_being_written() -> None:
    chains = ArchivedChains()
    with chains.archiving("key", "chain", "mac-a", "2026-11"), pytest.raises(ArchiveBusy):
        chains.elsewhere("key", "chain", "mac-b")


def test_a_write_that_fails_may_have_happened() -> None:
    chains = ArchivedChains()
    with pytest.raises(OSError, match="full"), chains.archiving("key", "chain", "mac-a", "2026-11"):
        raise OSError("full")
    assert chains.elsewhere("key", "chain", "mac-b") == ("mac-a", "2026-11")


def test_the_newest_chains_are_kept() -> None:
    chains = ArchivedChains()
    for number in range(KEPT + 1):
        with chains.archiving("key", f"chain-{number}", "mac-a", "2026-11"):
            pass
    assert chains.elsewhere("key", "chain-0", "mac-b") is None
    assert chains.elsewhere("key", "chain-1", "mac-b") == ("mac-a", "2026-11")
