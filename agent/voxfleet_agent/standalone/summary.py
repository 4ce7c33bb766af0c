"""The summary of a run, for people and for scripts. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from voxfleet_agent.finished_runs.row_statistics import LATENCY, OWN, RowStatistics
from voxfleet_agent.finished_runs.tables import statistics_json
from voxfleet_agent.standalone.run_verdict import RunEnding, RunVerdict
from voxfleet_api.input_selection import InputSelection
from voxfleet_api.results import ERRORS_NAME, SKIPPED_NAME

_LATENCIES = (
    (OWN, "own time", "a clip's own fetch, decode, infer and write"),
    ("wait", "waiting", "fetched ahead, it waits behind other clips of this job"),
    (LATENCY, "latency", "both together"),
)
_RETRY = "  once the causes are mended, the same command with --retry-failed tries again what failed or did not run"
NOT_SIGNED = "no machine-hours were signed: a run without a cluster is nobody's bill"


@dataclass(frozen=True, slots=True)
class RunSummary:
    job: str
    namespace: str
    uid: str
    verdict: RunVerdict
    output: str
    """The address of the job's own folder."""
    index_sha256: str | None
    selection: InputSelection | None
    """What input.prefix held; None for other inputs, and when nothing was planned."""
    figures: RowStatistics | None
    """None: there are no results."""
    shards: int
    shards_committed: int
    lanes: int
    wall_milliseconds: int
    """Wall time of this run and of the interrupted runs that it resumed."""
    ladder_milliseconds: int
    """Lane time within it that measured batch sizes, and transcribed nothing that counts."""
    ran: bool
    """Whether this command ran anything; False: the job had already finished, or all its clips had results."""
    inherited: int
    """Clips whose results were in the output folder before anything of this run began here; they are not timed."""
    ended_at: str | None
    """When anything last ran, in RFC 3339."""
    scratch_high_water_bytes: int
    scratch_residue_bytes: int
    state: str
    """The folder of the run's journal."""
    log: str

    @property
    def audio_seconds_per_second(self) -> float | None:
        if self.figures is None or self.inherited or not self.wall_milliseconds:
            return None
        return self.figures.audio_milliseconds / self.wall_milliseconds


def summary_json(summary: RunSummary) -> dict[str, object]:
    rate = summary.audio_seconds_per_second
    return {
        "job": summary.job,
        "namespace": summary.namespace,
        "uid": summary.uid,
        "ending": summary.verdict.ending.value,
        "reason": summary.verdict.reason,
        "ran": summary.ran,
        "inherited": summary.inherited,
        "endedAt": summary.ended_at,
        "output": summary.output,
        "indexSha256": summary.index_sha256,
        "shards": {"total": summary.shards, "committed": summary.shards_committed},
        "lanes": summary.lanes,
        "wallSeconds": summary.wall_milliseconds / 1000,
        "ladderSeconds": summary.ladder_milliseconds / 1000,
        "audioSecondsPerSecond": None if rate is None else round(rate, 2),
        "input": None if summary.selection is None else summary.selection.dump(),
        "figures": None if summary.figures is None else statistics_json(summary.figures),
        "scratch": {"highWaterBytes": summary.scratch_high_water_bytes, "residueBytes": summary.scratch_residue_bytes},
        "signed": False,
        "state": summary.state,
        "log": summary.log,
    }


def summary_text(summary: RunSummary) -> str:
    lines = [
        f"{summary.job}: {summary.verdict.ending.value}"
        + (f": {summary.verdict.reason}" * bool(summary.verdict.reason))
    ]
    figures = summary.figures
    if not summary.ran and figures is not None:
        why = f"this job had finished before ({summary.ended_at or 'nobody knows when'})"
        if summary.inherited == figures.counts.total > 0:
            why = "all clips had results in the output folder, from a run that this state folder does not know"
        again = [_RETRY] if _retries(summary, figures) else []
        lines += [f"  nothing ran: {why}", *again, f"  {run_anew(summary.output, summary.state)}; its figures:"]
    if summary.selection is not None and summary.selection.skipped:
        named = f"; plan/<attempt>/{SKIPPED_NAME} names what was skipped" if summary.selection.named else ""
        lines.append(f"  input      {summary.selection.text}{named}")
    if figures is not None:
        counts = figures.counts
        lines.append(
            f"  clips      {counts.succeeded} with a result, {counts.quarantined} quarantined, {counts.failed} failed,"
            f" {counts.not_run} not run"
        )
        lines += [f"             {number} {name}" for name, number in figures.classes.items()]
        if counts.failed:
            lines.append(f"             {ERRORS_NAME} says why, plan/<attempt>/manifest.jsonl has their addresses")
        if summary.ran and _retries(summary, figures):
            lines.append(f"           {_RETRY}")
        lines += [f"  warnings   {number} {name}" for name, number in figures.warnings.items()]
        lines.append(_throughput(summary, figures))
        if summary.ladder_milliseconds:
            lines.append(f"  ladder     {summary.ladder_milliseconds / 1000:.1f} s of it measured batch sizes, once")
        lines += [
            f"  {label:10} p50 {spread.p50} ms, p95 {spread.p95} ms, p99 {spread.p99} ms, max {spread.max} ms:"
            f" {meaning}"
            for name, label, meaning in _LATENCIES
            if (spread := figures.spreads.get(name)) is not None
        ]
        lines.append(
            f"  scratch    {summary.scratch_high_water_bytes} bytes at most,"
            f" {summary.scratch_residue_bytes} left behind"
        )
        lines.append(f"  results    {summary.output}")
    if summary.verdict.ending is RunEnding.PARKED:
        lines.append("  the same command goes on where this one stopped")
    if summary.verdict.ending is RunEnding.FAILED:
        lines.append(f"  log        {summary.log}")
    if summary.verdict.ending is not RunEnding.REFUSED:
        lines.append(f"  {NOT_SIGNED}")
    return "\n".join(lines)


def _retries(summary: RunSummary, figures: RowStatistics) -> bool:
    """Whether --retry-failed would try clips again."""
    return summary.index_sha256 is not None and figures.counts.failed + figures.counts.not_run > 0


def _throughput(summary: RunSummary, figures: RowStatistics) -> str:
    if summary.inherited:
        clips = f"{summary.inherited} of {figures.counts.total} clips"
        return f"  inherited  {clips}; nobody timed all, so no throughput is told"
    rate = summary.audio_seconds_per_second
    return (
        f"  throughput {figures.audio_milliseconds / 1000:.1f} s of audio in {summary.wall_milliseconds / 1000:.1f} s"
        + ("" if rate is None else f": {rate:.1f} audio seconds a second")
        + f" on {summary.lanes} lane{'s' * (summary.lanes != 1)}"
    )


def run_anew(output: str, state: str) -> str:
    """Says how to run a job anew. Its state must not be deleted alone: a finished run in the output is refused."""
    return (
        "to run it anew, write another metadata.name into the job, or delete both folders of this run:"
        f" {output} and {state}"
    )
