"""What Plan makes of the folders that people have: no entry refuses its neighbours, and each is a row or counted."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.component.stages.stage_rig import Job, frozen, planned, write_wav
from tests.rig.lane_account import ENTRY, needs_root

from voxfleet_agent.storage import Storage
from voxfleet_api.digest import sha256_hex
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.input_selection import SkippedRow, SkipReason
from voxfleet_api.kinds.job_input import ClipInput, JobInput, ManifestInput, PrefixInput
from voxfleet_api.results import PlanFile, PlanResult


def skipped(job: Job) -> dict[str, str]:
    """The reason by name, as skipped.jsonl holds them."""
    lines = (job.folder / "plan" / "1" / "skipped.jsonl").read_bytes().splitlines()
    return {row.name: row.reason.value for row in map(SkippedRow.model_validate_json, lines)}


def refusals(job: Job) -> dict[str, FailureClass | None]:
    return {row.custom_id: row.refusal.failure_class if row.refusal else None for row in job.manifest()}


def prefix(job: Job, *include: str) -> JobInput:
    return JobInput(prefix=PrefixInput(uri=f"{job.clips.as_uri()}/", include=include or ("*",)))


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(path))


async def refusal(job: Job, job_input: JobInput) -> VoxFleetError:
    with pytest.raises(VoxFleetError) as caught:
        await job.plan(job_input=job_input)
    return caught.value


async def test_one_odd_entry_stops_no_other(job: Job) -> None:
    job.add_clips(1)
    elsewhere = job.root / "elsewhere"
    elsewhere.mkdir()
    write_wav(elsewhere / "b.wav", 2)
    (job.clips / "sub").symlink_to(elsewhere)
    (job.clips / ".cache").symlink_to(elsewhere)
    (job.clips / "around").symlink_to(job.clips)
    (job.clips / "gone.wav").symlink_to(job.root / "nowhere.wav")
    (job.clips / "me.wav").symlink_to("me.wav")
    (job.clips / "linked.wav").symlink_to(elsewhere / "b.wav")
    os.mkfifo(job.clips / "pipe.wav")
    make_socket(job.clips / "socket.wav")
    (job.clips / os.fsdecode(b"\xff.wav")).write_bytes(b"RIFF")
    plan = planned(await job.plan())
    found = refusals(job)
    assert {name for name, refused in found.items() if refused is None} == {"000.wav", "linked.wav"}
    assert (found["gone.wav"], found["me.wav"]) == (FailureClass.INPUT_NOT_FOUND, FailureClass.INPUT_NOT_FOUND)
    assert found["\\xff.wav"] is FailureClass.INVALID_INPUT
    assert {"pipe.wav", "socket.wav"} < found.keys()
    assert skipped(job) == {"sub/": "LinkedFolder", ".cache/": "LinkedFolder", "around/": "LinkedFolder"}
    assert plan.selection is not None and plan.selection.text == "10 listed, 7 taken, 3 LinkedFolder"
    reasons = {row.custom_id: row.refusal.reason for row in job.manifest() if row.refusal}
    assert "symbolic link that leads back to itself" in reasons["me.wav"]
    assert "permission" not in reasons["me.wav"] and "not UTF-8" in reasons["\\xff.wav"]
    await job.process(plan)


async def test_every_entry_is_counted_and_named_only_in_the_output(job: Job) -> None:
    job.add_clips(2)
    write_wav(job.clips / "B.WAV", 3)
    for name in ("._000.wav", ".Trashes/501/old.wav", "__MACOSX/._a.wav", "@eaDir/a.wav", "notes.txt", "deep/x.md"):
        (job.clips / name).parent.mkdir(parents=True, exist_ok=True)
        write_wav(job.clips / name, 4)
    result = await job.plan(job_input=prefix(job, "*.wav"))
    plan = planned(result)
    assert set(refusals(job)) == {"000.wav", "001.wav", "B.WAV"}
    assert skipped(job) == {
        "._000.wav": "Hidden",
        ".Trashes/": "Hidden",
        "@eaDir/": "Hidden",
        "__MACOSX/": "Hidden",
        "notes.txt": "NoPatternMatched",
        "deep/x.md": "NoPatternMatched",
    }
    file = PlanFile.model_validate_json((job.folder / "plan" / "1" / "plan.json").read_bytes())
    assert plan.selection is not None and plan.selection == file.selection
    assert plan.selection.text == "9 listed, 3 taken, 4 Hidden, 2 NoPatternMatched"
    assert "wav" not in result.model_dump_json()
    assert PlanResult.load(json.loads(json.dumps(plan.dump()))) == plan
    again = await job.plan(job_input=prefix(job, "*.wav"))
    assert again == frozen(result) and again.commit_sha256 == sha256_hex((job.folder / "plan/1/plan.json").read_bytes())


async def test_other_inputs_have_no_selection(job: Job) -> None:
    job.add_clips(1)
    clips = (ClipInput(id="a", uri=f"{job.clips.as_uri()}/000.wav"),)
    assert planned(await job.plan(job_input=JobInput(clips=clips))).selection is None
    assert not (job.folder / "plan" / "1" / "skipped.jsonl").exists()


async def test_a_folder_without_clips_says_what_it_holds(job: Job) -> None:
    empty = await refusal(job, prefix(job))
    assert "it holds no files" in empty.message and empty.failure_class is FailureClass.INVALID_INPUT
    (job.clips / ".x.wav").write_bytes(b"")
    (job.clips / "Jane Doe.mp3").write_bytes(b"")
    other = await refusal(job, prefix(job, "*.opus"))
    assert "2 entries: 1 hidden, 1 that no pattern matches" in other.message
    assert "No name matches *.opus; what is there ends in .mp3 (1)" in other.message
    assert "Jane" not in other.message


async def test_a_folder_that_is_not_there_is_not_an_empty_one(job: Job) -> None:
    missing = await refusal(job, JobInput(prefix=PrefixInput(uri=f"{job.root.as_uri()}/nope/")))
    assert missing.failure_class is FailureClass.INPUT_NOT_FOUND
    assert f"spec.input.prefix.uri: the folder {job.root}/nope/ does not exist" in missing.message
    (job.root / "x.wav").write_bytes(b"")
    file = await refusal(job, JobInput(prefix=PrefixInput(uri=f"{job.root.as_uri()}/x.wav/")))
    assert "names a file, not a folder" in file.message
    assert not (job.folder / "plan" / "1" / "plan.json").exists()


async def test_an_address_with_percent_escapes_is_told_the_name_without_them(job: Job) -> None:
    write_wav(job.clips / "a b.wav", 1)
    write_wav(job.clips / "c%20d.wav", 2)
    clips = (
        ClipInput(id="escaped", uri=(job.clips / "a b.wav").as_uri()),
        ClipInput(id="literal", uri=f"{job.clips.as_uri()}/c%20d.wav"),
    )
    await job.plan(job_input=JobInput(clips=clips))
    escaped, literal = [row.refusal for row in job.manifest()]
    assert escaped is not None and escaped.failure_class is FailureClass.INPUT_NOT_FOUND
    assert "it exists without the percent escapes" in escaped.reason
    assert literal is None


@pytest.mark.parametrize(("written", "stored"), [("NFC", "NFD"), ("NFD", "NFC")])
async def test_a_name_in_the_other_unicode_spelling_is_found_out(job: Job, written: str, stored: str) -> None:
    def spelled(form: str, name: str) -> str:
        return unicodedata.normalize("NFC" if form == "NFC" else "NFD", name)

    folder = job.clips / spelled(stored, "Übungen")
    folder.mkdir()
    write_wav(folder / spelled(stored, "Café.wav"), 1)
    write_wav(folder / "plain.wav", 2)
    uri = f"{job.clips.as_uri()}/{spelled(written, 'Übungen')}"
    clips = (
        ClipInput(id="both", uri=f"{uri}/{spelled(written, 'Café.wav')}"),
        ClipInput(id="folder", uri=f"{uri}/plain.wav"),
        ClipInput(id="neither", uri=f"{uri}/Ü.wav"),
    )
    await job.plan(job_input=JobInput(clips=clips))
    both, parent, neither = [row.refusal for row in job.manifest()]
    word = {"NFC": "composed (NFC)", "NFD": "decomposed (NFD)"}[stored]
    for found in (both, parent):
        assert found is not None and found.failure_class is FailureClass.INPUT_NOT_FOUND
        assert f"it exists with {word} accents" in found.reason
    assert neither is not None and "accents" not in neither.reason
    shutil.rmtree(job.folder)
    missing = await refusal(job, JobInput(prefix=PrefixInput(uri=f"{uri}/")))
    assert "does not exist, or this Mac does not see it; create it" in missing.message and word in missing.message
    (job.clips / spelled(stored, "é.jsonl")).write_text("{}")
    manifest = ManifestInput(uri=f"{job.clips.as_uri()}/{spelled(written, 'é.jsonl')}")
    assert word in (await refusal(job, JobInput(manifest=manifest))).message


@pytest.fixture
def readable_by_all() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def forbid_listing(folder: Path) -> None:
    """Names in the folder may still be opened."""
    folder.chmod(0o711)


@contextmanager
def as_account() -> Iterator[None]:
    """This process without root's rights, which would let it read everything."""
    os.seteuid(ENTRY.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)


