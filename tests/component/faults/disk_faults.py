"""A disk that is slow or broken, as some processes and what they start see it: strace delays or fails their calls."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.rig import strace


class FaultyDisk:
    def __init__(self, log: Path) -> None:
        self._log = log

    def met(self) -> int:
        """Calls that were tampered with."""
        return sum(mark in line for line in self._log.read_text().splitlines() for mark in ("(DELAYED)", "(INJECTED)"))


@contextlib.contextmanager
def disk_faults(
    pids: Sequence[int], log: Path, faults: Sequence[str], *, only: Path | None = None
) -> Iterator[FaultyDisk]:
    """`faults`: as strace's `inject` has them, for example `fsync:error=EIO`; `only`: the one file that they are for.

    What the processes start later is troubled too.
    """
    calls = ",".join(fault.partition(":")[0] for fault in faults)
    options = ["-e", f"trace={calls}", "-s", "0", *(part for fault in faults for part in ("-e", f"inject={fault}"))]
    options += [] if only is None else ["-P", str(only)]
    with strace.attached(pids, log, options):
        yield FaultyDisk(log)
