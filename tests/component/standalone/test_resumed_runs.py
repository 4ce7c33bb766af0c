"""The same command again: a run that broke off goes on, failed clips are tried again, and finished work is kept."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import yaml
from tests.component.standalone.conftest import (
    ALL,
    GOOD,
    LENIENT,
    PATIENCE_SECONDS,
    Finished,
    Home,
    copy_clips,
    expected,
    files_below,
    local,
    rows_of,
    texts,
    wait_for,
)

from voxfleet_agent.models.store import builtin_model_folder
from voxfleet_agent.stages.finalize.repro import ReproBundle
from voxfleet_api.kinds.job_model import BuiltinName
from voxfleet_api.rows import ClipStatus
from voxfleet_shared.crash_points import EXIT_CODE


def test_a_finished_run_prints_its_summary_again_and_says_that_nothing_ran(finished: Finished) -> None:
    before = {path: path.stat().st_mtime_ns for path in files_below(finished.folder)}
    ended = finished.home.invoke("run", "-f", finished.job)
    assert ended.returncode == 0 and "done: Complete" in ended.stdout
    ended_at = json.loads(next(finished.home.state.glob("voxfleet/runs/*/elapsed.json")).read_bytes())["endedAt"]
    assert f"nothing ran: this job had finished before ({ended_at})" in ended.stdout
    state = finished.home.state / "voxfleet" / "runs" / finished.folder.name
    assert f"delete both folders of this run: file://{finished.folder} and {state}" in ended.stdout
    assert f"{len(GOOD)} with a result, 1 quarantined" in ended.stdout
    assert "no machine-hours were signed" in ended.stdout and str(finished.folder) in ended.stdout
    again = finished.home.run_here("-f", finished.job)
    assert (again["ran"], again["endedAt"]) == (False, ended_at)
    assert {path: path.stat().st_mtime_ns for path in files_below(finished.folder)} == before


def test_another_environment_is_another_run(home: Home, refused: Path) -> None:
    job = home.job("tuned", refused, quarantine=ALL)
    first = home.run_here("-f", job)
    tuned = home.run_here("-f", job, MLX_AUDIO_BATCH_SIZE="2")
    assert first["ran"] and tuned["ran"] and first["output"] != tuned["output"]
    assert not home.run_here("-f", job, MLX_AUDIO_BATCH_SIZE="4")["ran"], "what holds anyway changes nothing"


def test_a_run_with_a_given_uid_does_not_accept_other_documents(home: Home, refused: Path) -> None:
    job = home.job("known", refused, quarantine=ALL)
    documents = list(yaml.safe_load_all(job.read_text()))
    documents[1]["metadata"]["uid"] = "0f5b6a3e-1111-2222-3333-444455556666"
    job.write_text(yaml.safe_dump_all(documents))
    assert home.run_here("-f", job)["rc"] == 0
    other = home.invoke("run", "-f", job, MLX_AUDIO_BATCH_SIZE="2")
    assert other.returncode == 1 and "begun here with other documents" in other.stderr
    assert not home.run_here("-f", job)["ran"]


def test_a_finished_run_whose_results_are_gone_says_how_to_run_it_anew(home: Home, refused: Path) -> None:
    job = home.job("gone", refused, quarantine=ALL)
    folder = local(home.run_here("-f", job)["output"])
    shutil.rmtree(folder)
    ended = home.invoke("run", "-f", job)
    state = home.state / "voxfleet" / "runs" / folder.name
    assert ended.returncode == 1 and f"delete both folders of this run: file://{folder} and {state}" in ended.stderr
    shutil.rmtree(state)
    assert home.run_here("-f", job)["ran"] and len(rows_of(folder)) == 1


def test_failed_clips_of_a_finished_run_are_tried_again_once_their_cause_is_mended(home: Home, tmp_path: Path) -> None:
    folder = copy_clips(tmp_path / "mended", GOOD[:4])
    away = folder / "away.flac"
    (folder / "flac-16000-02.flac").rename(away)
    job = home.job("mended", folder, job={"sharding": {"targetAudio": "30m"}})
    first = home.run("-f", job)
    assert (first["rc"], first["figures"]["classes"]) == (1, {"InputNotFound": 1})
    shown = home.invoke("run", "-f", job)
    assert shown.returncode == 1 and "nothing ran" in shown.stdout
    assert shown.stdout.index("--retry-failed tries again what failed") < shown.stdout.index("to run it anew")
    assert shown.stdout.count("--retry-failed") == 1

    still = home.run("-f", job, "--retry-failed")
    assert (still["rc"], still["ran"], still["output"]) == (1, True, first["output"])
    away.rename(folder / "flac-16000-02.flac")
    killed = home.agent("run", "-f", job, "--retry-failed", VOXFLEET_CRASH_AT="base-frozen")
    assert killed.returncode == EXIT_CODE
    mended = home.run("-f", job)
    assert (mended["rc"], mended["ending"], mended["output"]) == (0, "Complete", first["output"])
    rows = {row.custom_id: row for row in rows_of(local(first["output"]))}
    assert {name: row.text for name, row in rows.items()} == {name: expected()[name] for name in GOOD[:4]}
    bundle = ReproBundle.model_validate_json((local(first["output"]) / "repro" / "bundle.json").read_bytes())
    assert {run.attempt for run in bundle.runs} == {row.attempt for row in rows.values()}
    assert not home.run_here("-f", job, "--retry-failed")["ran"], "no clip failed"


def test_a_retry_runs_no_other_clip_again_unless_the_model_was_replaced(home: Home, tmp_path: Path) -> None:
    folder = copy_clips(tmp_path / "kept", GOOD[:3])
    model = shutil.copytree(builtin_model_folder(BuiltinName.COMMANDS), tmp_path / "model")
    for name in ("flac-16000-02.flac", "mp3-16000-03.mp3"):
        (folder / name).rename(folder / f"away-{name}")
    job = home.job("kept", folder, job={"sharding": {"targetAudio": "30m"}, "model": {"path": str(model)}})
    assert home.run("-f", job)["rc"] == 1
    (folder / "away-flac-16000-02.flac").rename(folder / "flac-16000-02.flac")
    mended = home.run("-f", job, "--retry-failed")
    attempts = {row.custom_id: row.attempt for row in rows_of(local(mended["output"]))}
    assert attempts["wav-16000-01"] == 1 and attempts["flac-16000-02"] == 2 and "model's files" not in mended["stderr"]
    (folder / "away-mp3-16000-03.mp3").rename(folder / "mp3-16000-03.mp3")
    (model / "notes.txt").touch()
    replaced = home.run("-f", job, "--retry-failed")
    assert replaced["rc"] == 0 and "the model's files have changed since: every clip runs again" in replaced["stderr"]
    assert {row.attempt for row in rows_of(local(replaced["output"]))} == {3}


def test_a_run_uses_all_its_lanes_and_goes_on_with_any_number_of_them(home: Home, clips: Path) -> None:
    """Seven clips are less audio than a shard holds by default."""
    job = home.job("wide", clips, quarantine=LENIENT)
    documents = list(yaml.safe_load_all(job.read_text()))
    del documents[1]["spec"]["sharding"]
    job.write_text(yaml.safe_dump_all(documents))
    assert home.agent("run", "-f", job, "--lanes", "2", VOXFLEET_CRASH_AT="commit-uploaded").returncode == EXIT_CODE
    log = next(home.state.glob("voxfleet/runs/*/log.jsonl")).read_text()
    assert {json.loads(line)["lane"] for line in log.splitlines() if "lane started" in line} == {"local-0", "local-1"}
    resumed = home.run("-f", job, "--lanes", "1")
    assert (resumed["rc"], resumed["shards"]) == (0, {"total": 2, "committed": 2})
    assert texts(local(resumed["output"])) == expected()


def test_a_second_state_folder_does_not_write_over_an_unfinished_output(home: Home, clips: Path) -> None:
    job = home.job("shared", clips, quarantine=LENIENT)
    assert home.agent("run", "-f", job, VOXFLEET_CRASH_AT="commit-uploaded@2").returncode == EXIT_CODE
    other = home.folder / "other-state"
    refused = home.invoke("run", "-f", job, "--state", other)
    assert refused.returncode == 1 and f"state folder {home.state}/voxfleet/runs/shared-" in refused.stderr
    assert not list(other.glob("runs/*")), "a refused run leaves no folder"
    assert home.run("-f", job)["rc"] == 0


def test_work_from_before_a_crash_is_not_repeated(home: Home, clips: Path) -> None:
    job = home.job("crashed", clips, quarantine=LENIENT)
    crashed = home.agent("run", "-f", job, VOXFLEET_CRASH_AT="commit-uploaded@2")
    assert crashed.returncode == EXIT_CODE
    summary = home.run("-f", job)
    assert summary["rc"] == 0, summary
    folder = local(summary["output"])
    assert texts(folder) == expected()
    # The same attempts went on: an attempt that began anew would have a second folder.
    assert {path.name for path in folder.glob("parts/*/*")} == {"1"}
    assert not files_below(home.scratch)


def test_kill_9_in_the_middle_leaves_one_row_for_each_clip(home: Home, clips: Path) -> None:
    job = home.job("killed", clips, quarantine=LENIENT)
    with home.start("run", "-f", job) as process:
        wait_for(process, "Process: 3 of 7")
        process.kill()
    summary = home.run("-f", job)
    assert summary["rc"] == 0, summary
    assert texts(local(summary["output"])) == expected()
    assert summary["scratch"]["residueBytes"] == 0 and not files_below(home.scratch)


def test_ctrl_c_parks_and_the_same_command_goes_on(home: Home, clips: Path) -> None:
    job = home.job("parked", clips, quarantine=LENIENT)
    with home.start("run", "-f", job, "-o", "json") as process:
        wait_for(process, "Process: 1 of 7")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130, err
    parked = json.loads(out)
    assert parked["ending"] == "Parked" and not files_below(home.scratch)
    summary = home.run("-f", job)
    assert summary["rc"] == 0 and texts(local(summary["output"])) == expected()
    assert summary["wallSeconds"] > parked["wallSeconds"] > 0


def test_a_lost_journal_costs_no_clip(finished: Finished, tmp_path: Path, cache: Path) -> None:
    """The run inherits the results in the output, as from another Mac's attempt, and reports no throughput for them."""
    home = Home(tmp_path, cache)
    shutil.copytree(finished.home.folder / "out", finished.home.folder / "kept")
    lost = finished.home.state.rename(finished.home.folder / "lost")
    try:
        refused = home.invoke("run", "-f", finished.job)
        assert refused.returncode == 1 and "nothing ran" in refused.stderr and str(finished.folder) in refused.stderr
        assert (finished.folder / "index.json").is_file()
        (finished.folder / "index.json").unlink()  # as if it had not ended
        ended = home.run_here("-f", finished.job)
        assert ended["rc"] == 0, ended
        rows = rows_of(finished.folder)
        assert {row.attempt for row in rows} == {1} and texts(finished.folder) == expected()
        assert {path.name for path in finished.folder.glob("parts/*/*")} == {"1", "2"}
        again = home.run_here("-f", finished.job)
        for summary in (ended, again):
            assert (summary["ran"], summary["inherited"], summary["audioSecondsPerSecond"]) == (False, len(rows), None)
        pace = finished.home.folder / "kept" / finished.folder.name / "local.json"
        assert (finished.folder / "local.json").read_bytes() == pace.read_bytes()
        assert "nothing ran: all clips had results" in home.invoke("run", "-f", finished.job).stdout
    finally:
        lost.rename(finished.home.state)
        shutil.rmtree(finished.home.folder / "out")
        (finished.home.folder / "kept").rename(finished.home.folder / "out")


