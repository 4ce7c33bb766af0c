"""A large job and a large fleet, on fake Macs: what they cost the API server, etcd and the operator."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
from tests.bench.api_watch import ApiWatch
from tests.bench.audit import operator_requests
from tests.bench.etcd_store import EtcdStore
from tests.bench.failure import MeasurementFailed
from tests.bench.object_sizes import ObjectSizes
from tests.bench.report import Figure, Goal
from tests.bench.resident import PeakResident
from tests.rig.fake_fleet.fleet import FakeFleet, NotInTime

from voxfleet_api.conditions import ConditionType, is_true
from voxfleet_api.kinds import AudioBatchJob

LARGE_JOB_CLIPS, LARGE_JOB_MACS = 100_000, 50
QUARANTINE_EVERY = 97
FLEET_MACS, FLEET_JOBS, FLEET_JOB_CLIPS = 500, 1_000, 20
IDLE_SECONDS, CALM_SECONDS, CALM_WITHIN_SECONDS = 60.0, 15.0, 180.0
JOBS_TIMEOUT_SECONDS = 600.0
ETCD_POLL_SECONDS = 0.5
OBJECT_BYTES = 64_000
KINDS = ("audiobatchjobs", "audioshards", "macagents", "machinehourstatements")
WRITES = ("create ", "update ", "patch ", "delete ", "deletecollection ")

Say = Callable[[str], None]


def scale_figures(directory: Path, say: Say) -> list[Figure]:
    """Raises MeasurementFailed, ChildFailed, KubectlFailed, NotInTime."""
    return [*large_job_figures(directory / "job", say), *large_fleet_figures(directory / "fleet", say)]


def large_job_figures(directory: Path, say: Say) -> list[Figure]:
    sizes = ObjectSizes()
    with FakeFleet(directory, LARGE_JOB_MACS, quarantine_every=QUARANTINE_EVERY) as fleet:
        say(f"{LARGE_JOB_MACS} fake Macs are up; a job of {LARGE_JOB_CLIPS} clips")
        manifest = fleet.write_input("large", LARGE_JOB_CLIPS)
        etcd = EtcdStore(fleet.control_plane.etcd_url)
        empty_bytes = etcd.compacted_bytes()
        applied, clock = datetime.now(UTC), time.monotonic()
        with ApiWatch(fleet.control_plane, KINDS, sizes.note), _sampled(etcd.in_use_bytes) as in_use:
            fleet.apply_job("large", manifest)
            job = fleet.ended("large")
        seconds = time.monotonic() - clock
        requests = _requests(fleet, applied, datetime.now(UTC))
        _check_rows(fleet, job)
        grown_bytes, left_bytes = max(in_use) - empty_bytes, etcd.compacted_bytes() - empty_bytes
    say(f"{job.status.shards.total} shards in {seconds:.0f} s; {sizes}")
    say(f"requests: {', '.join(f'{count} {what}' for what, count in requests.most_common())}")
    what = f"job of {LARGE_JOB_CLIPS} clips on {LARGE_JOB_MACS} Macs"
    largest_status, status_bytes = sizes.statuses.most_common(1)[0]
    largest_object, object_bytes = sizes.objects.most_common(1)[0]
    return [
        Figure("scale_job_clips_per_second", LARGE_JOB_CLIPS / seconds, f"clips a second, {what}, apply to settled"),
        Figure("scale_job_requests_per_clip", requests.total() / LARGE_JOB_CLIPS, f"requests of the operator, {what}"),
        Figure(
            "scale_largest_status_bytes",
            status_bytes,
            f"bytes of the largest status at any moment, of {largest_status}",
            Goal("<=", OBJECT_BYTES),
        ),
        Figure(
            "scale_largest_object_bytes",
            object_bytes,
            f"bytes of the largest object at any moment, of {largest_object}",
            Goal("<=", OBJECT_BYTES),
        ),
        Figure("scale_etcd_growth_mb", grown_bytes / 1e6, f"MB more in use at most, old revisions too, {what}"),
        Figure("scale_etcd_left_mb", left_bytes / 1e6, f"MB more in use, compacted, {what}", Goal("<=", 20)),
    ]


def large_fleet_figures(directory: Path, say: Say) -> list[Figure]:
    with FakeFleet(directory, FLEET_MACS) as fleet:
        operator = psutil.Process(fleet.operator.pid)
        with PeakResident(operator) as resident:
            say(f"{FLEET_MACS} fake Macs are up; the operator has {_mb(operator):.0f} MB; an idle minute")
            idle, busy_percent = _idle_minute(fleet, operator)
            say(f"requests: {', '.join(f'{count} {what}' for what, count in idle.most_common()) or 'none'}")
            ended, seconds = _run_jobs(fleet, say)
            held_mb, peak_mb = _mb(operator), resident.peak_bytes / 2**20
    say(f"{ended} jobs ended after {seconds:.0f} s; the operator has {held_mb:.0f} MB, at most {peak_mb:.0f} MB")
    what = f"{FLEET_MACS} Macs and {FLEET_JOBS} jobs"
    writes = Counter({name: count for name, count in idle.items() if name.startswith(WRITES)})
    lease_writes = sum(count for name, count in writes.items() if name.endswith(" leases"))
    return [
        Figure(
            "scale_idle_writes_per_minute",
            writes.total() - lease_writes,
            f"writes of the operator a minute, {FLEET_MACS} idle Macs, its own Lease left out",
            Goal("<=", 0),
        ),
        Figure(
            "scale_idle_operator_cpu_percent", busy_percent, f"of one core, the operator with {FLEET_MACS} idle Macs"
        ),
        Figure("scale_idle_lease_writes_per_minute", lease_writes, "renewals of the operator's Lease a minute"),
        Figure("scale_operator_peak_mb", peak_mb, f"MB resident at most, {what}", Goal("<=", 300)),
        Figure("scale_operator_held_mb", held_mb, f"MB resident after {what}"),
        Figure("scale_fleet_jobs_ended", ended, f"jobs ended of {FLEET_JOBS}, {what}", Goal(">=", FLEET_JOBS)),
        Figure("scale_fleet_jobs_per_second", ended / seconds, f"jobs of {FLEET_JOB_CLIPS} clips, {what}"),
    ]


def _check_rows(fleet: FakeFleet, job: AudioBatchJob) -> None:
    """Raises MeasurementFailed unless each clip has one row, and status counts those rows."""
    if not is_true(job.status.conditions, ConditionType.COMPLETE) or job.status.results is None:
        raise MeasurementFailed(f"the job did not complete: {[item.dump() for item in job.status.conditions]}")
    folder = Path(job.status.results.uri.removeprefix("file://")).parent
    indexes: Counter[int] = Counter()
    for name in ("results.jsonl", "errors.jsonl"):
        with (folder / name).open() as lines:
            indexes.update(json.loads(line)["index"] for line in lines)
    if len(indexes) != LARGE_JOB_CLIPS or indexes.total() != LARGE_JOB_CLIPS or max(indexes) != LARGE_JOB_CLIPS - 1:
        raise MeasurementFailed(f"{indexes.total()} rows of {len(indexes)} clips; the job has {LARGE_JOB_CLIPS}")
    counted = job.status.clips
    if counted.succeeded + counted.quarantined != LARGE_JOB_CLIPS:
        raise MeasurementFailed(f"status counts {counted.dump()}")


@dataclass
class _Ended:
    """The names of jobs that have ended."""

    names: set[str]

    def note(self, plural: str, changed: Mapping[str, object], size_bytes: int) -> None:
        job = AudioBatchJob.load(changed)
        ends = (ConditionType.COMPLETE, ConditionType.FAILED)
        if job.status.usage.settled and any(is_true(job.status.conditions, end) for end in ends):
            self.names.add(job.metadata.name)


def _run_jobs(fleet: FakeFleet, say: Say) -> tuple[int, float]:
    """How many jobs have ended in time, and the seconds from the first one's creation."""
    manifest = fleet.write_input("small", FLEET_JOB_CLIPS)
    jobs = [fleet.job_manifest(f"job-{number:04d}", manifest) for number in range(FLEET_JOBS)]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": jobs})
    ended, clock = _Ended(set()), time.monotonic()
    with ApiWatch(fleet.control_plane, ("audiobatchjobs",), ended.note):
        fleet.control_plane.kubectl("create", "-f", "-", input=text, timeout_seconds=JOBS_TIMEOUT_SECONDS)
        say(f"{FLEET_JOBS} jobs are created after {time.monotonic() - clock:.0f} s, {len(ended.names)} have ended")
        with suppress(NotInTime):  # the figure says how many
            fleet.wait_for("all jobs ended", lambda: len(ended.names) == FLEET_JOBS, JOBS_TIMEOUT_SECONDS)
    return len(ended.names), time.monotonic() - clock


