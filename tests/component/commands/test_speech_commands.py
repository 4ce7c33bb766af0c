"""`voxfleet transcribe`, `speak` and `endpoint probe` against a gateway on loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.rig import gateway_stand_in as rig
from tests.rig.gateway_stand_in import KEY, RATE_HZ, SAMPLES, TEXT, GatewayStandIn, gateway_stand_in
from typer.testing import CliRunner, Result

from voxfleet_cli.main import app
from voxfleet_cli.speech import recordings

pytestmark = pytest.mark.filterwarnings("ignore:unread_data:DeprecationWarning")  # aiohttp calls it itself
CLIP = Path(__file__).parents[3] / "examples" / "clips" / "flac-16000-02.flac"


@pytest.fixture(scope="module")
def server() -> Iterator[GatewayStandIn]:
    with gateway_stand_in() as started:
        yield started


@pytest.fixture
def gateway(server: GatewayStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> GatewayStandIn:
    monkeypatch.setenv("VOXFLEET_API_KEY", KEY)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    server.fails_late, server.full_times, server.retry_after_seconds = False, 0, 2
    server.cut, server.mute, server.turns = False, False, rig.TURNS
    server.heard.clear()
    return server


@contextmanager
def piped(content: bytes) -> Iterator[None]:
    """Standard input, as the commands for audio read it."""
    with tempfile.TemporaryFile() as file, pytest.MonkeyPatch.context() as patch:
        file.write(content)
        file.seek(0)
        patch.setattr(recordings, "STDIN_DESCRIPTOR", file.fileno())
        yield


def invoke(gateway: GatewayStandIn, *words: str | Path, code: int = 0, said: bytes | None = None) -> Result:
    with piped(said or b""):
        ended = CliRunner().invoke(app, [*map(str, words), "--url", gateway.url], input=said)
    assert isinstance(ended.exception, SystemExit | None), ended.exception
    assert ended.exit_code == code, ended.output
    assert KEY not in ended.output
    return ended


def test_a_file_is_sent_whole_and_its_text_printed(gateway: GatewayStandIn) -> None:
    assert invoke(gateway, "transcribe", CLIP, "--language", "en").stdout == f"{TEXT}\n"
    assert gateway.audio == CLIP.read_bytes()
    assert gateway.fields == {"response_format": "text", "language": "en"}
    assert gateway.file_name == "audio.flac", "nobody learns the file's name"


def test_standard_input_is_a_recording(gateway: GatewayStandIn) -> None:
    assert json.loads(invoke(gateway, "transcribe", "-", "--format", "json", said=b"RIFF...").stdout)["text"] == TEXT
    assert gateway.audio == b"RIFF..."


def test_a_folder_gets_a_file_of_the_recordings_name(gateway: GatewayStandIn, tmp_path: Path) -> None:
    ended = invoke(gateway, "transcribe", CLIP, "--format", "srt", "--output-path", tmp_path / "new" / "folder")
    assert (
        (tmp_path / "new" / "folder" / "flac-16000-02.srt").read_text().startswith("1\n00:00:00,000 --> 00:00:01,500")
    )
    assert ended.stdout == ""


def test_a_stream_prints_pieces_or_makes_subtitles_of_them(gateway: GatewayStandIn) -> None:
    assert invoke(gateway, "transcribe", CLIP, "--stream").stdout == f"{TEXT}\n"
    cues = invoke(gateway, "transcribe", CLIP, "--stream", "--format", "vtt").stdout
    assert cues == ("WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nhello one.\n\n00:00:01.750 --> 00:00:03.250\ntwo three\n")


def test_a_late_failure_is_none_of_the_callers(gateway: GatewayStandIn) -> None:
    gateway.fails_late = True
    ended = invoke(gateway, "transcribe", CLIP, "--stream", code=4)
    assert ended.stdout == TEXT and "the lane's process ended" in ended.stderr


def test_a_stream_without_its_last_line_is_not_whole(gateway: GatewayStandIn) -> None:
    gateway.cut = True
    assert "not whole" in invoke(gateway, "transcribe", CLIP, "--stream", code=4).stderr


def test_hours_that_no_window_cuts_are_one_line(gateway: GatewayStandIn) -> None:
    text = "раз два " * 30_000  # as JSON six bytes a letter
    gateway.turns = ((text, 0.0, 7_200.0),)
    assert invoke(gateway, "transcribe", CLIP, "--stream", "--format", "txt").stdout.strip() == text.strip()
    gateway.turns = ((text * 4, 0.0, 28_800.0),)
    assert "longer than 4 MiB" in invoke(gateway, "transcribe", CLIP, "--stream", code=4).stderr


def test_a_gateway_that_says_nothing_after_the_end_of_the_audio_is_given_up(gateway: GatewayStandIn) -> None:
    gateway.mute = True
    words = ("transcribe", "-", "--rate", "8000", "--timeout", "1")
    assert "did not answer in time" in invoke(gateway, *words, code=4, said=SAMPLES).stderr


def test_a_long_upload_tells_how_far_it_is(gateway: GatewayStandIn, tmp_path: Path) -> None:
    (tmp_path / "long.wav").write_bytes(bytes(3 * 2**20))
    lines = invoke(gateway, "transcribe", tmp_path / "long.wav").stderr.splitlines()
    assert len(lines) == 10 and lines[-1] == "voxfleet: sent 3.0 of 3.0 MiB"
    assert len(gateway.audio) == 3 * 2**20


def test_bare_samples_are_sent_as_they_come(gateway: GatewayStandIn) -> None:
    words = ("transcribe", "-", "--rate", "8000")
    assert invoke(gateway, *words, "--stream", said=SAMPLES).stdout == "hello one.\ntwo three\n"
    assert gateway.audio == SAMPLES and gateway.fields == {"sample_rate": "8000", "streaming": "True"}
    assert "00:00:01.500" in invoke(gateway, *words, "--format", "vtt", said=SAMPLES).stdout
    gateway.fails_late = True
    assert "close code 1013" in invoke(gateway, *words, code=4, said=SAMPLES).stderr
    gateway.full_times = 1
    assert "no room now; try again in 2 s" in invoke(gateway, *words, code=4, said=SAMPLES).stderr


def test_ctrl_c_ends_it_without_a_word(gateway: GatewayStandIn) -> None:
    gateway.audio = b""
    argv = [sys.executable, "-m", "voxfleet_cli.main", "transcribe", "-", "--rate", "8000", "--url", gateway.url]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "VOXFLEET_API_KEY": KEY}
    ) as process:
        assert process.stdin is not None and process.stderr is not None
        process.stdin.write(SAMPLES)
        process.stdin.flush()
        assert gateway.heard.wait(60)
        process.send_signal(signal.SIGINT)
        assert (process.wait(30), process.stderr.read()) == (130, b""), "though its input has not ended"


@pytest.mark.parametrize("words", [("transcribe", CLIP), ("speak", "hello", "--output", "x.wav")])
def test_refusals_have_their_codes(
    gateway: GatewayStandIn, words: tuple[str | Path, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    gateway.full_times = 1
    assert "no lane has room; try again in 2 s" in invoke(gateway, *words, code=4).stderr
    monkeypatch.setenv("VOXFLEET_API_KEY", "another")
    assert "set VOXFLEET_API_KEY" in invoke(gateway, *words, code=1).stderr
    elsewhere = GatewayStandIn(url=gateway.url.replace(rig.PATH, "/calls/none"))
    assert "no such endpoint" in invoke(elsewhere, *words, code=3).stderr
    nowhere = GatewayStandIn(url="http://127.0.0.1:9/calls/captions")
    assert "cannot be reached" in invoke(nowhere, *words, code=4).stderr
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_is_refused_by_the_gateway(gateway: GatewayStandIn, tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    assert "the file is empty" in invoke(gateway, "transcribe", tmp_path / "empty.wav", code=1).stderr
    assert "No such file" in invoke(gateway, "transcribe", tmp_path / "none.wav", code=2).stderr


def test_a_key_file_wins_over_the_variable(
    gateway: GatewayStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VOXFLEET_API_KEY", "another")
    (tmp_path / "key").write_text(f"{KEY}\n")
    invoke(gateway, "transcribe", CLIP, "--key-file", tmp_path / "key")
    (tmp_path / "key").write_text("two keys\nin a file\n")
    assert "one key" in invoke(gateway, "transcribe", CLIP, "--key-file", tmp_path / "key", code=2).stderr


def test_speech_that_was_streamed_is_a_file_with_its_true_length(gateway: GatewayStandIn, tmp_path: Path) -> None:
    out = tmp_path / "line.wav"
    ended = invoke(gateway, "speak", "-", "--stream", "--output", out, "--streaming-interval", "0.5", said=b"hello\n")
    with wave.open(str(out)) as opened:
        assert (opened.getframerate(), opened.readframes(10**6)) == (RATE_HZ, SAMPLES)
    assert "s of speech" in ended.stderr and "hello" not in ended.output
    assert gateway.fields == {
        "input": "hello",
        "stream": "True",
        "streaming_interval": "0.5",
        "response_format": "wav",
    }


def test_speech_to_standard_output_is_what_came(gateway: GatewayStandIn) -> None:
    ended = invoke(gateway, "speak", "hello", "--stream", "--output", "-")
    assert ended.stdout_bytes == rig.endless_header(RATE_HZ) + SAMPLES


def test_nothing_stays_of_speech_that_broke_off(gateway: GatewayStandIn, tmp_path: Path) -> None:
    gateway.fails_late = True
    assert "broke off" in invoke(gateway, "speak", "hello", "--output", tmp_path / "x.wav", code=4).stderr
    assert list(tmp_path.iterdir()) == []


def test_flac_is_written_as_it_comes(gateway: GatewayStandIn, tmp_path: Path) -> None:
    invoke(gateway, "speak", "hello", "--output", tmp_path / "x.flac")
    assert (tmp_path / "x.flac").read_bytes() == b"fLaC and so on"


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (("transcribe",), "write a FILE, - or --mic"),
        (("transcribe", "a.wav", "--mic"), "write a FILE, - or --mic"),
        (("transcribe", "a.wav", "--rate", "8000"), "--rate is for --mic and -"),
        (("speak", "hello"), "write --stream or --play to hear it"),
        (("speak", " ", "--output", "a.wav"), "write a text of 1 to"),
        (("speak", "hello", "--output", "a.mp3"), "ends in .wav or .flac"),
        (("speak", "hello", "--stream", "--output", "a.flac"), "ends in .wav"),
        (("endpoint", "probe", "--clip", "a.wav", "--text", "b"), "--clip or --text"),
    ],
)
def test_wrong_usage(gateway: GatewayStandIn, words: tuple[str, ...], advice: str) -> None:
    assert advice in invoke(gateway, *words, code=2).stderr


def test_the_endpoint_has_to_be_named_once(gateway: GatewayStandIn) -> None:
    for words in (["transcribe", str(CLIP)], ["endpoint", "probe"]):
        ended = CliRunner().invoke(app, words)
        assert ended.exit_code == 2 and "its name, or its address with --url" in ended.stderr
    assert "--url" in invoke(gateway, "transcribe", CLIP, "--endpoint", "captions", code=2).stderr


def test_a_probe_counts_parts_and_failures(gateway: GatewayStandIn) -> None:
    table = invoke(gateway, "endpoint", "probe", "--count", "5", "--concurrency", "2").stdout.splitlines()
    assert [line.split()[0] for line in table] == ["PART", "total", "way", "gateway", "tunnel", "wait", "infer"]
    assert table[-1].split()[1:] == ["80", "80", "80"]
    gateway.full_times, gateway.retry_after_seconds = 2, 0
    found = json.loads(
        invoke(gateway, "endpoint", "probe", "--text", "hi", "--count", "5", "-o", "json", code=4).stdout
    )
    assert found["calls"] == 5 and sum(found["failed"].values()) == 2
    assert set(found["milliseconds"]["total"]) == {"p50", "p90", "p95", "p99", "max"}
