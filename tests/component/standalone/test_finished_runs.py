"""Finished runs are compared, replayed, and verified against their bundle."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from tests.component.standalone.conftest import BAD, GOOD, Finished, Home, copy_clips, files_below, local, rows_of

from voxfleet_agent.models.store import builtin_model_folder
from voxfleet_api.digest import canonical_json, sha256_hex
from voxfleet_api.kinds.job_model import BuiltinName


def rewritten(folder: Path, copy: Path, index: int, text: str) -> Path:
    """Copies a run, changes one clip's transcript, and keeps all digests consistent."""
    shutil.copytree(folder, copy)
    lines = (copy / "results.jsonl").read_bytes().splitlines()
    rows = [json.loads(line) for line in lines]
    changed = [{**row, "text": text} if row["index"] == index else row for row in rows]
    content = "".join(f"{json.dumps(row)}\n" for row in changed).encode()
    (copy / "results.jsonl").write_bytes(content)
    listing = json.loads((copy / "index.json").read_bytes())
    for file in listing["files"]:
        if file["path"] == "results.jsonl":
            file |= {"sha256": sha256_hex(content), "sizeBytes": len(content)}
    (copy / "index.json").write_bytes(canonical_json(listing))
    return copy


def with_files_of_bundle(run: Path) -> Path:
    """Updates the bundle to the current digests of its files."""
    bundle = json.loads((run / "repro" / "bundle.json").read_bytes())
    for file in bundle["files"]:
        content = (run / file["path"]).read_bytes()
        file |= {"sha256": sha256_hex(content), "sizeBytes": len(content)}
    content = canonical_json(bundle)
    (run / "repro" / "bundle.json").write_bytes(content)
    listing = json.loads((run / "index.json").read_bytes())
    for file in listing["files"]:
        if file["path"] == "repro/bundle.json":
            file |= {"sha256": sha256_hex(content), "sizeBytes": len(content)}
    (run / "index.json").write_bytes(canonical_json(listing))
    return run


def compared(home: Home, *words: str | Path) -> tuple[int, dict[str, Any]]:
    ended = home.invoke("compare", *words, "-o", "json")
    return ended.returncode, json.loads(ended.stdout)


def test_a_run_equals_itself_by_path_and_by_address(finished: Finished) -> None:
    code, found = compared(finished.home, finished.folder, f"file://{finished.folder}/")
    assert code == 0 and found["same"] and found["differences"] == [] and found["machines"] == {}
    assert found["a"]["wallSeconds"] == found["b"]["wallSeconds"] > 0
    assert found["a"]["counts"]["succeeded"] == len(GOOD) and found["a"]["milliseconds"]["latency"]["p95"] > 0
    shown = finished.home.invoke("compare", finished.folder, finished.folder / "repro" / "bundle.json")
    assert shown.returncode == 0 and "latency p95 ms" in shown.stdout and "7 clips are in both runs" in shown.stdout


def test_a_different_transcript_is_shown_only_by_index_and_rate(finished: Finished, tmp_path: Path) -> None:
    clip = next(row for row in rows_of(finished.folder) if row.text and len(row.text.split()) == 2)
    words = (clip.text or "").split()
    other = rewritten(finished.folder, tmp_path / "other", clip.index, f"{words[0]} zebra")
    code, found = compared(finished.home, finished.folder, other)
    assert code == 1 and not found["same"]
    (difference,) = found["differences"]
    assert (difference["index"], difference["a"], difference["b"]) == (clip.index, "succeeded", "succeeded")
    assert (difference["wordErrorPercent"], difference["what"]) == (50.0, "1 replaced of 2 words")
    shown = finished.home.invoke("compare", finished.folder, other)
    assert "50.0 %" in shown.stdout and "1 replaced of 2 words" in shown.stdout and "zebra" not in shown.stdout
    assert "zebra" in finished.home.invoke("compare", finished.folder, other, "--show-text").stdout


