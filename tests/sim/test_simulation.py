"""A handful of seeds of `make sim`, and that a seed is a whole run."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest
from tests.sim.known import KNOWN, known_as
from tests.sim.mends import FOUND_BY, MENDS
from tests.sim.nights import Nights
from tests.sim.scenario import scenario
from tests.sim.simulate import simulate
from tests.sim.virtual_loop import PROCESS, Process, Stuck, VirtualLoop

from voxfleet_operator.events import EventRecorder

REPOSITORY = Path(__file__).resolve().parents[2]


HANDFUL = range(1, 9)


def sim(*options: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, as the order of sets is part of a run."""
    command = [sys.executable, "tests/sim/run.py", *options]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def replay(*seeds: int) -> subprocess.CompletedProcess[str]:
    return sim("--seed", *map(str, seeds))


def test_a_handful_of_seeds_breaks_nothing_new_and_known_faults_are_still_there() -> None:
    """An entry goes out of known.py together with its mend."""
    done = replay(*HANDFUL, *(known.seed for known in KNOWN))
    assert done.returncode == 0, done.stdout + done.stderr
    runs = {int(text.split(":")[0]): text for text in done.stdout.split("seed ") if "Scenario(" in text}
    gone = [known.name for known in KNOWN if f"(known: {known.name})" not in runs[known.seed]]
    assert gone == []


@pytest.mark.parametrize(
    ("what", "seed"),
    [
        ("a Mac is shown as drained only once it works on nothing", 8044),
        ("an estimate is in its statement, though the write failed and the job is gone", 10105),
        ("a machine that gets another name brings no row into the archive again", 11299),
        ("a job that ends after its Mac is gone waits for no row", 12144),
    ],
)
def test_what_ten_thousand_seeds_have_found_is_mended(what: str, seed: int) -> None:
    done = replay(seed)
    assert done.returncode == 0, f"{what}: {done.stdout}{done.stderr}"


def test_a_quiet_world_runs_each_attempt_once() -> None:
    outcome = simulate(2, plan=scenario(2).without_faults())
    assert [violation for violation in outcome.violations if known_as(violation) is None] == []
    assert not {edge for edge in outcome.edges if edge.startswith(("fault.", "network.", "api.lost", "attempt L"))}


def test_a_failing_seed_replays_exactly() -> None:
    """A seed is the whole run, in another process, too."""
    name, seed = next(iter(FOUND_BY.items()))
    one, other = (sim("--without", name, "--first-seed", str(seed), "--seeds", "1", "--trace") for _ in range(2))
    assert one.returncode == 0 and one.stdout == other.stdout
    assert "leads with epoch" in one.stdout and f"seed {seed}, after 1 seeds: " in one.stdout


def test_a_seed_is_the_same_run_whatever_people_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or each new event would ask for new seeds of the mends. In this one a replica dies after a number of steps."""
    told = simulate(70, traced=True)
    monkeypatch.setattr(EventRecorder, "publish", lambda *_: None)
    untold = simulate(70, traced=True)
    assert any(edge.startswith("event ") for edge in told.edges.keys() - untold.edges.keys())
    assert (told.trace, told.virtual_seconds) == (untold.trace, untold.virtual_seconds)


def test_each_mend_that_is_taken_back_is_found_by_its_seed() -> None:
    assert FOUND_BY.keys() == MENDS.keys()
    done = sim("--mends")
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_table_grows_night_after_night() -> None:
    done = sim("--nights", "4", "--macs", "2")
    assert done.returncode == 0 and "broken: " not in done.stdout, done.stdout + done.stderr
    assert "4 nights, 2 Macs, 16 jobs" in done.stdout and done.stdout.count("0.000  ") > 30


def test_a_table_that_grows_is_named() -> None:
    mornings = [{"Cache.AudioShard": 5, "Left.behind": 2 * night, "Cache._gone": 20_000} for night in range(6)]
    found = Nights(mornings, (), jobs=24)
    assert found.slopes() == {"Cache.AudioShard": 0.0, "Left.behind": 2.0, "Cache._gone": 0.0}
    assert found.growing() == [
        "Cache._gone holds 20000, and should hold at most 10000",
        "Left.behind grows by 2.00 a night to 10",
    ]


def run(main: object) -> None:
    loop = VirtualLoop()
    try:
        loop.run_until_complete(main)  # type: ignore[arg-type] # a coroutine
    finally:
        loop.close()


def test_virtual_time_jumps_to_the_next_timer() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        await asyncio.gather(asyncio.sleep(3600), asyncio.sleep(7200))
        assert loop.time() == 7200

    run(main())


def test_a_loop_in_which_nothing_can_happen_says_so() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Stuck):
        run(main())


@pytest.mark.parametrize("seconds", [0.0, 1e-9])
def test_a_hot_loop_is_found(seconds: float) -> None:
    async def main() -> None:
        for _ in count():
            await asyncio.sleep(seconds)

    with pytest.raises(Stuck, match="a hot loop"):
        run(main())


def test_a_process_pauses_and_dies_at_any_await() -> None:
    async def main() -> None:
        loop, ticks, process = asyncio.get_running_loop(), [], Process("one")

        async def tick() -> None:
            assert PROCESS.get() is process
            while True:
                await asyncio.sleep(1)
                ticks.append(loop.time())

        task = process.spawn(tick())
        await asyncio.sleep(2.5)
        process.pause()
        await asyncio.sleep(10)
        assert ticks == [1, 2]
        process.resume()
        await asyncio.sleep(1.7)
        assert ticks == [1, 2, 12.5, 13.5]
        process.on_step, process.watched_step = process.kill, process.steps + 1
        await asyncio.sleep(5)
        assert ticks == [1, 2, 12.5, 13.5] and task.cancelled() and not process.tasks

    run(main())
