"""Ctrl-C, and the job's own limits: while a run waits for its storage, and when it was killed or is over."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest
from tests.component.standalone.conftest import ALL, BAD, GOOD, Home, copy_clips

from voxfleet_agent.standalone import run_paths
from voxfleet_agent.standalone.attempt_specs import AttemptSpecs
from voxfleet_agent.standalone.job_documents import read_files
from voxfleet_agent.standalone.mlx_audio_settings import settle_settings, with_defaults
from voxfleet_agent.standalone.progress import ProgressLines
from voxfleet_agent.standalone.run_paths import make_output_folder
from voxfleet_agent.standalone.run_session import run_job
from voxfleet_agent.standalone.run_verdict import RunEnding
from voxfleet_agent.standalone.stopwatch import SAVE_SECONDS
from voxfleet_agent.standalone.summary import RunSummary, summary_text
from voxfleet_agent.storage import Storage
from voxfleet_shared.crash_points import EXIT_CODE


async def test_a_run_that_only_waited_for_its_storage_is_parked(
    home: Home, refused: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = asyncio.Event()

    async def hangs(storage: Storage, uri: str, limit: int) -> list[str]:
        listing.set()
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(Storage, "list_names", hangs)

    async def interrupted() -> RunSummary:
        listing.clear()
        run = asyncio.create_task(run_in(home, home.job("slow", refused)))
        listed = asyncio.create_task(listing.wait())
        await asyncio.wait({run, listed}, return_when=asyncio.FIRST_COMPLETED)  # a run that ended never lists
        listed.cancel()
        run.cancel()
        return await run

    planned = await interrupted()
    waited = await interrupted()
    assert (planned.ran, waited.ran) == (True, False)
    assert (planned.verdict.ending, waited.verdict.ending) == (RunEnding.PARKED, RunEnding.PARKED)
    assert "nothing ran" not in summary_text(waited) and "goes on where this one stopped" in summary_text(waited)


async def test_a_deadline_stops_a_run_merges_what_is_done_and_the_same_command_goes_on(
    home: Home, refused: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs(storage: Storage, uri: str, limit: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    job = home.job("late", refused, job={"activeDeadlineSeconds": 1}, quarantine=ALL)
    with monkeypatch.context() as slow:
        slow.setattr(Storage, "list_names", hangs)
        stopped = await run_in(home, job)
    assert stopped.verdict.ending is RunEnding.FAILED and stopped.figures is not None
    assert "1 clip did not run" in stopped.verdict.reason and "activeDeadlineSeconds, 1" in stopped.verdict.reason
    assert stopped.figures.counts.not_run == 1, "what was done is merged, and the rest is told"
    home.job("late", refused, job={"activeDeadlineSeconds": 600}, quarantine=ALL)
    assert (await run_in(home, job)).verdict.ending is RunEnding.COMPLETE


def test_machine_time_counts_though_a_run_is_killed_and_limits_planning_but_not_what_is_over(
    home: Home, refused: Path
) -> None:
    def job(machine_seconds: int) -> Path:
        return home.job("killed", refused, job={"maxMachineSeconds": machine_seconds}, quarantine=ALL)

    assert home.agent("run", "-f", job(600), VOXFLEET_CRASH_AT="plan-uploaded").returncode == EXIT_CODE
    stopped = home.run_here("-f", job(round(SAVE_SECONDS)))
    assert stopped["rc"] == 1 and stopped["reason"].startswith("no clip ran: the run may have used its spec.maxMachine")
    assert home.run_here("-f", job(600))["ending"] == "Complete"
    shown = home.run_here("-f", job(1))
    assert (shown["rc"], shown["ran"]) == (0, False) and "stopped" not in shown["stderr"]


def test_a_limit_that_is_reached_stops_nothing_where_quarantined_clips_have_halted_a_run(
    home: Home, tmp_path: Path
) -> None:
    folder = copy_clips(tmp_path / "halted", (BAD, *GOOD[:2]))
    lines = (folder / "manifest.jsonl").read_text().splitlines()
    (folder / "manifest.jsonl").write_text(
        "".join(f"{line}\n" for line in sorted(lines, key=lambda one: BAD not in one))
    )

    def job(machine_seconds: int) -> Path:
        changes = {"maxMachineSeconds": machine_seconds, "sharding": {"targetAudio": "1s"}}
        return home.job("halted", folder, job=changes, quarantine={**ALL, "haltFanOutPercent": 1})

    first = home.run("-f", job(600))
    assert first["rc"] == 1 and "haltFanOutPercent" in first["reason"]
    shown = home.run_here("-f", job(1))
    assert (shown["reason"], shown["ran"]) == (first["reason"], False) and "stopped" not in shown["stderr"]


async def run_in(home: Home, file: Path) -> RunSummary:
    documents, environment = read_files([file]), home.environment()
    job, contract = documents.job, documents.contract.spec
    user = Path(environment["HOME"])
    settings = settle_settings(environment, user, contract, job.spec.task)
    make_output_folder(job.spec.output.uri)
    specs = AttemptSpecs.of(job, with_defaults(contract, settings), settings.settings())
    state, cache = run_paths.state_home(environment, user), run_paths.cache_home(environment, user)
    paths = run_paths.without_agent(specs, settings, state, cache, 2**33)
    return await run_job(specs, paths, None, ProgressLines(io.StringIO()))
