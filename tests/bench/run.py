"""Measures VoxFleet and its peers on this machine; writes .bench/results.json.

Everything is measured one thing after the other, so leave the machine alone meanwhile. Clips are made once.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT)  # a script's own folder comes first otherwise, and `tests` is not found

from rich.console import Console  # noqa: E402
from tests.bench.agent_figures import memory_figures, overhead_figures  # noqa: E402
from tests.bench.bill_figures import bill_figures  # noqa: E402
from tests.bench.clips import Pool, make_pool  # noqa: E402
from tests.bench.decode_figures import decode_figures  # noqa: E402
from tests.bench.endpoint_figures import CALLS, endpoint_figures  # noqa: E402
from tests.bench.failover_figures import failover_figures  # noqa: E402
from tests.bench.failure import MeasurementFailed  # noqa: E402
from tests.bench.fault_figures import fault_figures  # noqa: E402
from tests.bench.fleet_figures import two_mac_figures  # noqa: E402
from tests.bench.hostile_figures import hostile_figures  # noqa: E402
from tests.bench.lane_figures import LaneBench, footprint_figures, ladder_figures, set_blas  # noqa: E402
from tests.bench.neighbour_figures import neighbour_figures  # noqa: E402
from tests.bench.partition_figures import partition_figures  # noqa: E402
from tests.bench.pass_figures import pass_figures  # noqa: E402
from tests.bench.peer_figures import peer_figures  # noqa: E402
from tests.bench.peer_rig import PEER_SERVERS  # noqa: E402
from tests.bench.placement_figures import placement_figures  # noqa: E402
from tests.bench.report import Figure, show, write  # noqa: E402
from tests.bench.scale_figures import scale_figures  # noqa: E402
from tests.bench.session_figures import SESSIONS, session_figures  # noqa: E402
from tests.bench.slo_figures import slo_figures  # noqa: E402
from tests.bench.socket_figures import socket_figures  # noqa: E402
from tests.bench.throughput_figures import throughput_figures  # noqa: E402
from tests.bench.upstream_figures import upstream_figures  # noqa: E402
from tests.bench.versions import versions  # noqa: E402
from tests.bench.whisper_figures import whisper_figures  # noqa: E402
from tests.bench.whisper_memory import whisper_memory_figures  # noqa: E402
from tests.rig.fake_fleet.fleet import NotInTime  # noqa: E402

from make_clips import ClipToolError  # noqa: E402
from voxfleet_agent.config import PoolConfig  # noqa: E402
from voxfleet_agent.models.resolved_model import ResolvedModel  # noqa: E402
from voxfleet_api.failures import VoxFleetError  # noqa: E402
from voxfleet_dev.controlplane import KubectlFailed  # noqa: E402
from voxfleet_dev.go_build import BuildFailed  # noqa: E402
from voxfleet_dev.processes import ChildFailed, exit_on_signals  # noqa: E402
from voxfleet_models.whisper_tiny.model import DIGEST, whisper_tiny  # noqa: E402
from voxfleet_packages.fetch import PackageUnavailable  # noqa: E402

BENCH = ROOT / ".bench"
RESULTS = BENCH / "results.json"
POOL_CLIPS = 400
DECODED_CLIPS = 160
TABLE_WIDTH = 240
"""Of a file, where lines are better long than broken."""

PARTS = (
    *("fleet", "decode", "ladder", "throughput", "overhead", "footprint", "memory", "faults"),
    *("failover", "whisper", "whisper-memory", "scale", "neighbours", "placement", "passes", "bill"),
    *("sockets", "sessions", "hostile", "partition", "slo", "endpoint", "upstream", "peer"),
)
_NOT_MEASURED = (
    *(MeasurementFailed, NotInTime, PackageUnavailable, ChildFailed, KubectlFailed, VoxFleetError),
    OSError,  # a server went away
)

console = Console(highlight=False, width=None if sys.stdout.isatty() else TABLE_WIDTH)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="make bench",
        description=__doc__,
        epilog="Exit status: 0 when all was measured, whether goals hold or not; 1 when something was not.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--clips", type=int, default=1000, metavar="N", help="clips of the large job (default: 1000, the goal's size)"
    )
    parser.add_argument(
        "--calls", type=int, default=CALLS, metavar="N", help=f"calls of an endpoint each time (default: {CALLS})"
    )
    parser.add_argument(
        "--only", action="append", choices=PARTS, metavar="PART", help=f"measure this part alone: {', '.join(PARTS)}"
    )
    parser.add_argument(
        "--whole-whisper-memory",
        action="store_true",
        help="let whisper-memory run for half an hour, over 500 lengths (default: two minutes)",
    )
    options = parser.parse_args(arguments)
    if options.clips < 1 or options.calls < 1:
        parser.error("--clips and --calls must be at least 1")
    exit_on_signals()
    try:
        return measure(options.clips, options.calls, options.whole_whisper_memory, options.only or PARTS)
    except KeyboardInterrupt:
        console.print("Interrupted: everything that the benchmark started has been stopped.")
        return 130
    except (BuildFailed, ClipToolError) as error:
        console.print(str(error), style="red", markup=False)
        return 1


def measure(clips: int, calls: int, whole_whisper_memory: bool, chosen: Sequence[str]) -> int:
    shutil.rmtree(BENCH / "run", ignore_errors=True)
    RESULTS.unlink(missing_ok=True)
    set_blas()
    found = versions(PEER_SERVERS if "peer" in chosen else ())
    bench = _Bench(clips, calls, whole_whisper_memory)
    parts = dict(zip(PARTS, bench.parts(), strict=True))
    figures: list[Figure] = []
    complete = True
    for name, part in parts.items():
        if name not in chosen:
            continue
        try:
            figures += part()
        except _NOT_MEASURED as error:
            complete = False
            console.print(f"not measured: {name}: {error}", style="red", markup=False)
    write(RESULTS, figures, found)
    show(console, figures, found)
    _say(f"written to {RESULTS}")
    return 0 if complete else 1


class _Bench:
    """What is measured; the ladder's batch size is the lane's, and without a ladder that of an agent's pool."""

    def __init__(self, clips: int, calls: int, whole_whisper_memory: bool) -> None:
        self._clips = clips
        self._calls = calls
        self._whole_whisper_memory = whole_whisper_memory
        self._batch_size = PoolConfig(name="offline").batch_size

    @cached_property
    def _pool(self) -> Pool:
        _say(f"{POOL_CLIPS} clips in {BENCH / 'clips'} (made when missing)")
        return make_pool(BENCH / "clips", POOL_CLIPS)

    def parts(self) -> tuple[Callable[[], list[Figure]], ...]:
        """In the order of PARTS."""
        return (
            *(self.fleet, self.decode, self.ladder, self.throughput),
            *(self.overhead, self.footprint, self.memory, self.faults),
            *(self.failover, self.whisper, self.whisper_memory, self.scale, self.neighbours),
            *(self.placement, self.passes, self.bill, self.sockets, self.sessions, self.hostile, self.partition),
            *(self.slo, self.endpoint, self.upstream, self.peer),
        )

    def fleet(self) -> list[Figure]:
        return two_mac_figures(BENCH / "run" / "pair", self._pool, self._clips, _say)

    def decode(self) -> list[Figure]:
        return decode_figures(self._pool.first(DECODED_CLIPS), _say)

    def ladder(self) -> list[Figure]:
        figures, self._batch_size = ladder_figures(LaneBench(BENCH / "run" / "ladder"), self._pool, console)
        return figures

    def throughput(self) -> list[Figure]:
        return throughput_figures(BENCH / "run", self._pool, self._batch_size, _say)

    def overhead(self) -> list[Figure]:
        return overhead_figures(BENCH / "run" / "overhead", _say)

    def footprint(self) -> list[Figure]:
        return footprint_figures(LaneBench(BENCH / "run" / "footprint"), _say)

    def memory(self) -> list[Figure]:
        return memory_figures(BENCH / "run" / "memory", _say)

    def faults(self) -> list[Figure]:
        return fault_figures(BENCH / "run" / "faults", _say)

    def failover(self) -> list[Figure]:
        return failover_figures(BENCH / "run" / "failover", self._pool, _say)

    def whisper(self) -> list[Figure]:
        return whisper_figures(BENCH / "run" / "whisper", whisper_tiny(), _say)

    def whisper_memory(self) -> list[Figure]:
        model = ResolvedModel(whisper_tiny(), DIGEST)
        return whisper_memory_figures(BENCH / "run" / "whisper-memory", model, self._whole_whisper_memory, _say)

    def sockets(self) -> list[Figure]:
        return socket_figures(BENCH / "run" / "sockets", _say)

    def sessions(self) -> list[Figure]:
        return session_figures(BENCH / "run" / "sessions", SESSIONS, _say)

    def hostile(self) -> list[Figure]:
        return hostile_figures(BENCH / "run" / "hostile", _say)

    def partition(self) -> list[Figure]:
        return partition_figures(BENCH / "run" / "partition", _say)

    def slo(self) -> list[Figure]:
        return slo_figures(BENCH / "run" / "slo", _say)

    def placement(self) -> list[Figure]:
        return placement_figures(_say)

    def passes(self) -> list[Figure]:
        return pass_figures(_say)

    def bill(self) -> list[Figure]:
        return bill_figures(BENCH / "bill", _say)

    def endpoint(self) -> list[Figure]:
        return endpoint_figures(BENCH / "run" / "endpoint", self._pool, self._calls, _say)

    def upstream(self) -> list[Figure]:
        return upstream_figures(BENCH / "run" / "upstream", self._pool, _say)

    def scale(self) -> list[Figure]:
        return scale_figures(BENCH / "run" / "scale", _say)

    def neighbours(self) -> list[Figure]:
        return neighbour_figures(BENCH / "run" / "neighbours", _say)

    def peer(self) -> list[Figure]:
        return peer_figures(BENCH / "run" / "peer", _say)


def _say(text: str) -> None:
    console.print(f"bench: {text}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
