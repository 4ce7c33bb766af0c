"""What Macs that misbehave cost the others: the latency of small jobs on sound Macs, with and without them beside."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.api_watch import ApiWatch
from tests.bench.failure import MeasurementFailed
from tests.bench.report import Figure, Goal
from tests.rig.fake_fleet.fleet import NAMESPACE, FakeFleet
from tests.rig.fake_fleet.macs import MAC_LABEL, SOUND_LABEL, FakeMacs
from tests.rig.fake_fleet.settings import FleetSettings
from tests.rig.fake_fleet.troubles import Trouble

from voxfleet_agent.percentiles import percentiles
from voxfleet_api import API_VERSION
from voxfleet_api.conditions import Conditions, ConditionType, Reason, find, is_true
from voxfleet_api.kinds import AudioBatchJob, MacAgent
from voxfleet_dev.processes import Child
from voxfleet_shared.percentile import percentile

SOUND_MACS = 8
ROUNDS = 3
"""With and without, each so often, in turn."""
JOBS_A_ROUND, JOBS_AT_A_TIME, JOB_CLIPS = 120, 3, 2
SHOWN_WITHIN_SECONDS = 90.0
_CUT_OFF = (Reason.AGENT_UNREACHABLE, {Reason.PLANNING, Reason.WAITING_FOR_MAC})
_WORKS = (Reason.CONNECTED, {Reason.RUNNING, Reason.FINALIZING, Reason.FINISHED})
SHOWS: Mapping[Trouble, tuple[Reason, set[Reason]]] = {
    Trouble.HANGS: _CUT_OFF,
    Trouble.FALLS_SILENT: _CUT_OFF,
    Trouble.GARBAGE: _CUT_OFF,
    Trouble.FULL_DISK: (Reason.CONNECTED, {Reason.WAITING_FOR_MAC}),
    Trouble.WRONG_CLOCK: _WORKS,
    Trouble.LIES: _WORKS,
}
"""Why such a Mac is reachable or not, and why its job is not complete: else nothing troubles the others."""
ROUND_WITHIN_SECONDS = 300.0
POLL_SECONDS, SHOWN_POLL_SECONDS = 0.01, 0.25

Say = Callable[[str], None]


def neighbour_figures(directory: Path, say: Say) -> list[Figure]:
    """Raises MeasurementFailed, ChildFailed, KubectlFailed, NotInTime."""
    troubled = _troubled_macs(directory)
    with FakeFleet(directory, SOUND_MACS, clip_seconds=0.02) as fleet:
        manifest = fleet.write_input("small", JOB_CLIPS)
        seen = _Completions()
        alone: list[list[int]] = []
        beside: list[list[int]] = []
        with ApiWatch(fleet.control_plane, ("audiobatchjobs",), seen.note):
            _measure(fleet, manifest, seen, "warm-up", jobs=20)
            for number in range(ROUNDS):
                for with_troubled in (False, True) if number % 2 == 0 else (True, False):
                    name = f"{'beside' if with_troubled else 'alone'}-{number}"
                    if with_troubled:
                        with _trouble(fleet, troubled, manifest, number, say):
                            beside.append(_measure(fleet, manifest, seen, name))
                    else:
                        alone.append(_measure(fleet, manifest, seen, name))
                    say(f"round {name}: {_shown((beside if with_troubled else alone)[-1])}")
    return _figures(alone, beside)


def _figures(alone: Sequence[Sequence[int]], beside: Sequence[Sequence[int]]) -> list[Figure]:
    what = f"of jobs of {JOB_CLIPS} clips on {SOUND_MACS} sound Macs"
    kinds = ", ".join(trouble.value for trouble in Trouble)
    each = [tuple(percentile(sorted(times), 99) for times in pair) for pair in zip(alone, beside, strict=True)]
    all_alone, all_beside = (sorted(time for times in rounds for time in times) for rounds in (alone, beside))
    p99s = [percentile(times, 99) for times in (all_alone, all_beside)]
    return [
        Figure("neighbours_p99_alone_seconds", p99s[0] / 1000, f"seconds from apply to done, p99 {what}, alone"),
        Figure("neighbours_p99_beside_seconds", p99s[1] / 1000, f"the same beside Macs with troubles: {kinds}"),
        Figure(
            "neighbours_p99_ratio",
            p99s[1] / p99s[0],
            f"p99 beside them / p99 alone, {len(all_alone)} jobs each",
            Goal("<=", 1.2),
            tuple(with_them / without for without, with_them in each),
        ),
        Figure(
            "neighbours_median_ratio",
            statistics.median(all_beside) / statistics.median(all_alone),
            "median beside them / median alone",
        ),
    ]


@dataclass
class _Completions:
    """When each job was first seen to be complete."""

    at: dict[str, float] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)

    def note(self, plural: str, changed: Mapping[str, object], size_bytes: int) -> None:
        now = time.monotonic()
        job = AudioBatchJob.load(changed)
        name, conditions = job.metadata.name, job.status.conditions
        if is_true(conditions, ConditionType.COMPLETE):
            self.at.setdefault(name, now)
        elif is_true(conditions, ConditionType.FAILED):
            self.failed.add(name)


def _measure(fleet: FakeFleet, manifest: Path, seen: _Completions, name: str, jobs: int = JOBS_A_ROUND) -> list[int]:
    """Milliseconds from its creation to its end of each of some jobs, of which a few run at a time.

    A fixed pace would measure how long a queue grows on a machine that is too slow for it.
    """
    created: dict[str, float] = {}

    def open_jobs() -> int:
        return len(created.keys() - seen.at.keys() - seen.failed)

    deadline = time.monotonic() + ROUND_WITHIN_SECONDS
    while len(created) < jobs or open_jobs():
        if len(created) < jobs and open_jobs() < JOBS_AT_A_TIME:
            job = f"{name}-{len(created):03d}"
            body = fleet.job_manifest(job, manifest, macSelector={"matchLabels": {SOUND_LABEL: "true"}})
            created[job] = time.monotonic()
            fleet.create(body)
        elif time.monotonic() > deadline:
            raise MeasurementFailed(f"{name}: {open_jobs()} jobs have not ended after {ROUND_WITHIN_SECONDS:g} s")
        else:
            time.sleep(POLL_SECONDS)
    if seen.failed & created.keys():
        raise MeasurementFailed(f"{name}: jobs on sound Macs failed: {sorted(seen.failed & created.keys())}")
    return [round((seen.at[job] - at) * 1000) for job, at in created.items()]


def _troubled_macs(directory: Path) -> FakeMacs:
    troubles = {trouble.value: trouble for trouble in Trouble}
    settings = FleetSettings(
        folder=directory.absolute() / "troubled",
        names=tuple(troubles),
        allow=(f"file://{directory.absolute()}/shared/",),
        clip_seconds=5.0,
        lost_after="30s",
        troubles=troubles,
    )
    return FakeMacs(settings)


@contextmanager
def _trouble(fleet: FakeFleet, troubled: FakeMacs, manifest: Path, number: int, say: Say) -> Iterator[None]:
    """Meanwhile the troubled Macs are part of the fleet, and each has a job that no other Mac may take.

    Raises MeasurementFailed unless each shows its trouble first, and all are there to the end.
    """
    jobs = {f"on-{name}-{number}": name for name in troubled.settings.names}
    troubled.start()
    try:
        fleet.register(troubled)
        for job, name in jobs.items():
            fleet.create(fleet.job_manifest(job, manifest, macSelector={"matchLabels": {MAC_LABEL: name}}))
        wait_until_shown(lambda: _states(fleet, jobs), troubled.child, SHOWN_WITHIN_SECONDS)
        yield
        require_running(troubled.child)
        say(f"troubled Macs and their jobs: {'; '.join(map(str, _states(fleet, jobs)))}")
        fleet.control_plane.kubectl("delete", "audiobatchjobs", "-n", NAMESPACE, "--wait=false", *jobs)
        fleet.remove(troubled)
    finally:
        troubled.stop()


@dataclass(frozen=True)
class TroubledState:
    trouble: Trouble
    reachable: str | None
    complete: str | None
    """The reasons of both conditions."""

    @property
    def is_shown(self) -> bool:
        reachable, complete = SHOWS[self.trouble]
        return self.reachable == reachable and self.complete in complete

    def __str__(self) -> str:
        return f"{self.trouble} {self.reachable}, {self.complete}"


def wait_until_shown(states: Callable[[], Iterable[TroubledState]], macs: Child, timeout_seconds: float) -> None:
    """Waits until each trouble was seen once. Raises MeasurementFailed."""
    deadline = time.monotonic() + timeout_seconds
    shown: set[Trouble] = set()
    while True:
        require_running(macs)
        found = list(states())
        shown |= {state.trouble for state in found if state.is_shown}
        missing = [str(state) for state in found if state.trouble not in shown]
        if not missing:
            return
        if time.monotonic() > deadline:
            raise MeasurementFailed(f"Macs show no trouble within {timeout_seconds:g} s: {'; '.join(missing)}")
        time.sleep(SHOWN_POLL_SECONDS)


def require_running(macs: Child) -> None:
    if not macs.running:
        raise MeasurementFailed(f"the troubled Macs ended with {macs.exit_code}: {macs.log_tail(15)}")


def _states(fleet: FakeFleet, jobs: Mapping[str, str]) -> Iterator[TroubledState]:
    for job, name in jobs.items():
        mac = MacAgent.load(fleet.get(f"/apis/{API_VERSION}/macagents/{name}"))
        reachable = _reason(mac.status.conditions, ConditionType.REACHABLE)
        complete = _reason(fleet.job(job).status.conditions, ConditionType.COMPLETE)
        yield TroubledState(Trouble(name), reachable, complete)


def _reason(conditions: Conditions, type_: ConditionType) -> str | None:
    found = find(conditions, type_)
    return None if found is None else found.reason


def _shown(milliseconds: Sequence[int]) -> str:
    told = percentiles(milliseconds)
    return f"median {told.p50} ms, p95 {told.p95} ms, p99 {told.p99} ms, longest {told.max} ms"
