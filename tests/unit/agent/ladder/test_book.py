"""Stored tables are used again, and measured again when their inputs change."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import stat
from pathlib import Path

import pytest
from tests.unit.agent.ladder.paper_lane import MIB, MODEL, PaperLane, fetching, make_clips, make_spec

from voxfleet_agent.engine.compute_dtype import FLOAT32, OWN
from voxfleet_agent.ladder import ladder_book as books
from voxfleet_agent.ladder.knees import explain
from voxfleet_agent.ladder.ladder_book import LadderFiles, MacLadderBook
from voxfleet_agent.lanes.lane_types import ClipTask, LaneSpec
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_api.digest import digest_of
from voxfleet_api.kinds.contract_limits import Ladder
from voxfleet_api.kinds.job_task import Task
from voxfleet_api.ladder_table import LadderTable

VERSIONS = {"mlx": "1", "mlx-audio": "2", "mlx-audio-io": "3", "python": "3.11"}
CAP_BYTES = 1024 * MIB


def make_book(
    folder: Path, chip: str = "M4", cap_bytes: int = CAP_BYTES, dtype: str = FLOAT32, **versions: str
) -> MacLadderBook:
    return MacLadderBook(folder / "ladders", chip, {**VERSIONS, **versions}, cap_bytes, dtype)


async def table_of(
    book: MacLadderBook,
    lane: PaperLane,
    folder: Path,
    *,
    model: ResolvedModel = MODEL,
    spec: LaneSpec | None = None,
) -> LadderTable | None:
    return await book.table(lane, model, spec or make_spec(), fetching(make_clips(folder)))


def files(folder: Path) -> list[Path]:
    return sorted((folder / "ladders").iterdir())


async def test_a_table_is_measured_once_and_used_again(tmp_path: Path) -> None:
    lane = PaperLane(fixed_milliseconds=300, each_milliseconds=100)
    table = await table_of(make_book(tmp_path), lane, tmp_path)
    assert table is not None
    assert (table.memory_knee, table.latency_knee, table.throughput_knee, table.chosen) == (8, 3, 7, 7)
    assert (table.sample_rate_hz, table.parameters, table.dtype, table.chip) == (16_000, 1_000_000, "float32", "M4")
    assert (lane.children, lane.loaded) == (8, False)

    idle = PaperLane()
    again = make_book(tmp_path, python="3.13")  # another process; Python is no part of the key
    assert await table_of(again, idle, tmp_path) == table
    assert again.stored(MODEL, digest_of(make_spec().contract)) == table
    assert idle.children == 0


@pytest.mark.parametrize(
    ("book", "model", "spec"),
    [
        ({"chip": "M2"}, MODEL, make_spec()),
        ({"mlx": "1.1"}, MODEL, make_spec()),
        ({"mlx-audio": "2.1"}, MODEL, make_spec()),
        ({"mlx-audio-io": "3.1"}, MODEL, make_spec()),
        ({"cap_bytes": CAP_BYTES // 2}, MODEL, make_spec()),
        ({"dtype": OWN}, MODEL, make_spec()),
        ({}, dataclasses.replace(MODEL, digest="sha256:" + "c" * 64), make_spec()),
        ({}, MODEL, make_spec(Ladder(to=4))),
        ({}, MODEL, make_spec(memory_cap="512Mi")),
    ],
)
async def test_a_table_is_measured_anew_when_its_key_changes(
    book: dict[str, object], model: ResolvedModel, spec: LaneSpec, tmp_path: Path
) -> None:
    await table_of(make_book(tmp_path), PaperLane(), tmp_path)
    lane = PaperLane()
    changed = make_book(tmp_path, **book)  # type: ignore[arg-type] # chip, cap or a version
    assert changed.stored(model, digest_of(spec.contract)) is None
    assert await table_of(changed, lane, tmp_path, model=model, spec=spec) is not None
    assert lane.children > 1


async def test_a_table_is_measured_anew_for_another_number_of_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await table_of(make_book(tmp_path), PaperLane(), tmp_path) is not None
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    lane = PaperLane()
    assert await table_of(make_book(tmp_path), lane, tmp_path) is not None
    assert lane.children == 8 and len(files(tmp_path)) == 2


async def test_tables_of_other_macs_models_contracts_and_versions_are_stored_separately(tmp_path: Path) -> None:
    for book in (make_book(tmp_path), make_book(tmp_path, chip="M2"), make_book(tmp_path, mlx="1.1")):
        await table_of(book, PaperLane(), tmp_path)
    book, other = make_book(tmp_path), dataclasses.replace(MODEL, digest="sha256:" + "c" * 64)
    await table_of(book, PaperLane(), tmp_path, model=other)
    await table_of(book, PaperLane(), tmp_path, spec=make_spec(Ladder(to=4)))
    assert len(files(tmp_path)) == len(LadderFiles(tmp_path / "ladders").all()[0]) == 5


@pytest.mark.parametrize("content", [b"", b"{", b"null", b'{"chosen": 3}', b"\xff\xfe"])
async def test_a_corrupt_table_is_measured_anew(content: bytes, tmp_path: Path) -> None:
    book, lane = make_book(tmp_path), PaperLane()
    table = await table_of(book, PaperLane(), tmp_path)
    assert table is not None
    (file,) = files(tmp_path)
    file.write_bytes(content)
    assert book.stored(MODEL, table.contract_digest) is None
    assert LadderFiles(tmp_path / "ladders").all() == ([], [file.name])
    assert await table_of(book, lane, tmp_path) == table
    assert lane.children > 1
    assert book.stored(MODEL, table.contract_digest) == table


async def test_for_a_model_that_does_not_batch_nothing_is_measured_and_the_table_says_so(tmp_path: Path) -> None:
    lane = PaperLane(batches_clips=False)
    book, spec = make_book(tmp_path), make_spec(Ladder(from_=2, to=8))

    async def nothing_to_fetch() -> list[ClipTask]:
        raise AssertionError("no clip is measured, so none is fetched")

    table = await book.table(lane, MODEL, spec, nothing_to_fetch)
    assert table is not None and (table.tiers, table.chosen, lane.ran, lane.children) == ((), 1, [], 1)
    assert lane.loaded, "the job that follows needs the model"
    assert explain(table) == "1 is used: a paper model works on one clip at a time, so nothing was measured"

    assert book.stored(MODEL, table.contract_digest) == table
    idle = PaperLane()
    assert await table_of(make_book(tmp_path), idle, tmp_path, spec=spec) == table and idle.children == 0
    await book.step_down(MODEL, table.contract_digest, 1, "memory ran short")
    assert book.stored(MODEL, table.contract_digest) == table


async def test_a_table_without_tiers_is_corrupt(tmp_path: Path) -> None:
    book = make_book(tmp_path)
    table = await table_of(book, PaperLane(), tmp_path)
    assert table is not None
    (file,) = files(tmp_path)
    file.write_text(json.dumps({**json.loads(file.read_text()), "tiers": []}))
    assert book.stored(MODEL, table.contract_digest) is None


async def test_a_file_of_another_mac_is_not_used_here(tmp_path: Path) -> None:
    book = make_book(tmp_path)
    table = await table_of(book, PaperLane(), tmp_path)
    assert table is not None
    (file,) = files(tmp_path)
    file.write_text(file.read_text().replace('"M4"', '"M1"'))
    assert book.stored(MODEL, table.contract_digest) is None


async def test_without_a_declared_ladder_nothing_is_measured(tmp_path: Path) -> None:
    lane = PaperLane()
    assert await table_of(make_book(tmp_path), lane, tmp_path, spec=make_spec(None)) is None
    assert await make_book(tmp_path).table(PaperLane(), MODEL, make_spec(), fetching([])) is None
    synthesis_spec = dataclasses.replace(make_spec(), task=Task.SYNTHESIZE)
    assert await table_of(make_book(tmp_path), lane, tmp_path, spec=synthesis_spec) is None
    assert lane.children == 0


async def test_clips_that_all_fail_store_nothing(tmp_path: Path) -> None:
    lane = PaperLane(bad_paths=frozenset(clip.path for clip in make_clips(tmp_path)))
    assert await table_of(make_book(tmp_path), lane, tmp_path) is None
    assert not (tmp_path / "ladders").exists()


async def test_a_step_down_is_kept_until_the_table_is_measured_anew(tmp_path: Path) -> None:
    book, digest = make_book(tmp_path), digest_of(make_spec().contract)
    measured = await table_of(book, PaperLane(fixed_milliseconds=300), tmp_path)
    assert measured is not None and measured.chosen > 2
    await book.step_down(MODEL, digest, 2, "memory ran short")
    await book.step_down(MODEL, digest, 4, "what another lane had begun before")
    for later in (book, make_book(tmp_path)):
        found = later.stored(MODEL, digest)
        assert found is not None and (found.chosen, found.stepped_down_for) == (2, "memory ran short")
        assert found.tiers == measured.tiers
        assert explain(found) == (
            f"2 is used and no longer {measured.chosen}, the throughput knee: a job had to step down, because memory"
            " ran short"
        )
        assert await table_of(later, PaperLane(), tmp_path) == found
    fresh = await table_of(make_book(tmp_path, mlx="1.1"), PaperLane(fixed_milliseconds=300), tmp_path)
    assert fresh is not None and fresh.chosen == measured.chosen


async def test_a_step_down_without_a_table_is_not_kept(tmp_path: Path) -> None:
    book, digest = make_book(tmp_path), digest_of(make_spec().contract)
    await book.step_down(MODEL, digest, 1, "memory ran short")
    assert book.stored(MODEL, digest) is None and not (tmp_path / "ladders").exists()


async def test_concurrent_attempts_measure_once(tmp_path: Path) -> None:
    book, lanes = make_book(tmp_path), [PaperLane(), PaperLane()]
    first, second = await asyncio.gather(*(table_of(book, lane, tmp_path) for lane in lanes))
    assert first == second is not None
    assert sorted(lane.children for lane in lanes) == [0, 8]


async def test_the_smaller_of_contract_and_pool_caps_the_memory(tmp_path: Path) -> None:
    spec = make_spec(memory_cap="135Mi")
    table = await table_of(make_book(tmp_path), PaperLane(), tmp_path, spec=spec)
    assert table is not None
    assert (table.memory_cap_bytes, table.memory_knee) == (135 * MIB, 3)
    assert [tier.batch_size for tier in table.tiers] == [1, 2, 3, 4]


async def test_a_table_that_cannot_be_written_is_still_used(tmp_path: Path) -> None:
    (tmp_path / "ladders").write_text("a file where the folder should be")
    assert await table_of(make_book(tmp_path), PaperLane(), tmp_path) is not None


async def test_a_failed_write_keeps_the_old_table_and_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = await table_of(make_book(tmp_path), PaperLane(), tmp_path)
    assert table is not None
    (file,) = files(tmp_path)
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    ladders = LadderFiles(tmp_path / "ladders")
    with pytest.raises(OSError, match="No space"):
        ladders.put(file.stem, table.model_copy(update={"chosen": 1}))
    assert ladders.all() == ([table], [])
    assert files(tmp_path) == [file]


async def test_the_folder_stays_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = await table_of(make_book(tmp_path), PaperLane(), tmp_path)
    assert table is not None
    (first,) = files(tmp_path)
    os.utime(first, (1_000_000_000,) * 2)
    monkeypatch.setattr(books, "MAX_TABLES", 3)
    ladders = LadderFiles(tmp_path / "ladders")
    for number in range(1, 6):
        ladders.put(f"{number:064d}", table)
        os.utime(ladders.folder / f"{number:064d}.json", (1_000_000_000 + number,) * 2)
    assert [file.stem[-1] for file in files(tmp_path)] == ["3", "4", "5"]
