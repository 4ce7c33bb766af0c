"""What the commands for speech make of what comes: subtitles, samples, percentiles, keys and errors."""

from __future__ import annotations

import io
import json
import wave
from pathlib import Path

import pytest
import srt  # type: ignore[import-untyped] # it ships no types
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from voxfleet_cli.command_line import Exit
from voxfleet_cli.speech.endpoint_access import EndpointAccess, WrongAccess, account_of, checked_url, own_key
from voxfleet_cli.speech.gateway_client import server_timing
from voxfleet_cli.speech.gateway_errors import GatewayLost, exit_of, late_failure, refused
from voxfleet_cli.speech.latency_table import Call, by_part, percentile
from voxfleet_cli.speech.recordings import extension_of
from voxfleet_cli.speech.streamed_wav import UNKNOWN_BYTES, NoStreamedWav, StreamedWav, header
from voxfleet_cli.speech.transcript_cues import Piece, TranscriptFormat, document, joined, whole_text

TURNS = [Piece("hello & <one>.", 0.0, 1.5), Piece("two --> three", 3661.0, 3662.25)]


def test_other_programs_read_the_subtitles() -> None:
    read = list(srt.parse(document(TURNS, TranscriptFormat.SRT)))
    assert (read[0].index, read[0].start.total_seconds(), read[0].content) == (1, 0.0, "hello & <one>.")
    assert (read[1].end.total_seconds(), read[1].content) == (3662.25, "two -> three")
    captions = webvtt.from_string(document(TURNS, TranscriptFormat.VTT)).captions
    assert (captions[0].raw_text, captions[1].end) == ("hello &amp; &lt;one&gt;.", "01:01:02.250")


def test_deltas_of_a_turn_are_one_cue_with_the_turns_times() -> None:
    pieces = [Piece("he", ends_turn=False), Piece("llo", ends_turn=False), Piece("", 0.5, 1.0), Piece("two", 1.0, 2.0)]
    assert joined(pieces) == [Piece("hello", 0.5, 1.0), Piece("two", 1.0, 2.0)]
    assert whole_text(pieces) == "hello two"
    told = json.loads(document(pieces, TranscriptFormat.JSON))
    assert told == {
        "text": "hello two",
        "segments": [{"text": "hello", "start": 0.5, "end": 1.0}, {"text": "two", "start": 1.0, "end": 2.0}],
    }


def test_text_without_times_makes_no_subtitles() -> None:
    with pytest.raises(ValueError, match="tells no times"):
        document([Piece("hello")], TranscriptFormat.SRT)
    assert document([Piece("hello")], TranscriptFormat.TXT) == "hello\n"
    assert document([], TranscriptFormat.VTT) == "WEBVTT\n"


@given(st.lists(st.tuples(st.text(max_size=5), st.booleans())))
def test_text_loses_nothing_between_its_turns(parts: list[tuple[str, bool]]) -> None:
    pieces = [Piece(text, ends_turn=ends) for text, ends in parts]
    assert "".join(whole_text(pieces).split()) == "".join("".join(text for text, _ in parts).split())


@given(st.binary(max_size=400), st.lists(st.integers(1, 60), min_size=1, max_size=50))
def test_samples_are_the_same_however_the_stream_is_cut(content: bytes, cuts: list[int]) -> None:
    stream = header(24_000, UNKNOWN_BYTES) + content
    wav, samples, position = StreamedWav(), b"", 0
    while position < len(stream):
        size = cuts[position % len(cuts)]
        samples += wav.feed(stream[position : position + size])
        position += size
    assert samples == content[: len(content) // 2 * 2]
    assert (wav.rate_hz, wav.total_bytes) == (24_000, len(samples))


def test_a_header_of_known_length_is_read_by_others() -> None:
    with wave.open(io.BytesIO(header(22_050, 4) + b"abcd")) as opened:
        assert opened.getparams()[:4] == (1, 2, 22_050, 2) and opened.readframes(9) == b"abcd"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"ID3" + bytes(20), "no WAV"),
        (header(8_000, 0)[:22] + b"\2\0" + header(8_000, 0)[24:], "2 channels"),
        (header(8_000, 0)[:12] + header(8_000, 0)[36:], "before their format"),
    ],
)
def test_what_is_no_such_wav_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(NoStreamedWav, match=why):
        StreamedWav().feed(content)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200), st.sampled_from([50, 90, 95, 99, 100]))
