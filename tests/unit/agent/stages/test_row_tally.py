"""What rows add up to: warnings, each clip once a code, however rows are split and inherited; and the first clips."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from voxfleet_agent.finished_runs.row_statistics import row_statistics
from voxfleet_agent.finished_runs.tables import statistics_json
from voxfleet_agent.stages.finalize.job_metrics import JobMetricsSum
from voxfleet_agent.stages.process.inherited_parts import DeliveredParts, parse_part
from voxfleet_agent.stages.result_rows import RowTally
from voxfleet_api.clip_warnings import MAX_WARNING_CODES, RowWarning, WarningCode, WarningCount, warning_counts
from voxfleet_api.digest import sha256_hex
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.job_status import STATUS_CLIPS
from voxfleet_api.protocol import ShardResult
from voxfleet_api.rows import ClipStatus, ResultRow, RowError

warnings = st.lists(st.sampled_from(WarningCode), max_size=5).map(
    lambda codes: tuple(RowWarning(code=code, message="what") for code in codes)
)
rows = st.lists(warnings, max_size=12).map(
    lambda drawn: [
        ResultRow(index=index, custom_id=f"c{index}", status=ClipStatus.SUCCEEDED, text="yes", warnings=warned)
        for index, warned in enumerate(drawn)
    ]
)


def counted(of: list[ResultRow]) -> dict[str, int]:
    clips = {code.value: sum(any(warned.code is code for warned in row.warnings) for row in of) for code in WarningCode}
    return {code: number for code, number in clips.items() if number}


def as_dict(counts: tuple[WarningCount, ...]) -> dict[str, int]:
    return {count.code: count.clips for count in counts}


@given(rows, st.data())
def test_every_sum_is_the_count_of_the_rows(of: list[ResultRow], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(of)))
    tally, metrics = RowTally(), JobMetricsSum()
    for part in (of[:cut], of[cut:]):
        tally.add(part)
        metrics.add(part)
    assert as_dict(tally.warnings) == counted(of)
    assert metrics.metrics().warnings == counted(of)
    assert row_statistics(of).warnings == counted(of)
    assert statistics_json(row_statistics(of))["warnings"] == counted(of)


@given(rows, rows)
def test_shards_add_up_to_the_job(first: list[ResultRow], second: list[ResultRow]) -> None:
    tallies = []
    for shard in (first, second):
        tally = RowTally()
        tally.add(shard)
        tallies.append(tally)
    total = warning_counts(count for tally in tallies for count in tally.warnings)
    assert as_dict(total) == counted([*first, *second])
    assert [count.code for count in total] == sorted(as_dict(total)) and len(total) <= MAX_WARNING_CODES


def test_an_inherited_part_counts_like_an_own_one() -> None:
    warned = (RowWarning(code=WarningCode.LEVEL_LOST, message="quieter"),) * 2
    delivered = DeliveredParts()
    for index in range(2):
        content = ResultRow(index=index, custom_id=f"c{index}", status=ClipStatus.QUARANTINED, warnings=warned).line()
        delivered.add(parse_part(f"part-{index}", sha256_hex(content), content))
    assert delivered.tally.warnings == (WarningCount(code="LevelLost", clips=2),)


def test_a_status_has_room_for_every_code() -> None:
    assert len(WarningCode) <= MAX_WARNING_CODES


def test_the_first_failed_clips_are_named_beside_the_quarantined_ones() -> None:
    tally = RowTally()
    for index in reversed(range(2 * STATUS_CLIPS)):
        failure = FailureClass.DECODE_ERROR if index % 2 else FailureClass.INPUT_NOT_FOUND
        status = ClipStatus.QUARANTINED if index % 2 else ClipStatus.FAILED
        error = RowError(failure_class=failure, reason="why")
        tally.add([ResultRow(index=index, custom_id=f"c{index}", status=status, error=error)])
    assert [clip.index for clip in tally.first_failed] == list(range(0, 2 * STATUS_CLIPS, 2))
    assert [clip.index for clip in tally.first_quarantined] == list(range(1, 2 * STATUS_CLIPS, 2))
    assert (tally.first_failed[0].id, tally.first_failed[0].failure_class) == ("c0", "InputNotFound")


@given(st.lists(st.integers(min_value=0, max_value=9), min_size=MAX_WARNING_CODES + 1, max_size=2 * MAX_WARNING_CODES))
def test_of_too_many_codes_those_with_the_most_clips_stay(clips: list[int]) -> None:
    """As the operator sums shards of Macs whose versions know different codes."""
    total = warning_counts(WarningCount(code=f"Code{n:02d}", clips=number) for n, number in enumerate(clips))
    assert ShardResult(commit_sha256="a" * 64, warnings=total).warnings == total
    assert [count.code for count in total] == sorted(count.code for count in total)
    assert sorted(count.clips for count in total) == sorted(sorted(filter(None, clips))[-MAX_WARNING_CODES:])