def test_different_settings_of_two_runs_are_named(finished: Finished, home: Home) -> None:
    job = home.job("stricter", finished.clips, quarantine={"maxClips": 1, "maxPercent": 50})
    documents = list(yaml.safe_load_all(job.read_text()))
    documents[0]["spec"]["input"]["maxClip"] = "2s"
    job.write_text(yaml.safe_dump_all(documents))
    summary = home.run("-f", job, MLX_AUDIO_BATCH_SIZE="2")
    code, found = compared(finished.home, finished.folder, summary["output"])
    assert found["settings"]["contract.input.maxClip"] == {"a": "30s", "b": "2s"}
    assert found["settings"]["MLX_AUDIO_BATCH_SIZE"] == {"a": "4", "b": "2"}
    assert code == (0 if found["same"] else 1)
    shown = home.invoke("compare", finished.folder, summary["output"]).stdout
    assert "contract.input.maxClip" in shown


def test_a_folder_without_a_finished_run_ends_with_2(finished: Finished, tmp_path: Path) -> None:
    nothing = finished.home.invoke("compare", finished.folder, tmp_path)
    assert nothing.returncode == 2 and "has no index.json" in nothing.stderr
    copy = tmp_path / "changed"
    shutil.copytree(finished.folder, copy)
    with (copy / "results.jsonl").open("ab") as file:
        file.write(b"\n")
    changed = finished.home.invoke("compare", finished.folder, copy)
    assert changed.returncode == 2 and "results.jsonl was changed" in changed.stderr


def test_the_worst_clips_run_again_from_where_the_input_has_them(home: Home) -> None:
    clips = copy_clips(home.folder / "clips", GOOD[:3])
    summary = home.run("-f", home.job("replayed", clips))
    assert summary["rc"] == 0
    folder = local(summary["output"])
    changed = rows_of(folder)[1]
    with (clips / json.loads((clips / "manifest.jsonl").read_text().splitlines()[1])["uri"]).open("ab") as clip:
        clip.write(b"\0")
    before = {path: path.read_bytes() for path in files_below(folder)}

    ended = home.agent("replay", folder, "--worst", "3", "-o", "json")
    found = json.loads(ended.stdout)
    assert ended.returncode == 1 and not found["same"]
    assert sorted(clip["index"] for clip in found["clips"]) == [0, 1, 2]
    for clip in found["clips"]:
        intact = clip["index"] != changed.index
        assert clip["same"] == intact
        assert clip["after"]["outcome"] == ("succeeded" if intact else "quarantined (ChecksumMismatch)")
        assert clip["before"]["milliseconds"]["infer"] > 0 and "text" not in clip["before"]
        if intact:
            assert clip["after"]["milliseconds"]["infer"] > 0
    assert {path: path.read_bytes() for path in files_below(folder)} == before
    assert not files_below(home.scratch)


def verified(home: Home, bundle: Path, *words: str | Path, here: bool = False) -> tuple[int, dict[str, Any]]:
    """`here`: in this process, where no clip runs again."""
    ended = (home.invoke if here else home.agent)("repro", "verify", bundle, *words, "-o", "json")
    assert ended.stdout, ended.stderr
    return ended.returncode, json.loads(ended.stdout)


def test_a_bundle_is_the_same_on_the_machine_that_made_it(finished: Finished) -> None:
    bundle = finished.folder / "repro" / "bundle.json"
    code, found = verified(finished.home, bundle, "--sample", "3", "--seed", "7")
    assert code == 0 and found["same"] and found["files"] == found["model"] == found["versions"] == []
    assert len(found["clips"]) == 3 and all(clip["same"] for clip in found["clips"])
    bad = next(row.index for row in rows_of(finished.folder) if row.custom_id == BAD)
    assert bad not in {clip["index"] for clip in found["clips"]}


