"""How two tables of the package corpus differ."""

from __future__ import annotations

from voxfleet_api.clip_warnings import RowWarning, WarningCode
from voxfleet_api.failures import FailureClass
from voxfleet_api.rows import ClipStatus, ResultRow, RowError
from voxfleet_package_corpus.table import CorpusLine, differences, read, written

GOOD = CorpusLine(path="a/x.wav", sha256="1" * 64, status=ClipStatus.SUCCEEDED, audio_milliseconds=100)
BAD = CorpusLine(
    path="b/y.wav",
    sha256="2" * 64,
    status=ClipStatus.QUARANTINED,
    failure_class=FailureClass.DECODE_ERROR,
    reason="is empty",
)


def test_a_line_has_what_became_of_the_file() -> None:
    row = ResultRow(
        index=0,
        custom_id="0000",
        status=ClipStatus.QUARANTINED,
        error=RowError(failure_class=FailureClass.DECODE_ERROR, reason="is empty"),
        warnings=(RowWarning(code=WarningCode.BYTES_SKIPPED, message="3 bytes"),),
    )
    line = CorpusLine.of("b/y.wav", "2" * 64, row)
    assert line == BAD.model_copy(update={"warnings": ("BytesSkipped: 3 bytes",)})


def test_a_written_table_is_read_again_in_the_order_of_paths() -> None:
    assert read(written([BAD, GOOD])) == [GOOD, BAD]


def test_equal_tables_do_not_differ() -> None:
    assert list(differences([GOOD, BAD], [BAD, GOOD], frozenset())) == []


def test_each_difference_is_named() -> None:
    changed = GOOD.model_copy(update={"audio_milliseconds": 90, "sha256": "3" * 64})
    new = GOOD.model_copy(update={"path": "c/z.wav"})
    assert list(differences([GOOD, BAD], [changed, new], frozenset())) == [
        "a/x.wav: other content; was succeeded, 100 ms\n    now succeeded, 90 ms",
        "b/y.wav: is in the table and was not found",
        "c/z.wav: is not in the table; now succeeded, 100 ms",
    ]


def test_a_package_that_was_left_out_is_no_difference() -> None:
    assert list(differences([GOOD, BAD], [GOOD], frozenset({"b"}))) == []