def _idle_minute(fleet: FakeFleet, operator: psutil.Process) -> tuple[Counter[str], float]:
    """The operator's requests in a minute that begins once it has written nothing for a while, and how busy it was."""
    deadline = time.monotonic() + CALM_WITHIN_SECONDS
    while True:
        now = datetime.now(UTC)
        found = _requests(fleet, now - timedelta(seconds=CALM_SECONDS), now)
        if not any(name.startswith(WRITES) and not name.endswith(" leases") for name in found):
            break
        if time.monotonic() > deadline:
            break  # the minute will show what it writes
        time.sleep(1.0)
    began, busy_seconds = datetime.now(UTC), _cpu_seconds(operator)
    time.sleep(IDLE_SECONDS)
    return _requests(fleet, began, datetime.now(UTC)), 100 * (_cpu_seconds(operator) - busy_seconds) / IDLE_SECONDS


def _requests(fleet: FakeFleet, start: datetime, end: datetime) -> Counter[str]:
    with fleet.control_plane.audit_log.open(encoding="utf-8") as lines:
        return operator_requests(lines, start, end)


@contextmanager
def _sampled(read: Callable[[], int]) -> Iterator[list[int]]:
    """What `read` gave, twice a second."""
    ended, found = threading.Event(), [read()]

    def sample() -> None:
        while not ended.wait(ETCD_POLL_SECONDS):
            found.append(read())

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _mb(process: psutil.Process) -> float:
    resident: int = process.memory_info().rss
    return resident / 2**20