def test_a_run_that_inherits_some_clips_reports_no_throughput(home: Home, clips: Path) -> None:
    job = home.job("halfway", clips, quarantine=LENIENT)
    assert home.agent("run", "-f", job, VOXFLEET_CRASH_AT="commit-uploaded").returncode == EXIT_CODE
    shutil.rmtree(home.state)
    summary = home.run("-f", job)
    assert summary["rc"] == 0 and texts(local(summary["output"])) == expected()
    assert summary["ran"] and 0 < summary["inherited"] < 7 and summary["audioSecondsPerSecond"] is None
    compared = home.invoke("compare", summary["output"], summary["output"], "-o", "json")
    assert compared.returncode == 0 and "wallSeconds" not in json.loads(compared.stdout)["a"]


def test_a_run_whose_documents_are_unknown_does_not_go_on(home: Home, refused: Path) -> None:
    job = home.job("unknown", refused, quarantine=ALL)
    summary = home.run_here("-f", job)
    identity = Path(summary["state"]) / "identity"
    assert [path.name for path in identity.parent.glob("*.tmp")] == []
    for damage in (identity.unlink, identity.touch):
        damage()
        ended = home.invoke("run", "-f", job)
        assert ended.returncode == 1 and f"{identity} is missing or damaged" in ended.stderr
        assert f"{summary['output']} and {summary['state']}" in ended.stderr


def test_the_same_command_retries_failures(home: Home, clips: Path) -> None:
    model = home.folder / "model"
    shutil.copytree(builtin_model_folder(BuiltinName.COMMANDS), model)
    job = home.job("mended", clips, job={"model": {"path": str(model)}}, quarantine=LENIENT)
    assert home.agent("run", "-f", job, VOXFLEET_CRASH_AT="plan-uploaded").returncode == EXIT_CODE
    settings = (model / "config.json").read_bytes()
    (model / "config.json").write_bytes(settings + b"\n")
    failed = home.run("-f", job)
    assert failed["rc"] == 2 and "ModelMismatch" in failed["reason"]
    assert {row.status for row in rows_of(local(failed["output"]))} == {ClipStatus.NOT_RUN}
    (model / "config.json").write_bytes(settings)
    mended = home.run("-f", job)
    assert mended["rc"] == 0 and mended["output"] == failed["output"]
    assert texts(local(mended["output"])) == expected()