@needs_root
async def test_a_folder_that_may_not_be_read_is_skipped(readable_by_all: Path) -> None:
    for name in ("a/1.wav", "lost+found/2.wav", "b/deep/3.wav"):
        (readable_by_all / name).parent.mkdir(parents=True)
        (readable_by_all / name).write_bytes(b"")
    (readable_by_all / "lost+found").chmod(0o700)
    forbid_listing(readable_by_all / "b" / "deep")
    prefix = f"{readable_by_all.as_uri()}/"
    storage = Storage([prefix])
    with as_account():
        listing = await storage.list_objects(prefix, 100)
        with pytest.raises(VoxFleetError, match="may not read; check owner and permissions"):
            await storage.list_names(prefix, 100)
    assert listing.names == ["a/1.wav"]
    assert {folder.name: folder.reason for folder in listing.skipped} == {
        "b/deep": SkipReason.NOT_READABLE,
        "lost+found": SkipReason.NOT_READABLE,
    }
    forbid_listing(readable_by_all)
    with as_account(), pytest.raises(VoxFleetError) as caught:
        await storage.list_objects(prefix, 100)
    assert caught.value.failure_class is FailureClass.ACCESS_DENIED, "the prefix itself may not be read"


async def test_the_job_s_own_files_are_listed_completely_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "folder").mkdir()
    (tmp_path / "there" / "link").symlink_to(tmp_path / "folder")
    storage = Storage([f"{tmp_path.as_uri()}/"])
    with pytest.raises(VoxFleetError, match="link to a folder"):
        await storage.list_names(f"{tmp_path.as_uri()}/there/", 10)
