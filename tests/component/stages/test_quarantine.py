"""One Mac's quarantine on a real file system."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.rig.attempt_spec import SPEECH, attempt_spec

from voxfleet_agent import quarantine as quarantine_module
from voxfleet_agent.quarantine import QuarantineStore, RetainedClip
from voxfleet_agent.scratch import Scratch, remove_entry
from voxfleet_api.attempt_spec import AttemptKey, AttemptSpec
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds import contract_limits
from voxfleet_api.kinds.audio_shard import JobRef, Stage
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.rows import Evidence

UID = "0f0f0f0f-0000-4000-8000-000000000000"


class ManualClock:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 20, tzinfo=UTC)

    def wall(self) -> datetime:
        return self.now

    def lease_seconds(self) -> float:
        raise AssertionError("a clip outlives the process")

    def metered_milliseconds(self) -> int:
        raise AssertionError("nothing is metered")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def quarantine(tmp_path: Path, clock: ManualClock) -> QuarantineStore:
    return QuarantineStore(tmp_path / "scratch" / "quarantine", 10_000, clock)


def spec(*, namespace: str = "speech", job: str = "nightly", retain_for: str | None = "1h") -> AttemptSpec:
    contract = VoiceContractSpec(input=SPEECH, quarantine=contract_limits.Quarantine(retain_for=retain_for))
    return attempt_spec(Stage.PROCESS, "s", contract, namespace=namespace, job=JobRef(name=job, uid=UID))


def evidence(index: int = 7) -> Evidence:
    return Evidence(index=index, custom_id="a", failure_class=FailureClass.DECODE_ERROR, reason="ends early")


def clip_file(folder: Path, size_bytes: int = 100) -> Path:
    path = folder / "clip-7"
    path.unlink(missing_ok=True)  # the quarantine may have linked the previous one
    path.write_bytes(b"x" * size_bytes)
    return path


def names(quarantine: QuarantineStore) -> list[str]:
    return [clip.name for clip in quarantine.clips()]


async def test_evidence_and_a_copy_lie_in_the_job_s_own_folder(quarantine: QuarantineStore, tmp_path: Path) -> None:
    clip = clip_file(tmp_path)
    await quarantine.open(spec()).keep(evidence(), clip)
    clip.unlink()
    folder = tmp_path / "scratch" / "quarantine" / "speech" / "nightly-0f0f0f0f" / "000007-DecodeError"
    assert (folder / "clip").read_bytes() == b"x" * 100
    assert Evidence.model_validate_json((folder / "evidence.json").read_bytes()) == evidence()
    for path in (folder, *folder.parents[:3]):
        assert path.stat().st_mode & 0o777 == 0o700, path
    (kept,) = quarantine.clips()
    assert (kept.namespace, kept.job, kept.index, kept.path) == ("speech", "nightly-0f0f0f0f", 7, folder)
    assert kept.expires_at - kept.kept_at == timedelta(hours=1)
    assert kept.size_bytes == sum(path.stat().st_size for path in folder.iterdir()) == quarantine.size_bytes


async def test_a_contract_that_retains_nothing_leaves_nothing(quarantine: QuarantineStore, tmp_path: Path) -> None:
    await quarantine.open(spec(retain_for=None)).keep(evidence(), clip_file(tmp_path))
    assert not quarantine.path.exists() and quarantine.clips() == []


async def test_the_same_clip_is_kept_once_and_for_its_whole_time(
    quarantine: QuarantineStore, clock: ManualClock, tmp_path: Path
) -> None:
    folder = quarantine.open(spec())
    await folder.keep(evidence(), clip_file(tmp_path))
    clock.now += timedelta(minutes=50)
    await folder.keep(evidence(), None)
    (kept,) = quarantine.clips()
    assert kept.kept_at == clock.now and not (kept.path / "clip").exists()


async def test_clips_expire_by_the_clock_and_empty_folders_go(
    quarantine: QuarantineStore, clock: ManualClock, tmp_path: Path
) -> None:
    await quarantine.open(spec()).keep(evidence(1), clip_file(tmp_path))
    await quarantine.open(spec(job="weekly", retain_for="2h")).keep(evidence(2), clip_file(tmp_path))
    clock.now += timedelta(minutes=59)
    assert await quarantine.expire() == 0
    clock.now += timedelta(minutes=1)
    assert await quarantine.expire() == 1
    assert names(quarantine) == ["000002-DecodeError"]
    assert [path.name for path in (quarantine.path / "speech").iterdir()] == ["weekly-0f0f0f0f"]
    clock.now += timedelta(hours=1)
    assert (await quarantine.expire(), await quarantine.expire()) == (1, 0)
    assert list(quarantine.path.iterdir()) == []


async def test_the_oldest_clips_are_evicted_for_the_quota(
    quarantine: QuarantineStore, clock: ManualClock, tmp_path: Path
) -> None:
    for index in range(4):
        await quarantine.open(spec(job=f"job-{index}")).keep(evidence(index), clip_file(tmp_path, 3000))
        assert quarantine.size_bytes <= 10_000
        clock.now += timedelta(seconds=1)
    assert names(quarantine) == ["000001-DecodeError", "000002-DecodeError", "000003-DecodeError"]


async def test_only_the_evidence_of_a_clip_larger_than_the_quota_is_kept(
    quarantine: QuarantineStore, tmp_path: Path
) -> None:
    await quarantine.open(spec()).keep(evidence(), clip_file(tmp_path, 20_000))
    (kept,) = quarantine.clips()
    assert (kept.path / "evidence.json").exists() and not (kept.path / "clip").exists()


async def test_one_job_s_clips_do_not_evict_another_s(
    quarantine: QuarantineStore, clock: ManualClock, tmp_path: Path
) -> None:
    await quarantine.open(spec(namespace="quiet")).keep(evidence(), clip_file(tmp_path, 3000))
    for index in range(20):
        clock.now += timedelta(seconds=1)
        await quarantine.open(spec(namespace="noisy")).keep(evidence(index), clip_file(tmp_path, 1800))
        assert quarantine.size_bytes <= 10_000
    clips = quarantine.clips()
    assert [(clip.namespace, clip.index) for clip in clips] == [("quiet", 7), *(("noisy", n) for n in (17, 18, 19))]
    assert (quarantine.count, quarantine.size_bytes) == (4, sum(clip.size_bytes for clip in clips))


async def test_only_the_evidence_is_kept_of_a_clip_larger_than_the_free_quota(
    quarantine: QuarantineStore, clock: ManualClock, tmp_path: Path
) -> None:
    await quarantine.open(spec(namespace="quiet")).keep(evidence(), clip_file(tmp_path, 3000))
    await quarantine.open(spec(namespace="noisy")).keep(evidence(), clip_file(tmp_path, 9000))
    assert {clip.namespace: (clip.path / "clip").exists() for clip in quarantine.clips()} == {
        "quiet": True,
        "noisy": False,
    }


async def test_keeping_a_clip_does_not_read_the_others(
    quarantine: QuarantineStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, reads = quarantine.open(spec()), list[str]()
    await job.keep(evidence(0), None)
    read = quarantine_module._read_clip

    def watched(namespace: str, name: str, folder: Path) -> RetainedClip:
        reads.append(folder.name)
        return read(namespace, name, folder)

    monkeypatch.setattr(quarantine_module, "_read_clip", watched)
    for index in range(1, 100):
        await job.keep(evidence(index), None)
    assert reads == [] and 0 < quarantine.count < 100, "the quota made the first ones go"
    assert quarantine.size_bytes == sum(clip.size_bytes for clip in quarantine.clips())


async def test_a_new_process_knows_what_an_old_one_kept(
    quarantine: QuarantineStore, clock: ManualClock, tmp_path: Path
) -> None:
    for index in range(3):
        await quarantine.open(spec()).keep(evidence(index), clip_file(tmp_path, 3000))
        clock.now += timedelta(seconds=1)
    looking = QuarantineStore(quarantine.path, 10_000, clock)
    assert await looking.expire() == 0
    again = QuarantineStore(quarantine.path, 10_000, clock)
    await again.open(spec()).keep(evidence(2), clip_file(tmp_path, 3000))
    for found in (looking, again):
        assert (found.count, found.size_bytes) == (3, sum(clip.size_bytes for clip in again.clips()))
    await again.open(spec()).keep(evidence(3), clip_file(tmp_path, 3000))
    assert names(again) == ["000001-DecodeError", "000002-DecodeError", "000003-DecodeError"]


async def test_what_another_process_discarded_is_no_longer_counted(quarantine: QuarantineStore, tmp_path: Path) -> None:
    for index in (1, 2):
        await quarantine.open(spec()).keep(evidence(index), clip_file(tmp_path))
    QuarantineStore(quarantine.path, 0, ManualClock()).discard(quarantine.clips()[:1])
    assert await quarantine.expire() == 0
    (kept,) = quarantine.clips()
    assert (quarantine.count, quarantine.size_bytes) == (1, kept.size_bytes)


async def test_discard_removes_what_it_is_given(quarantine: QuarantineStore, tmp_path: Path) -> None:
    for index in (1, 2):
        await quarantine.open(spec()).keep(evidence(index), clip_file(tmp_path))
    first, second = quarantine.clips()
    assert quarantine.discard([first]) == first.size_bytes
    assert quarantine.discard([first]) == 0
    assert quarantine.clips() == [second]


@pytest.mark.parametrize("name", ["..", ".", "../../x", "/etc", "a/b", "UPPER", "ü", "a\0b", ""])
async def test_names_do_not_lead_out_of_the_folder(quarantine: QuarantineStore, tmp_path: Path, name: str) -> None:
    strange = spec().model_copy(update={"namespace": name, "job": JobRef.model_construct(name=name, uid=UID)})
    await quarantine.open(strange).keep(evidence(), clip_file(tmp_path))
    (kept,) = quarantine.clips()
    assert kept.path.resolve().parents[2] == quarantine.path.resolve()
    assert sorted(os.listdir(tmp_path)) == ["clip-7", "scratch"]  # noqa: PTH208


async def test_a_planted_link_is_not_followed(quarantine: QuarantineStore, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"keep")
    quarantine.path.mkdir(parents=True)
    (quarantine.path / "speech").symlink_to(outside)
    with pytest.raises(VoxFleetError, match=r"scratch answered: (Not a directory|.*symbolic link)"):
        await quarantine.open(spec()).keep(evidence(), clip_file(tmp_path))
    assert await quarantine.expire() == 0
    assert list(outside.iterdir()) == [outside / "precious"]


async def test_a_clip_half_kept_at_a_crash_is_removed(quarantine: QuarantineStore, tmp_path: Path) -> None:
    await quarantine.open(spec()).keep(evidence(1), clip_file(tmp_path))
    (kept,) = quarantine.clips()
    half = kept.path.parent / ".unfinished-000002-DecodeError"
    half.mkdir()
    (half / "clip").write_bytes(b"x")
    bare = kept.path.parent / "000003-DecodeError"
    bare.mkdir()
    assert names(quarantine) == ["000003-DecodeError", "000001-DecodeError"]
    assert await quarantine.expire() == 1
    assert os.listdir(kept.path.parent) == ["000001-DecodeError"]  # noqa: PTH208


async def test_the_quarantine_is_not_residue_of_an_attempt(quarantine: QuarantineStore, tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "scratch", 1000, 0)
    key = AttemptKey("shard-1", 1)
    attempt = scratch.open_attempt(key, 1000)
    clip = await attempt.reserve("clip-7", 100)
    clip.write_bytes(b"x" * 100)
    await quarantine.open(spec()).keep(evidence(), clip)
    await attempt.release(clip)
    attempt.close()
    await scratch.remove_attempt(key)
    assert (scratch.residue_bytes(key), scratch.reserved_bytes, await scratch.sweep(owned=())) == (0, 0, 0)
    (kept,) = quarantine.clips()
    assert (kept.path / "clip").read_bytes() == b"x" * 100
    scratch.close()


async def test_what_cannot_be_removed_stays_counted_and_ends_nothing(
    quarantine: QuarantineStore, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The volume fails. Every attempt keeps at least its evidence, and the agent goes on."""
    folder = quarantine.open(spec())
    await folder.keep(evidence(1), clip_file(tmp_path, 8000))
    before = quarantine.size_bytes

    def fail(parent: int, name: str) -> int:
        if name.startswith("000001") or name.endswith("left"):
            raise OSError(errno.EIO, "Input/output error")
        return remove_entry(parent, name)

    monkeypatch.setattr(quarantine_module, "remove_entry", fail)
    await folder.keep(evidence(2), clip_file(tmp_path, 8000))
    assert names(quarantine) == ["000001-DecodeError", "000002-DecodeError"]
    assert quarantine.count == 2 and quarantine.size_bytes > before
    (quarantine.path / "speech" / "nightly-0f0f0f0f" / ".unfinished-left").mkdir()
    clock.now += timedelta(hours=2)
    await quarantine.expire()
    assert names(quarantine) == ["000001-DecodeError"]
    assert quarantine.count == 1 and quarantine.size_bytes == before


async def test_a_linked_clip_that_cannot_be_synced_says_so(
    quarantine: QuarantineStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(quarantine_module, "sync_file_at", full)
    with pytest.raises(VoxFleetError) as caught:
        await quarantine.open(spec()).keep(evidence(), clip_file(tmp_path))
    assert caught.value.failure_class is FailureClass.SCRATCH_EXHAUSTED
