"""A job without a cluster, with real documents, clips and model, and with every kind of ending."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import yaml
from tests.component.standalone.conftest import (
    BAD,
    GOOD,
    PATIENCE_SECONDS,
    Finished,
    Home,
    copy_clips,
    expected_texts,
    files_below,
    local,
    rows_of,
)

from voxfleet_agent.models.store import builtin_model_folder
from voxfleet_agent.scratch import Scratch
from voxfleet_agent.stages.finalize.repro import ReproBundle
from voxfleet_api.kinds.job_model import BuiltinName
from voxfleet_api.rows import ClipStatus
from voxfleet_dev.s3 import S3Server
from voxfleet_shared.crash_points import EXIT_CODE

LENIENT = {"maxClips": 1, "maxPercent": 50}
ALL = {"maxClips": 1, "maxPercent": 100}


def texts(folder: Path) -> dict[str, str | None]:
    return {row.custom_id: row.text for row in rows_of(folder)}


def expected() -> dict[str, str | None]:
    known = expected_texts()
    return {**{name: known[name] for name in GOOD}, BAD: None}


def test_a_job_runs_as_on_a_fleet(finished: Finished) -> None:
    assert texts(finished.folder) == expected()
    names = {path.name for path in finished.folder.iterdir()}
    assert {"contract.json", "plan", "parts", "results.jsonl", "errors.jsonl", "repro", "index.json"} <= names
    attempts = {path.name for path in finished.folder.glob("parts/*/*")}
    assert attempts == {"1"} and len(list(finished.folder.glob("parts/*"))) > 1
    assert {path.name for path in finished.home.scratch.iterdir()} == {"quarantine"}
    assert not files_below(finished.home.scratch)


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


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells another process's limits")
def test_neither_a_run_nor_its_lanes_dump_core(home: Home, clips: Path) -> None:
    with home.start("run", "-f", home.job("undumped", clips, quarantine=LENIENT)) as process:
        wait_for(process, "Process: 1 of 7")
        started = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        assert len(started) > 1
        for one in started:
            assert one.rlimit(psutil.RLIMIT_CORE) == (0, 0)
        process.kill()


def test_progress_and_logs_contain_no_name_and_no_transcript(finished: Finished) -> None:
    logs = [path.read_text() for path in files_below(finished.home.state) if path.name == "log.jsonl"]
    assert logs and "lane started" in logs[0]
    for text in (finished.stderr, *logs):
        assert not any(name in text for name in (*GOOD, BAD)) and expected_texts()[GOOD[0]] not in text


def test_failed_clips_of_a_finished_run_are_tried_again_once_their_cause_is_mended(home: Home, tmp_path: Path) -> None:
    folder = copy_clips(tmp_path / "mended", GOOD[:4])
    away = folder / "away.flac"
    (folder / "flac-16000-02.flac").rename(away)
    job = home.job("mended", folder, job={"sharding": {"targetAudio": "30m"}})
    first = home.run("-f", job)
    assert (first["rc"], first["figures"]["classes"]) == (1, {"InputNotFound": 1})
    shown = home.agent("run", "-f", job)
    assert (
        shown.returncode == 1 and "nothing ran" in shown.stdout and "--retry-failed tries these again" in shown.stdout
    )

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
    assert not home.run("-f", job, "--retry-failed")["ran"], "no clip failed"


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


def test_a_second_state_folder_does_not_write_over_an_unfinished_output(home: Home, clips: Path) -> None:
    job = home.job("shared", clips, quarantine=LENIENT)
    assert home.agent("run", "-f", job, VOXFLEET_CRASH_AT="commit-uploaded@2").returncode == EXIT_CODE
    other = home.folder / "other-state"
    refused = home.agent("run", "-f", job, "--state", other)
    assert refused.returncode == 1 and f"state folder {home.state}/voxfleet/runs/shared-" in refused.stderr
    assert not list(other.glob("runs/*")), "a refused run leaves no folder"
    assert home.run("-f", job)["rc"] == 0


def test_a_refused_run_leaves_no_folder(home: Home, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    job = home.job("nothing", tmp_path, job={"input": {"prefix": {"uri": f"file://{tmp_path}/in/"}}})
    ended = home.run_here("-f", job)
    assert (ended["rc"], ended["ending"]) == (2, "Refused")
    assert not (home.folder / "out").exists() and not list(home.state.glob("voxfleet/runs/*"))


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


def test_beyond_the_contract_s_limits_the_run_has_failed(home: Home, refused: Path) -> None:
    summary = home.run_here("-f", home.job("strict", refused, quarantine={"maxClips": 0}), "--lanes", "2")
    assert summary["rc"] == 1 and summary["ending"] == "Failed"
    assert "the contract allows 0" in summary["reason"] and summary["lanes"] == 2
    assert [row.status for row in rows_of(local(summary["output"]))] == [ClipStatus.QUARANTINED]


def test_fan_out_halts_and_the_rest_is_reported_as_not_run(home: Home, clips: Path) -> None:
    limits = {**LENIENT, "haltFanOutPercent": 1}
    lines = (clips / "manifest.jsonl").read_text().splitlines()
    first_bad = sorted(lines, key=lambda line: json.loads(line)["id"] != BAD)
    folder = home.folder / "clips"
    shutil.copytree(clips, folder)
    (folder / "manifest.jsonl").write_text("".join(f"{line}\n" for line in first_bad))
    summary = home.run("-f", home.job("halted", folder, job={"sharding": {"targetAudio": "1s"}}, quarantine=limits))
    assert summary["rc"] == 1 and "haltFanOutPercent of 1" in summary["reason"]
    assert summary["figures"]["counts"]["notRun"] > 0


@pytest.mark.parametrize(
    ("changes", "environment", "expected_message"),
    [
        ({"paralelism": 2}, {}, "spec.paralelism: unknown field; write parallelism"),
        ({}, {"MLX_AUDIO_SAMPLE_RATE_HZ": "44100"}, "MLX_AUDIO_SAMPLE_RATE_HZ=44100 in the environment and"),
        ({}, {"MLX_AUDIO_BATCH_SIZE": "many"}, "MLX_AUDIO_BATCH_SIZE=many: write a whole number from 1 to 8"),
        ({"output": {"uri": "s3://out/"}, "credentialsSecretRef": {"name": "s3"}}, {}, "s3:// needs AWS_ACCESS_KEY_ID"),
    ],
)
def test_wrong_documents_or_settings_end_with_2_and_say_why(
    home: Home, clips: Path, changes: dict[str, object], environment: dict[str, str], expected_message: str
) -> None:
    job = home.job("wrong", clips, job=changes)
    ended = home.invoke("run", "-f", job, **environment)
    assert ended.returncode == 2 and expected_message in ended.stderr


@pytest.mark.parametrize(
    ("changes", "expected_message"),
    [
        ({"input": {"manifest": {"uri": "file:///nowhere/at/all.jsonl"}}}, "InputNotFound"),
        ({"model": {"path": "/nowhere/at/all"}}, "ModelUnavailable"),
    ],
)
def test_missing_inputs_or_models_end_with_2(
    home: Home, clips: Path, changes: dict[str, object], expected_message: str
) -> None:
    ended = home.agent("run", "-f", home.job("wrong", clips, job=changes))
    assert ended.returncode == 2 and expected_message in ended.stdout and "Traceback" not in ended.stderr
    assert not (home.folder / "out").exists() or not list((home.folder / "out").glob("*/index.json"))


def test_a_job_copied_from_a_cluster_does_not_write_into_the_cluster_s_folder(home: Home, finished: Finished) -> None:
    documents = list(yaml.safe_load_all(finished.job.read_text()))
    uid = f"{finished.folder.name.rpartition('-')[2]}-1111-2222-3333-444455556666"
    documents[1]["metadata"]["uid"] = uid
    file = home.folder / "copied.yaml"
    file.write_text(yaml.safe_dump_all(documents))
    ended = home.agent("run", "-f", file)
    assert ended.returncode == 1 and "leave metadata.uid out" in ended.stderr


def test_an_agent_s_configuration_is_used_only_while_the_agent_does_not_run(home: Home, refused: Path) -> None:
    scratch = home.folder / "agent" / "scratch"
    config = home.folder / "agent.yaml"
    settings = {
        "stateDir": str(home.folder / "agent" / "state"),
        "tokenFile": str(home.folder / "token"),
        "ledgerKeyFile": str(home.folder / "key"),
        "scratch": {"path": str(scratch), "quota": "1Gi", "minFree": "1Mi"},
        "allow": [f"file://{refused}/", f"file://{home.folder}/"],
    }
    job = home.job("with-agent", refused, quarantine=ALL)
    config.write_text(yaml.safe_dump(settings))
    serving = Scratch(scratch, 2**30, 0)
    try:
        held = home.agent("run", "-f", job, "-c", config)
    finally:
        serving.close()
    assert held.returncode == 1 and "is running and holds its scratch folder" in held.stderr
    summary = home.run("-f", job, "-c", config)
    assert summary["rc"] == 0, summary
    assert len(rows_of(local(summary["output"]))) == 1 and not files_below(scratch)
    assert not (home.folder / "agent" / "state" / "journal.sqlite3").exists()

    config.write_text(yaml.safe_dump({**settings, "allow": [f"file://{home.folder}/"]}))
    elsewhere = home.run("-f", home.job("denied", refused), "-c", config)
    assert elsewhere["rc"] == 2 and "AccessDenied" in elsewhere["reason"]


def wait_for(process: subprocess.Popen[str], line: str) -> None:
    """Waits until the process prints the line."""
    assert process.stderr is not None
    for printed in process.stderr:
        if line in printed:
            return
    raise AssertionError(f"ended without saying {line!r}")


def test_results_go_to_s3_and_the_secret_stays_in_memory(home: Home, refused: Path, s3_server: S3Server) -> None:
    s3_server.bucket("local-runs")
    aws = {
        "AWS_ACCESS_KEY_ID": s3_server.access_key_id,
        "AWS_SECRET_ACCESS_KEY": s3_server.secret_access_key,
        "AWS_ENDPOINT_URL": s3_server.endpoint,
    }
    changes = {"output": {"uri": "s3://local-runs/"}, "credentialsSecretRef": {"name": "s3"}}
    job = home.job("in-s3", refused, job=changes, quarantine=ALL)
    summary = home.run_here("-f", job, **aws)
    assert summary["rc"] == 0, summary
    compared = home.invoke("compare", summary["output"], f"{summary['output']}/index.json", **aws)
    assert compared.returncode == 0, compared.stderr
    assert home.invoke("run", "-f", job).returncode == 2
    secret = s3_server.secret_access_key
    assert secret not in str(summary) + compared.stdout + compared.stderr
    kept = files_below(home.folder)
    assert kept and not any(secret.encode() in path.read_bytes() for path in kept)


def test_the_same_command_retries_failures(home: Home, clips: Path) -> None:
    model = home.folder / "model"
    shutil.copytree(builtin_model_folder(BuiltinName.COMMANDS), model)
    job = home.job("mended", clips, job={"model": {"path": str(model)}}, quarantine=LENIENT)
    assert home.agent("run", "-f", job, VOXFLEET_CRASH_AT="plan-uploaded").returncode == EXIT_CODE
    settings = (model / "config.json").read_bytes()
    (model / "config.json").write_bytes(settings + b"\n")
    failed = home.run("-f", job)
    assert failed["rc"] == 1 and "ModelMismatch" in failed["reason"]
    assert {row.status for row in rows_of(local(failed["output"]))} == {ClipStatus.NOT_RUN}
    (model / "config.json").write_bytes(settings)
    mended = home.run("-f", job)
    assert mended["rc"] == 0 and mended["output"] == failed["output"]
    assert texts(local(mended["output"])) == expected()


def test_a_run_tells_what_its_prefix_left_out_in_counts(home: Home, refused: Path, tmp_path: Path) -> None:
    folder = tmp_path / "calls"
    (folder / ".Trashes").mkdir(parents=True)
    for name in ("CALL.WAV", ".Trashes/Jane.wav", "Jane.txt"):
        shutil.copy(next(refused.glob("*.wav")), folder / name)
    (folder / "elsewhere").symlink_to(refused)
    job = home.job("prefix", folder, job={"input": {"prefix": {"uri": f"file://{folder}/", "include": ["*.wav"]}}})
    summary = home.run_here("-f", job)
    skipped = [{"reason": reason, "entries": 1} for reason in ("Hidden", "NoPatternMatched", "LinkedFolder")]
    assert summary["input"] == {"listed": 4, "taken": 1, "skipped": skipped}
    told = "4 listed, 1 taken, 1 Hidden, 1 NoPatternMatched, 1 LinkedFolder"
    assert told in summary["stderr"] and "Jane" not in summary["stderr"]
    assert told in home.invoke("run", "-f", job).stdout, "the table of a run has them too"