def test_a_percentile_is_a_value_that_so_many_do_not_exceed(values: list[float], percent: int) -> None:
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) * 100 >= percent * len(values)
    assert sum(value < found for value in values) * 100 < percent * len(values)


def test_the_way_is_what_the_gateway_does_not_account_for() -> None:
    calls = [Call(100.0, {"gateway": 5.0, "infer": 80.0, "odd": 9.0}), Call(50.0)]
    assert by_part(calls) == {"total": [100.0, 50.0], "way": [15.0], "gateway": [5.0], "infer": [80.0]}
    assert by_part([Call(50.0)]) == {"total": [50.0]}


def test_until_the_model_s_part_is_known_it_is_not_taken_for_the_network() -> None:
    calls = [Call(100.0, {"gateway": 5.0, "tunnel": 15.0})]
    assert by_part(calls) == {"total": [100.0], "rest": [80.0], "gateway": [5.0], "tunnel": [15.0]}


def test_a_service_account_is_written_as_in_the_endpoint_s_spec() -> None:
    assert account_of("captioner", "speech") == ("speech", "captioner")
    assert account_of("web/frontend", "speech") == ("web", "frontend")


def test_server_timing_is_read_where_it_is_understood() -> None:
    assert server_timing("gateway;dur=1.5, infer;desc=x;dur=80,wait, tunnel;dur=soon") == {"gateway": 1.5, "infer": 80}
    assert server_timing("") == {}


@pytest.mark.parametrize(
    "url", ["ftp://a/b", "captions", "https://key@host/a/b", "https://host/a/b?api_key=x", "http://"]
)
def test_an_address_is_checked(url: str) -> None:
    with pytest.raises(WrongAccess, match="--url"):
        checked_url(url)


def test_a_key_comes_from_a_file_or_the_variable_and_is_shown_nowhere(tmp_path: Path) -> None:
    assert checked_url("https://host/a/b/") == "https://host/a/b"
    assert (own_key(None, " key\n"), own_key(None, ""), own_key(None, None)) == ("key", None, None)
    (tmp_path / "key").write_text("secret\n")
    assert own_key(tmp_path / "key", "other") == "secret"
    assert "secret" not in repr(EndpointAccess("https://host", "secret"))
    for content in ("", "a b", "schlüssel"):
        (tmp_path / "key").write_text(content)
        with pytest.raises(WrongAccess, match="one key") as failed:
            own_key(tmp_path / "key", None)
        assert not content or content not in str(failed.value)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, Exit.REFUSED),
        (401, Exit.REFUSED),
        (404, Exit.NOT_FOUND),
        (413, Exit.REFUSED),
        (429, Exit.UNAVAILABLE),
        (503, Exit.UNAVAILABLE),
    ],
)
def test_each_status_has_its_exit_code(status: int, code: Exit) -> None:
    assert exit_of(refused(status, b"")) is code


def test_an_error_says_what_the_gateway_said_on_one_line() -> None:
    body = json.dumps({"error": {"message": "too\nmany" + "!" * 1000}}).encode()
    said = str(refused(429, body, "2"))
    assert said.startswith("too many!") and said.endswith("try again in 2 s") and len(said) < 600
    assert str(refused(502, b"<html>")) == "HTTP 502"
    assert exit_of(GatewayLost("gone")) is Exit.UNAVAILABLE


def test_the_end_of_a_stream_says_whose_fault_it_was() -> None:
    assert late_failure({"text": "hello"}) is None
    ends: dict[Exit, dict[str, object]] = {
        Exit.REFUSED: {"error": {"message": "no", "type": "invalid_request_error"}},
        Exit.UNAVAILABLE: {"error": {"message": "no", "type": "server_error"}},
    }
    ends_of_sockets: dict[Exit, dict[str, object]] = {
        Exit.REFUSED: {"error": "no", "status": "error", "retryable": False},
        Exit.UNAVAILABLE: {"error": "no", "status": "error", "retryable": True},
    }
    for code, line in (*ends.items(), *ends_of_sockets.items()):
        failure = late_failure(line)
        assert failure is not None and exit_of(failure) is code


def test_of_a_files_name_only_its_ending_is_told() -> None:
    assert [extension_of(name) for name in ("call of Ann.WAV", "-", "a.b/c", "x.söng")] == ["wav", "bin", "bin", "bin"]
