"""The command `voxfleet transcribe`."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from voxfleet_cli.command_line import Exit, Kubeconfig, KubeContext, Namespace, fail
from voxfleet_cli.speech.endpoint_access import AccessOptions, EndpointAccess
from voxfleet_cli.speech.endpoint_call import (
    SPEECH_EPILOG,
    Endpoint,
    KeyFile,
    Language,
    ServiceAccount,
    Silence,
    Url,
    with_endpoint,
)
from voxfleet_cli.speech.gateway_client import GatewayClient, Recording
from voxfleet_cli.speech.recordings import STDIN, bare_samples, extension_of, opened_recording
from voxfleet_cli.speech.sound_device import NoSoundDevice, microphone
from voxfleet_cli.speech.transcript_cues import RESPONSE_FORMATS, Piece, TranscriptFormat, document
from voxfleet_cli.speech.upload_progress import upload_progress

MICROPHONE_HZ = 16_000


@dataclass(frozen=True, slots=True)
class Asked:
    """`source`: a file's path, `-`, or None for the microphone."""

    source: str | None
    rate_hz: int | None
    stream: bool
    format: TranscriptFormat
    output_folder: Path | None
    language: str | None
    silence_seconds: float

    @property
    def is_live(self) -> bool:
        return self.source is None or self.rate_hz is not None

    @property
    def output_file(self) -> Path | None:
        if self.output_folder is None:
            return None
        stem = "transcript" if self.source in (None, STDIN) else Path(str(self.source)).stem
        return self.output_folder / f"{stem}.{self.format}"


def transcribe(
    file: Annotated[
        str | None, typer.Argument(metavar="[FILE|-]", help="A recording; - reads one from standard input.")
    ] = None,
    mic: Annotated[
        bool, typer.Option("--mic", help="Listen to this machine's microphone; Ctrl-C ends it, after its text.")
    ] = False,
    stream: Annotated[bool, typer.Option("--stream", help="Print text as soon as it is certain.")] = False,
    format_: Annotated[
        TranscriptFormat, typer.Option("--format", help="txt, json, srt or vtt.")
    ] = TranscriptFormat.TXT,
    output_path: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write FOLDER/NAME.FORMAT, NAME being the recording's, and print nothing."),
    ] = None,
    rate: Annotated[
        int | None,
        typer.Option(
            min=4_000,
            max=384_000,
            metavar="HZ",
            help="Of the microphone (16000 without it). With -: what comes is PCM16 of one channel at this rate, and is"
            " sent as it comes.",
        ),
    ] = None,
    language: Language = None,
    endpoint: Endpoint = None,
    namespace: Namespace = None,
    url: Url = None,
    key_file: KeyFile = None,
    service_account: ServiceAccount = None,
    timeout: Silence = 300.0,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
) -> None:
    """Transcribe a recording, or what is said into the microphone, on an endpoint's warm lanes."""
    if mic == (file is not None):
        raise typer.Exit(fail(ValueError("write a FILE, - or --mic"), Exit.USAGE))
    if rate is not None and file not in (None, STDIN):
        raise typer.Exit(fail(ValueError("--rate is for --mic and -: a file says its own"), Exit.USAGE))
    asked = Asked(file, rate, stream, format_, output_path, language, timeout)
    access = AccessOptions(endpoint, namespace, url, key_file, service_account, kubeconfig, context)

    async def work(found: EndpointAccess) -> Exit:
        async with GatewayClient(found, asked.silence_seconds) as client:
            return await transcribed(client, asked)

    raise typer.Exit(with_endpoint(access, work))


def add_transcribe(app: typer.Typer) -> None:
    app.command(
        epilog="Examples: voxfleet transcribe call.wav --endpoint captions -n calls --format srt --output-path subs;"
        " voxfleet transcribe --mic --stream --endpoint captions; ffmpeg -i talk.mp4 -f s16le -ac 1 -ar 16000 - |"
        f" voxfleet transcribe - --rate 16000 --stream --endpoint captions. {SPEECH_EPILOG}"
    )(transcribe)


async def transcribed(client: GatewayClient, asked: Asked) -> Exit:
    try:
        if asked.is_live:
            return await _pieces(_live(client, asked), asked)
        return await _recording(client, asked)
    except NoSoundDevice as error:
        return fail(error, Exit.USAGE)


async def _recording(client: GatewayClient, asked: Asked) -> Exit:
    source = str(asked.source)
    with (
        opened_recording(source) as opened,
        upload_progress(Console(stderr=True), None if asked.stream else opened.size_bytes) as sent,
    ):
        recording = Recording(opened.pieces(sent), extension_of(source))
        if asked.stream:
            return await _pieces(client.transcript_pieces(recording, asked.language), asked)
        answer = await client.transcript(recording, RESPONSE_FORMATS[asked.format], asked.language)
    _write(asked, answer.text if answer.text.endswith("\n") else f"{answer.text}\n")
    return Exit.OK


async def _live(client: GatewayClient, asked: Asked) -> AsyncIterator[Piece]:
    rate_hz = asked.rate_hz or MICROPHONE_HZ
    if asked.source is not None:
        async for piece in client.live_pieces(bare_samples(rate_hz), rate_hz, asked.language):
            yield piece
        return
    stopped, loop = asyncio.Event(), asyncio.get_running_loop()

    def stop() -> None:
        stopped.set()
        loop.remove_signal_handler(signal.SIGINT)  # whoever presses it again does not want to wait for the text

    loop.add_signal_handler(signal.SIGINT, stop)
    try:
        print("voxfleet: listening; Ctrl-C ends it", file=sys.stderr)
        async for piece in client.live_pieces(microphone(rate_hz, stopped), rate_hz, asked.language):
            yield piece
    finally:
        loop.remove_signal_handler(signal.SIGINT)


async def _pieces(source: AsyncIterator[Piece], asked: Asked) -> Exit:
    """Prints them as they come, where that is asked for; otherwise what they add up to."""
    shown_live = asked.stream and asked.output_file is None and asked.format is TranscriptFormat.TXT
    pieces: list[Piece] = []
    open_line = False
    async for piece in source:
        pieces.append(piece)
        if shown_live:
            open_line = open_line or bool(piece.text)
            ends_line = open_line and piece.ends_turn and asked.is_live
            print(piece.text, end="\n" if ends_line else "", flush=True)
            open_line = open_line and not ends_line
    if shown_live:
        if open_line:
            print(flush=True)
        return Exit.OK
    try:
        _write(asked, document(pieces, asked.format))
    except ValueError as error:
        return fail(error, Exit.REFUSED)
    return Exit.OK


def _write(asked: Asked, text: str) -> None:
    file = asked.output_file
    if file is None:
        print(text, end="", flush=True)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
