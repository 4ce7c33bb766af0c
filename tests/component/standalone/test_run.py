"""A job without a cluster, with real documents, clips and model: what one run writes, prints and refuses."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import psutil
import pytest
import yaml
from safetensors.numpy import load_file, save_file
from tests.component.standalone.conftest import (
    ALL,
    BAD,
    GOOD,
    LENIENT,
    Finished,
    Home,
    expected,
    expected_texts,
    files_below,
    local,
    rows_of,
    texts,
    wait_for,
)

from voxfleet_agent import blas
from voxfleet_agent.scratch import Scratch
from voxfleet_api.rows import ClipStatus
from voxfleet_dev.s3 import S3Server
from voxfleet_models.families import make_model


def test_a_job_runs_as_on_a_fleet(finished: Finished) -> None:
    assert texts(finished.folder) == expected()
    names = {path.name for path in finished.folder.iterdir()}
    assert {"contract.json", "plan", "parts", "results.jsonl", "errors.jsonl", "repro", "index.json"} <= names
    attempts = {path.name for path in finished.folder.glob("parts/*/*")}
    assert attempts == {"1"} and len(list(finished.folder.glob("parts/*"))) > 1
    assert {path.name for path in finished.home.scratch.iterdir()} == {"quarantine"}
    assert not files_below(finished.home.scratch)


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


def test_a_refused_run_leaves_no_folder(home: Home, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    job = home.job("nothing", tmp_path, job={"input": {"prefix": {"uri": f"file://{tmp_path}/in/"}}})
    ended = home.run_here("-f", job)
    assert (ended["rc"], ended["ending"]) == (2, "Refused")
    assert not (home.folder / "out").exists() and not list(home.state.glob("voxfleet/runs/*"))


def test_a_run_takes_no_more_lanes_than_its_job_allows(home: Home, refused: Path) -> None:
    job = home.job("narrow", refused, job={"parallelism": 2}, quarantine=ALL)
    summary = home.run_here("-f", job, "--lanes", "3")
    assert (summary["rc"], summary["lanes"]) == (0, 2)


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
        (
            {"input": {"manifest": {"uri": "file:///nowhere/at/all.jsonl"}}},
            "InputNotFound: spec.input.manifest.uri: the file /nowhere/at/all.jsonl does not exist, or this Mac does"
            " not see it; create it, mount its volume or correct it",
        ),
        ({"model": {"path": "/nowhere/at/all"}}, "ModelUnavailable"),
    ],
)
def test_missing_inputs_or_models_end_with_2(
    home: Home, clips: Path, changes: dict[str, object], expected_message: str
) -> None:
    ended = home.invoke("run", "-f", home.job("wrong", clips, job=changes))
    assert ended.returncode == 2 and expected_message in ended.stdout and "Traceback" not in ended.stderr
    assert not (home.folder / "out").exists() or not list((home.folder / "out").glob("*/index.json"))


def test_a_model_that_no_lane_can_load_ends_with_2_and_says_what_it_lacks(home: Home, clips: Path) -> None:
    folder = make_model("granite_speech5_ctc", home.folder / "model")
    weights = load_file(folder / "model.safetensors")
    lost = sorted(weights)[0]
    save_file({name: array for name, array in weights.items() if name != lost}, folder / "model.safetensors")
    ended = home.agent("run", "-f", home.job("not-whole", clips, job={"model": {"path": str(folder)}}))
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert f"ModelUnavailable: the model in {folder} is not whole: no file holds 1 tensor ({lost})" in ended.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere MLX's own BLAS is the fast one")
def test_a_slow_blas_is_told_once_and_never_of_the_built_in_model(
    home: Home, refused: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing_loaded = tmp_path / "maps"
    nothing_loaded.touch()
    monkeypatch.setattr(blas, "_MEMORY_MAP", nothing_loaded)
    model = make_model("granite_speech5_ctc", tmp_path / "model")
    real = home.job("real", refused, job={"model": {"path": str(model)}}, quarantine=ALL)
    told = home.run_here("-f", real, "--lanes", "2")["stderr"]
    assert told.count("slower than OpenBLAS, which is not loaded") == 1 and "run `export LD_PRELOAD=/" in told
    again, builtin = home.run_here("-f", real), home.run_here("-f", home.job("small", refused, quarantine=ALL))
    assert "OpenBLAS" not in again["stderr"] + builtin["stderr"], "nothing ran, or nothing is gained"


def test_a_job_copied_from_a_cluster_does_not_write_into_the_cluster_s_folder(home: Home, finished: Finished) -> None:
    documents = list(yaml.safe_load_all(finished.job.read_text()))
    uid = f"{finished.folder.name.rpartition('-')[2]}-1111-2222-3333-444455556666"
    documents[1]["metadata"]["uid"] = uid
    file = home.folder / "copied.yaml"
    file.write_text(yaml.safe_dump_all(documents))
    ended = home.invoke("run", "-f", file)
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
        held = home.invoke("run", "-f", job, "-c", config)
    finally:
        serving.close()
    assert held.returncode == 1 and "is running and holds its scratch folder" in held.stderr
    summary = home.run_here("-f", job, "-c", config)
    assert summary["rc"] == 0, summary
    assert len(rows_of(local(summary["output"]))) == 1 and not files_below(scratch)
    assert not (home.folder / "agent" / "state" / "journal.sqlite3").exists()

    config.write_text(yaml.safe_dump({**settings, "allow": [f"file://{home.folder}/"]}))
    elsewhere = home.run_here("-f", home.job("denied", refused), "-c", config)
    assert elsewhere["rc"] == 2 and "AccessDenied" in elsewhere["reason"]


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
