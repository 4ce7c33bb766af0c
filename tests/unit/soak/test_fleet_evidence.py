"""The fleet's soak loses no evidence: of a run, of the time between two, and of a fleet's end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.soak.findings import Findings
from tests.soak.fleet import runs
from tests.soak.fleet.closing import close_books
from tests.soak.fleet.faults import make_fleet_schedule
from tests.soak.fleet.rig import NotReady
from tests.soak.fleet.session import FleetSession
from tests.soak.fleet.strikes import Seen, Strikes
from tests.soak.results import Outcome

from voxfleet_dev.processes import Child
from voxfleet_operator.leader import LOST_EXIT_CODE

WAIT_SECONDS = 30.0


class LoggingRig:
    """A rig that never gets ready, with what its parts log until the first, the second... look at their logs."""

    shared = clips = Path("/nowhere")
    operators: tuple[()] = ()

    def __init__(self, *tracebacks: str) -> None:
        self._tracebacks = iter([[text] if text else [] for text in tracebacks])

    @property
    def macs(self) -> Any:
        raise NotReady("no Mac")

    def prepare(self, replicas: int) -> None:
        raise NotReady("no Mac")

    def new_tracebacks(self) -> list[str]:
        return next(self._tracebacks)


@pytest.mark.parametrize(
    ("logged", "told"),
    [(("between", ""), ["after the run before: between"]), (("", "while it began"), ["while it began"])],
)
def test_what_is_logged_between_runs_and_while_a_fleet_gets_ready_is_a_finding(
    logged: tuple[str, ...], told: list[str]
) -> None:
    rig: Any = LoggingRig(*logged)
    assert FleetSession(rig, make_fleet_schedule(1)).run().failures == ["NotReady: no Mac", *told]


def test_what_is_logged_while_books_are_closed_is_a_finding() -> None:
    rig: Any = LoggingRig("a traceback")
    assert close_books(rig) == ["the books could not be closed: no Mac", "a traceback"]


@pytest.mark.parametrize("over_at", range(4))
def test_the_books_of_every_sound_fleet_are_closed_once(
    over_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever the time is over: it may pass between any two looks at it."""
    closed: list[Path] = []

    @contextmanager
    def fleet(directory: Path) -> Iterator[Path]:
        directory.mkdir()
        yield directory

    def close(directory: Path) -> list[str]:
        closed.append(directory)
        return []

    monkeypatch.setattr(runs, "FleetRig", fleet)
    monkeypatch.setattr(runs, "run_seed", lambda seed, rig: Outcome(seed, 1.0, [], [], [], Findings()))
    monkeypatch.setattr(runs, "close_books", close)
    over = chain(repeat(False, over_at), repeat(True))
    found = list(runs.run_seeds(range(9), tmp_path, at_a_time=1, keep=False, is_over=lambda: next(over)))
    assert len(closed) == (1 if found else 0) and bool(found) == bool(over_at)


@pytest.mark.parametrize(("code", "troubles"), [(LOST_EXIT_CODE, 0), (0, 1), (1, 1)])
def test_only_an_operator_that_lost_its_lease_may_end_by_itself(code: int, troubles: int, tmp_path: Path) -> None:
    ended = Child("operator", ["/bin/sh", "-c", f"exit {code}"], tmp_path / "operator.log")
    lives = Child("part", ["/bin/sleep", "60"], tmp_path / "part.log")
    ended.start()
    lives.start()
    try:
        assert ended.wait_exit(WAIT_SECONDS) == code
        plane = SimpleNamespace(apiserver=lives, etcd=lives)
        rig: Any = SimpleNamespace(operators=[SimpleNamespace(child=ended)], macs=[], control_plane=plane)
        strikes = Strikes(rig, make_fleet_schedule(1))
        strikes.tick(Seen({}))
    finally:
        lives.stop()
    assert len(strikes.troubles) == troubles and len(strikes.operator_exits) == 1 - troubles
