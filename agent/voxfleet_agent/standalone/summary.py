"""What a run came to, for people and for scripts. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from voxfleet_agent.finished_runs.row_statistics import LATENCY, RowStatistics
from voxfleet_agent.finished_runs.tables import figures_json
from voxfleet_agent.standalone.run_verdict import RunEnding, RunVerdict

NOT_SIGNED = "no machine-hours were signed: a run without a cluster is nobody's bill"


@dataclass(frozen=True, slots=True)
class RunSummary:
    job: str
    namespace: str
    uid: str
    verdict: RunVerdict
    output: str
    """Address of the job's own folder."""
    index_sha256: str | None
    figures: RowStatistics | None
    """None: there are no results."""
    shards: int
    shards_committed: int
    lanes: int
    wall_milliseconds: int
    """Of this run and of those that it went on from."""
    ran: bool
    """Whether this command ran anything; False: the job had finished before, or all its clips had results."""
    inherited: int
    """Clips whose results were in the output folder before anything of this run began here; not timed."""
    ended_at: str | None
    """RFC 3339, of the last time that anything ran."""
    scratch_high_water_bytes: int
    scratch_residue_bytes: int
    state: str
    """Folder of the run's journal."""
    log: str

    @property
    def audio_seconds_per_second(self) -> float | None:
        if self.figures is None or self.inherited or not self.wall_milliseconds:
            return None
        return self.figures.audio_milliseconds / self.wall_milliseconds


def summary_json(found: RunSummary) -> dict[str, object]:
    rate = found.audio_seconds_per_second
    return {
        "job": found.job,
        "namespace": found.namespace,
        "uid": found.uid,
        "ending": found.verdict.ending.value,
        "reason": found.verdict.reason,
        "ran": found.ran,
        "inherited": found.inherited,
        "endedAt": found.ended_at,
        "output": found.output,
        "indexSha256": found.index_sha256,
        "shards": {"total": found.shards, "committed": found.shards_committed},
        "lanes": found.lanes,
        "wallSeconds": found.wall_milliseconds / 1000,
        "audioSecondsPerSecond": None if rate is None else round(rate, 2),
        "figures": None if found.figures is None else figures_json(found.figures),
        "scratch": {"highWaterBytes": found.scratch_high_water_bytes, "residueBytes": found.scratch_residue_bytes},
        "signed": False,
        "state": found.state,
        "log": found.log,
    }


def summary_text(found: RunSummary) -> str:
    lines = [f"{found.job}: {found.verdict.ending.value}" + (f": {found.verdict.reason}" * bool(found.verdict.reason))]
    figures = found.figures
    if not found.ran and figures is not None:
        why = f"this job had finished before ({found.ended_at or 'nobody knows when'})"
        if found.inherited == figures.counts.total > 0:
            why = "all clips had results in the output folder, from a run that this state folder does not know"
        lines += [f"  nothing ran: {why}", f"  {run_anew(found.output, found.state)}; its figures:"]
    if figures is not None:
        counts = figures.counts
        lines.append(
            f"  clips      {counts.succeeded} with a result, {counts.quarantined} quarantined, {counts.failed} failed,"
            f" {counts.not_run} not run"
        )
        lines += [f"             {number} {name}" for name, number in figures.classes.items()]
        lines.append(_throughput(found, figures))
        latency = figures.spreads.get(LATENCY)
        if latency is not None:
            lines.append(
                f"  latency    p50 {latency.p50} ms, p95 {latency.p95} ms, p99 {latency.p99} ms, max {latency.max} ms"
            )
        lines.append(
            f"  scratch    {found.scratch_high_water_bytes} bytes at most, {found.scratch_residue_bytes} left behind"
        )
        lines.append(f"  results    {found.output}")
    if found.verdict.ending is RunEnding.PARKED:
        lines.append("  the same command goes on where this one stopped")
    if found.verdict.ending is RunEnding.FAILED:
        lines.append(f"  log        {found.log}")
    lines.append(f"  {NOT_SIGNED}")
    return "\n".join(lines)


def _throughput(found: RunSummary, figures: RowStatistics) -> str:
    if found.inherited:
        clips = f"{found.inherited} of {figures.counts.total} clips"
        return f"  inherited  {clips}; nobody timed all, so no throughput is told"
    rate = found.audio_seconds_per_second
    return (
        f"  throughput {figures.audio_milliseconds / 1000:.1f} s of audio in {found.wall_milliseconds / 1000:.1f} s"
        + ("" if rate is None else f": {rate:.1f} audio seconds a second")
        + f" on {found.lanes} lane{'s' * (found.lanes != 1)}"
    )


def run_anew(output: str, state: str) -> str:
    """How, for people. Without its state alone a run would inherit what is in its output."""
    return (
        "to run it anew, write another metadata.name into the job, or delete both folders of this run:"
        f" {output} and {state}"
    )
