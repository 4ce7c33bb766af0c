"""`make sim`: the whole control plane on a virtual clock, one seed a run, each held against the invariants.

python tests/sim/run.py [--seeds 10000] [--first-seed 1] [--at-a-time 2] [--again]
python tests/sim/run.py --seed 123 [124 …] [--trace]
python tests/sim/run.py --without MEND | --mends
python tests/sim/run.py --nights 365 [--macs 20]

Writes .sim/results.jsonl as it goes and takes up where an earlier call with the same code was stopped. Ends with 1 when
an invariant was broken in a way that known.py does not list, or when 1,000 seeds left an edge untaken.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), *(str(REPOSITORY / folder) for folder in ("hack", "agent", "operator", "crds"))]

from tests.sim.edges import FULL_SEEDS, never_taken  # noqa: E402 - this is a program: it finds its own packages
from tests.sim.known import KNOWN, known_as  # noqa: E402
from tests.sim.mends import FOUND_BY, MENDS, without  # noqa: E402
from tests.sim.nights import live_nights  # noqa: E402
from tests.sim.scenario import scenario  # noqa: E402
from tests.sim.simulate import simulate  # noqa: E402
from tests.sim.tables import GROWING_BY_DESIGN  # noqa: E402

RESULTS = REPOSITORY / ".sim" / "results.jsonl"
CHUNK_SEEDS = 25
SHOWN = 20


@dataclass
class Total:
    seeds: int = 0
    edges: Counter[str] = field(default_factory=Counter)
    broken: dict[int, list[str]] = field(default_factory=dict)
    known: dict[str, list[int]] = field(default_factory=dict)
    """The seeds that show each known fault."""
    virtual_seconds: float = 0.0

    def entry(self) -> dict[str, object]:
        return {
            "seeds": self.seeds,
            "edges": self.edges,
            "broken": self.broken,
            "known": self.known,
            "virtualSeconds": round(self.virtual_seconds),
        }

    def add(self, entry: dict[str, object]) -> None:
        assert isinstance(entry["edges"], dict) and isinstance(entry["broken"], dict)
        assert isinstance(entry["known"], dict) and isinstance(entry["seeds"], int)
        self.seeds += entry["seeds"]
        self.edges.update(entry["edges"])
        self.broken |= {int(seed): list(texts) for seed, texts in entry["broken"].items()}
        for name, seeds in entry["known"].items():
            self.known.setdefault(name, []).extend(seeds)
        self.virtual_seconds += float(str(entry["virtualSeconds"]))


def run_chunk(seeds: range) -> dict[str, object]:
    total = Total()
    for seed in seeds:
        try:
            outcome = simulate(seed)
        except Exception as error:  # noqa: BLE001 # the seed is worth more than the run that it ends
            total.broken[seed] = [f"the simulation itself failed: {error!r}"]
            continue
        total.seeds += 1
        total.edges.update(outcome.edges)
        total.virtual_seconds += outcome.virtual_seconds
        for violation in outcome.violations:
            name = known_as(violation)
            if name is None:
                total.broken.setdefault(seed, []).append(violation)
            elif seed not in total.known.setdefault(name, []):
                total.known[name].append(seed)
    return total.entry()


def code_digest() -> str:
    """Of everything that decides how a seed runs."""
    found = hashlib.sha256()
    for folder in ("operator", "agent", "crds", "tests/sim", "tests/unit/operator/decisions"):
        for file in sorted((REPOSITORY / folder).rglob("*.py")):
            found.update(str(file.relative_to(REPOSITORY)).encode() + b"\0" + file.read_bytes())
    return found.hexdigest()


def chunks(first: int, count: int) -> Iterator[range]:
    for start in range(first, first + count, CHUNK_SEEDS):
        yield range(start, min(start + CHUNK_SEEDS, first + count))


def done_before(digest: str, wanted: Iterable[range]) -> dict[range, dict[str, object]]:
    if not RESULTS.exists():
        return {}
    names = {str(chunk): chunk for chunk in wanted}
    found = {}
    for line in RESULTS.read_text().splitlines():
        entry = json.loads(line)
        if entry["code"] == digest and entry["chunk"] in names:
            found[names[entry["chunk"]]] = entry
    return found


def end_with_parent() -> None:
    """In a process of the pool, which would wait for work for ever once nobody is there to give any."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def run_all(first: int, count: int, at_a_time: int, *, again: bool) -> Total:
    digest, wanted = code_digest(), list(chunks(first, count))
    before = {} if again else done_before(digest, wanted)
    if not before:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text("")
    total = Total()
    for entry in before.values():
        total.add(entry)
    if before:
        print(f"{total.seeds} seeds were run before with this code", flush=True)
    left = [chunk for chunk in wanted if chunk not in before]
    started, last = time.monotonic(), 0.0
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(at_a_time, context, end_with_parent) as pool, RESULTS.open("a") as results:
        pending = {pool.submit(run_chunk, chunk): chunk for chunk in left}
        for done, future in enumerate(as_completed(pending), 1):
            entry = future.result() | {"code": digest, "chunk": str(pending[future])}
            results.write(json.dumps(entry) + "\n")
            results.flush()
            total.add(entry)
            passed = time.monotonic() - started
            if passed - last > 5 or done == len(left):
                last = passed
                rest = passed / done * (len(left) - done)
                print(
                    f"sim: {total.seeds} of {count} seeds, {len(total.broken)} broken, {passed:.0f} s,"
                    f" {rest:.0f} s to go",
                    flush=True,
                )
    return total


