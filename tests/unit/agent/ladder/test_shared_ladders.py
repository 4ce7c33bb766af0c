"""What a Mac tells of its ladders, and which of another Mac's it takes over."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.unit.agent.ladder.paper_lane import MODEL, PaperLane, make_spec
from tests.unit.agent.ladder.test_book import CAP_BYTES, make_book, table_of

from voxfleet_agent.ladder import shared_ladders
from voxfleet_agent.ladder.shared_ladders import SharedLadders
from voxfleet_api.digest import digest_of
from voxfleet_api.kinds.contract_limits import Ladder
from voxfleet_api.protocol import ReportedLadder

CONTRACT_DIGEST = digest_of(make_spec().contract)
OTHER = "sha256:" + "d" * 64


async def measured(folder: Path, **book: Any) -> ReportedLadder:
    """What a Mac tells that has measured one ladder, with the name that the operator adds."""
    await table_of(make_book(folder, **book), PaperLane(fixed_milliseconds=300), folder)
    (told,) = (await SharedLadders(make_book(folder, **book)).told()).ladders
    assert told.measured_on is None
    return told.model_copy(update={"measured_on": "mac-a"})


@pytest.fixture
async def handed(tmp_path: Path) -> ReportedLadder:
    (tmp_path / "mac-a").mkdir()
    return await measured(tmp_path / "mac-a")


async def test_a_handed_ladder_spares_the_measurement_and_says_where_it_is_from(
    handed: ReportedLadder, tmp_path: Path
) -> None:
    book, lane = make_book(tmp_path), PaperLane()
    await SharedLadders(book).take_over(handed, MODEL.digest, CONTRACT_DIGEST)
    table = await table_of(book, lane, tmp_path)
    own = make_book(tmp_path / "mac-a").stored(MODEL, CONTRACT_DIGEST)
    assert table is not None and own is not None and lane.children == 0
    assert (table.measured_on, own.measured_on) == ("mac-a", None)
    assert table.model_copy(update={"measured_on": None}) == own
    (told,) = (await SharedLadders(book).told()).ladders
    assert told == handed, "whoever passes it on names who measured it"


async def test_the_speed_is_that_of_the_batch_size_in_use(handed: ReportedLadder, tmp_path: Path) -> None:
    table = make_book(tmp_path / "mac-a").stored(MODEL, CONTRACT_DIGEST)
    assert table is not None
    used = next(tier for tier in table.tiers if tier.batch_size == table.chosen)
    assert handed.audio_milliseconds_per_second == round(1000 * used.audio_seconds_per_second)
    await make_book(tmp_path / "mac-a").step_down(MODEL, CONTRACT_DIGEST, 1, "memory ran short")
    (told,) = (await SharedLadders(make_book(tmp_path / "mac-a")).told()).ladders
    assert (told.audio_milliseconds_per_second or 0) < handed.audio_milliseconds_per_second


@pytest.mark.parametrize(
    "book", [{"chip": "M2"}, {"mlx": "1.1"}, {"cap_bytes": CAP_BYTES // 2}, {"dtype": "own"}], ids=str
)
async def test_a_ladder_of_another_profile_is_not_taken_over(
    handed: ReportedLadder, book: dict[str, Any], tmp_path: Path
) -> None:
    other = make_book(tmp_path, **book)
    await SharedLadders(other).take_over(handed, MODEL.digest, CONTRACT_DIGEST)
    assert other.files.written() == []


@pytest.mark.parametrize(
    ("change", "model", "contract"),
    [
        ({}, OTHER, CONTRACT_DIGEST),
        ({}, MODEL.digest, OTHER),
        ({"model_digest": OTHER}, OTHER, CONTRACT_DIGEST),
        ({"contract_digest": OTHER}, MODEL.digest, OTHER),
        ({"table": "{"}, MODEL.digest, CONTRACT_DIGEST),
        ({"table": '{"fieldOfALaterAgent": 1}'}, MODEL.digest, CONTRACT_DIGEST),
    ],
)
async def test_a_ladder_that_is_not_what_it_says_is_not_taken_over(
    handed: ReportedLadder, change: dict[str, str], model: str, contract: str, tmp_path: Path
) -> None:
    book = make_book(tmp_path)
    await SharedLadders(book).take_over(handed.model_copy(update=change), model, contract)
    assert book.files.written() == []


async def test_a_step_down_stays_on_the_mac_that_ran_short(handed: ReportedLadder, tmp_path: Path) -> None:
    """A step-down of an agent that told it, too."""
    there, here = make_book(tmp_path / "mac-a"), make_book(tmp_path)
    own = there.stored(MODEL, CONTRACT_DIGEST)
    await there.step_down(MODEL, CONTRACT_DIGEST, 1, "memory ran short")
    (told,) = (await SharedLadders(there).told()).ladders
    assert told.table == handed.table
    stepped_down = there.stored(MODEL, CONTRACT_DIGEST)
    assert own is not None and stepped_down is not None and stepped_down.chosen == 1
    table = stepped_down.model_dump_json(by_alias=True, exclude_none=True)
    await SharedLadders(here).take_over(handed.model_copy(update={"table": table}), MODEL.digest, CONTRACT_DIGEST)
    assert here.stored(MODEL, CONTRACT_DIGEST) == own.model_copy(update={"measured_on": "mac-a"})


def lied(table: str, **change: object) -> str:
    return json.dumps({**json.loads(table), **change})


def with_tiers(table: str, **change: object) -> str:
    return lied(table, tiers=[{**tier, **change} for tier in json.loads(table)["tiers"]])


@pytest.mark.parametrize("chosen", [0, -3, 9, 5000, 10**400])
async def test_a_batch_size_that_was_not_measured_is_not_taken_over(
    handed: ReportedLadder, chosen: int, tmp_path: Path
) -> None:
    table, book = lied(handed.table, chosen=chosen), make_book(tmp_path)
    await SharedLadders(book).take_over(handed.model_copy(update={"table": table}), MODEL.digest, CONTRACT_DIGEST)
    assert book.files.written() == []
    largest = json.loads(handed.table)["tiers"][-1] | {"batchSize": chosen}
    table = lied(handed.table, tiers=[largest], chosen=chosen)
    await SharedLadders(book).take_over(handed.model_copy(update={"table": table}), MODEL.digest, CONTRACT_DIGEST)
    assert book.files.written() == []


@pytest.mark.parametrize("number", [-1, 10**400])
@pytest.mark.parametrize("field", ["peakRssBytes", "audioMilliseconds", "inferMilliseconds", "clipP95Milliseconds"])
async def test_a_measurement_that_cannot_be_is_not_taken_over(
    handed: ReportedLadder, field: str, number: int, tmp_path: Path
) -> None:
    table, book = with_tiers(handed.table, **{field: number}), make_book(tmp_path)
    await SharedLadders(book).take_over(handed.model_copy(update={"table": table}), MODEL.digest, CONTRACT_DIGEST)
    assert book.files.written() == []


async def test_what_follows_from_the_measurement_is_worked_out_and_not_believed(
    handed: ReportedLadder, tmp_path: Path
) -> None:
    table = lied(handed.table, memoryKnee=1, latencyKnee=8, throughputKnee=1, chosen=1)
    book = make_book(tmp_path)
    await SharedLadders(book).take_over(handed.model_copy(update={"table": table}), MODEL.digest, CONTRACT_DIGEST)
    own, kept = make_book(tmp_path / "mac-a").stored(MODEL, CONTRACT_DIGEST), book.stored(MODEL, CONTRACT_DIGEST)
    assert own is not None and kept == own.model_copy(update={"measured_on": "mac-a"})


async def test_an_own_ladder_is_never_replaced(handed: ReportedLadder, tmp_path: Path) -> None:
    book = make_book(tmp_path)
    own = await table_of(book, PaperLane(fixed_milliseconds=10), tmp_path)
    await SharedLadders(book).take_over(handed, MODEL.digest, CONTRACT_DIGEST)
    assert book.stored(MODEL, CONTRACT_DIGEST) == own


async def test_a_disk_that_is_full_costs_no_attempt(handed: ReportedLadder, tmp_path: Path) -> None:
    (tmp_path / "ladders").write_text("a file where the folder should be")
    await SharedLadders(make_book(tmp_path)).take_over(handed, MODEL.digest, CONTRACT_DIGEST)


async def test_what_was_measured_with_other_packages_is_not_told(tmp_path: Path) -> None:
    await measured(tmp_path)
    assert (await SharedLadders(make_book(tmp_path, mlx="1.1")).told()).ladders == ()


async def test_only_the_newest_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book, tails = make_book(tmp_path), (2, 3, 4)
    for number, largest in enumerate(tails):
        await table_of(book, PaperLane(), tmp_path, spec=make_spec(Ladder(to=largest)))
        key = book.profile.key(MODEL.digest, digest_of(make_spec(Ladder(to=largest)).contract))
        os.utime(book.files.folder / f"{key}.json", (1_000_000_000 + number,) * 2)
    monkeypatch.setattr(shared_ladders, "MAX_REPORTED_LADDERS", 2)
    told = [ladder.contract_digest for ladder in (await SharedLadders(book).told()).ladders]
    assert told == [digest_of(make_spec(Ladder(to=largest)).contract) for largest in (4, 3)]


async def test_the_revision_changes_with_the_ladders_and_with_nothing_else(
    handed: ReportedLadder, tmp_path: Path
) -> None:
    book = make_book(tmp_path)
    shared = SharedLadders(book)
    none = await shared.revision()
    assert none == await SharedLadders(make_book(tmp_path, python="3.14")).revision()
    await shared.take_over(handed, MODEL.digest, CONTRACT_DIGEST)
    one = await shared.revision()
    assert one != none and one == await SharedLadders(make_book(tmp_path)).revision()
    book.files.forget(book.files.all()[0])
    assert await shared.revision() == none
    assert await SharedLadders(make_book(tmp_path, mlx="1.1")).revision() != none