def test_a_clip_with_another_text_is_named_by_its_class(finished: Finished, tmp_path: Path) -> None:
    clip = next(row for row in rows_of(finished.folder) if row.text)
    other = with_files_of_bundle(rewritten(finished.folder, tmp_path / "other", clip.index, "zebra"))
    code, found = verified(finished.home, other / "repro" / "bundle.json", "--sample", "200")
    assert code == 1 and not found["same"] and found["files"] == []
    assert {clip["index"]: clip["class"] for clip in found["clips"] if not clip["same"]} == {
        clip.index: "NondeterministicReplay"
    }
    shown = finished.home.agent("replay", other, "--worst", "200")
    assert shown.returncode == 1 and "NondeterministicReplay: 1 replaced" in shown.stdout


def test_a_run_in_which_nothing_reached_the_model_is_not_blamed_on_this_machine(home: Home, refused: Path) -> None:
    summary = home.run_here("-f", home.job("early", refused, quarantine={"maxClips": 0}))
    assert summary["ending"] == "Failed"
    assert summary["stderr"].partition("planned: 1 clip, ")[2].partition("\n")[0].endswith(" 1 shard")
    bundle = local(summary["output"]) / "repro" / "bundle.json"
    code, found = verified(home, bundle, here=True)
    assert code == 2 and found["same"] and found["model"] == found["versions"] == found["clips"] == []
    assert "no clip of this run reached the model" in found["notVerified"]
    shown = home.invoke("repro", "verify", bundle)
    assert "NOT VERIFIED" in shown.stdout and "1 were quarantined" in shown.stdout and "DIFFERENT" not in shown.stdout
    again = home.invoke("replay", local(summary["output"]))
    assert again.returncode == 2 and "no clip of this run reached the model" in again.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells another process's limits")
@pytest.mark.parametrize("words", ["replay", "repro verify"])
def test_clips_that_run_again_dump_no_core(finished: Finished, home: Home, words: str) -> None:
    with home.start(*words.split(), finished.folder) as process:
        assert process.stderr is not None
        assert any("planned: " in line for line in process.stderr)
        assert psutil.Process(process.pid).rlimit(psutil.RLIMIT_CORE) == (0, 0)
        process.kill()


@pytest.mark.parametrize("name", ["repro/metrics.json", "repro/batch-table.csv"])
def test_a_changed_file_is_named(finished: Finished, tmp_path: Path, name: str) -> None:
    shutil.copytree(finished.folder, tmp_path / "run")
    with (tmp_path / "run" / name).open("ab") as file:
        file.write(b" ")
    code, found = verified(finished.home, tmp_path / "run" / "repro" / "bundle.json", "--sample", "0", here=True)
    assert code == 1 and found["files"] == [f"{name}: was changed"]


def test_a_missing_file_is_not_taken_for_another_file_of_its_run(finished: Finished) -> None:
    ended = finished.home.invoke("repro", "verify", finished.folder / "nope.json", "--sample", "0")
    assert ended.returncode == 2 and "nope.json does not exist; give the folder" in ended.stderr


def test_other_weights_are_an_error_and_another_version_a_warning(finished: Finished, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(builtin_model_folder(BuiltinName.COMMANDS), model)
    with (model / "config.json").open("a") as file:
        file.write("\n")
    run = tmp_path / "run"
    shutil.copytree(finished.folder, run)
    bundle = json.loads((run / "repro" / "bundle.json").read_bytes())
    bundle["settings"][0]["versions"]["mlx"] = "0.1.0"
    (run / "repro" / "bundle.json").write_bytes(canonical_json(bundle))
    with_files_of_bundle(run)
    ended = finished.home.agent("repro", "verify", run / "repro" / "bundle.json", "--model", model)
    assert ended.returncode == 1 and "error: model: config.json: has sha256" in ended.stdout
    assert "warning: mlx is" in ended.stdout and "0.1.0 there" in ended.stdout