def report(total: Total) -> bool:
    """Prints what was found; returns whether all is well."""
    print(f"\n{'times':>10}  edge")
    for edge, times in sorted(total.edges.items()):
        print(f"{times:>10}  {edge}")
    print(f"\n{total.seeds} seeds, {total.virtual_seconds / 3600:.1f} virtual hours")
    for known in KNOWN:
        seeds = sorted(total.known.get(known.name, ()))
        shown = f"{len(seeds)} seeds, the first {seeds[0]}" if seeds else "in no seed"
        if not seeds and total.seeds >= FULL_SEEDS:
            shown += "; is it mended? then take its entry out of known.py"
        print(f"known: {known.name}: {shown}")
    missing = never_taken(total.edges, total.seeds)
    for edge in missing:
        print(f"never taken: {edge}")
    for seed, texts in sorted(total.broken.items())[:SHOWN]:
        print(f"broken: seed {seed}: {'; '.join(texts[:3])}")
    if total.broken:
        print(f'{len(total.broken)} seeds are broken; replay one with make sim SIM_ARGS="--seed N --trace"')
    return not missing and not total.broken


def find_without(name: str, first: int, count: int, *, traced: bool = False) -> bool:
    """Runs seeds without a mend until one shows the fault; returns whether one did."""
    mend = MENDS[name]
    with without(name):
        for seed in range(first, first + count):
            outcome = simulate(seed, traced=traced)
            shown = [violation for violation in outcome.violations if re.match(mend.shows, violation)]
            if shown:
                for line in outcome.trace:
                    print(line)
                print(f"without {name}: seed {seed}, after {seed - first + 1} seeds: {shown[0]}")
                return True
    print(f"without {name}: not found in {count} seeds")
    return False


def check_mends() -> bool:
    """Whether each mend's seed shows the fault without it, and nothing with it."""
    sound = True
    for name, seed in FOUND_BY.items():
        with_it = [violation for violation in simulate(seed).violations if known_as(violation) is None]
        sound &= not with_it and find_without(name, seed, 1)
        for violation in with_it:
            print(f"with {name}: seed {seed}: {violation}")
    return sound


def run_nights(nights: int, macs: int, seed: int) -> bool:
    started = time.monotonic()
    found = live_nights(nights, macs, seed, told=True)
    print(f"\n{'first':>10} {'last':>10} {'slope':>10}  table")
    slopes = found.slopes()
    for name, size in sorted(found.sizes[-1].items()):
        grown = f"{slopes[name]:.3f}" if name in slopes else "-"
        print(f"{found.sizes[0].get(name, 0):>10} {size:>10} {grown:>10}  {name}")
    for name, why in GROWING_BY_DESIGN.items():
        print(f"grows by design: {name}: {why}")
    for text in (*found.growing(), *found.violations):
        print(f"broken: {text}")
    passed = time.monotonic() - started
    print(f"{nights} nights, {macs} Macs, {found.jobs} jobs, {passed:.0f} s")
    return not found.growing() and not found.violations


def replay(seed: int, *, traced: bool) -> bool:
    outcome = simulate(seed, traced=traced)
    print(f"seed {seed}: {scenario(seed)}")
    for line in outcome.trace:
        print(line)
    for violation in outcome.violations:
        name = known_as(violation)
        print(violation if name is None else f"{violation} (known: {name})")
    print(f"seed {seed}: {len(outcome.violations)} violations in {outcome.virtual_seconds:.0f} virtual seconds")
    return all(known_as(violation) for violation in outcome.violations)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10_000)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--at-a-time", type=int, default=2)
    parser.add_argument("--again", action="store_true", help="forget what an earlier call has run")
    parser.add_argument("--seed", type=int, nargs="+", help="run these alone")
    parser.add_argument("--trace", action="store_true", help="with --seed or --without: print what happened")
    parser.add_argument("--without", choices=MENDS, help="take a mend back and run until a seed shows the fault")
    parser.add_argument("--mends", action="store_true", help="check that each mend's own seed shows its fault")
    parser.add_argument("--nights", type=int, help="so many nights on one fleet, and whether any table grows")
    parser.add_argument("--macs", type=int, default=20, help="with --nights: the size of the fleet")
    options = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets of text, in which keys are queued, must be the same in every process.
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})  # noqa: S606
    if options.seed is not None:
        sound = [replay(seed, traced=options.trace) for seed in options.seed]
        return 0 if all(sound) else 1
    if options.without is not None:
        found = find_without(options.without, options.first_seed, options.seeds, traced=options.trace)
        return 0 if found else 1
    if options.mends:
        return 0 if check_mends() else 1
    if options.nights is not None:
        return 0 if run_nights(options.nights, options.macs, options.first_seed) else 1
    return 0 if report(run_all(options.first_seed, options.seeds, options.at_a_time, again=options.again)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
