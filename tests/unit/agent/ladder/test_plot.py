"""The picture of stored ladders."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.agent.ladder.paper_lane import MIB, make_tier
from tests.unit.agent.ladder.test_knees import make_table, make_tiers

from voxfleet_agent.ladder import estimates
from voxfleet_agent.ladder.plot import MAX_LADDERS, draw
from voxfleet_api.ladder_table import LadderTable


def known(chip: str = "M4", parameters: int | None = 1_000_000) -> LadderTable:
    table = make_table(make_tiers(500, 100, peaks=[size * MIB for size in range(1, 9)]), 6 * MIB)
    return table.model_copy(update={"chip": chip, "parameters": parameters})


def drawn(tables: list[LadderTable], folder: Path) -> str:
    file = folder / "ladders.svg"
    draw(tables, file)
    return file.read_text()


def test_one_picture_has_all_four_axes(tmp_path: Path) -> None:
    picture = drawn([known()], tmp_path)
    for words in (
        "Scratch read",
        "bytes a minute",
        "Multiply-accumulates (estimate)",
        "Peak memory of the lane",
        "p95 of a clip",
        "batch size x sample rate",
        "Batch sizes measured on M4",
        "6 is used, the throughput knee",
    ):
        assert words in picture
    assert "not known for this model" not in picture


def test_a_model_of_unknown_size_has_no_multiply_accumulates(tmp_path: Path) -> None:
    assert "not known for this model" in drawn([known(parameters=None)], tmp_path)


def test_several_ladders_share_the_picture_and_png_is_a_png(tmp_path: Path) -> None:
    picture = drawn([known("M4"), known("M2")], tmp_path)
    assert "Batch sizes measured on" not in picture
    draw([known()] * MAX_LADDERS, tmp_path / "ladders.png")
    assert (tmp_path / "ladders.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_ladder_gives_the_same_picture(tmp_path: Path) -> None:
    assert drawn([known()], tmp_path) == drawn([known()], tmp_path)


@pytest.mark.parametrize(
    ("count", "name", "words"), [(1, "x.jpg", r"neither .png nor .svg"), (0, "x.png", "1 to 8"), (9, "x.png", "1 to 8")]
)
def test_what_cannot_be_drawn_is_refused(count: int, name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        draw([known()] * count, tmp_path / name)


def test_estimates() -> None:
    table = known()
    tier = make_tier(4, 250)  # ten batches of four clips of ten seconds in 2.5 s
    assert estimates.samples_at_once(table, tier) == 64_000
    assert estimates.scratch_bytes_per_minute(tier) == 4_000_000 / 2.5 * 60
    assert estimates.multiply_accumulates_per_second(table, tier) == 1_000_000 * 25 * 160
    assert estimates.real_time_factor(tier) == 1 / 160
