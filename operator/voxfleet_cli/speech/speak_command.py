"""The command `voxfleet speak`."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Annotated

import typer

from voxfleet_api.kinds.job_task import MAX_TEXT_CHARACTERS
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
from voxfleet_cli.speech.gateway_client import GatewayClient
from voxfleet_cli.speech.gateway_errors import GatewayLost
from voxfleet_cli.speech.recordings import STDIN
from voxfleet_cli.speech.sound_device import Loudspeaker, NoSoundDevice, open_loudspeaker
from voxfleet_cli.speech.speech_output import WriteSamples, named_once_whole, wav_output
from voxfleet_cli.speech.streamed_wav import NoStreamedWav, StreamedWav

FORMATS = (".wav", ".flac")


@dataclass(frozen=True, slots=True)
class Asked:
    text: str
    stream: bool
    play: bool
    output: str | None
    """A file's path, or `-`."""
    voice: str | None
    instruct: str | None
    speed: float | None
    language: str | None
    interval_seconds: float | None

    @property
    def is_flac(self) -> bool:
        return self.output is not None and self.output.endswith(".flac")

    def request(self) -> dict[str, object]:
        given: dict[str, object | None] = {
            "input": self.text,
            "voice": self.voice,
            "instruct": self.instruct,
            "speed": self.speed,
            "lang_code": self.language,
            "stream": self.stream or None,
            "streaming_interval": self.interval_seconds,
            "response_format": "flac" if self.is_flac else "wav",
        }
        return {name: value for name, value in given.items() if value is not None}


def speak(
    text: Annotated[
        str,
        typer.Argument(metavar="TEXT|-", help="What is said; - reads it from standard input, where no one sees it."),
    ],
    stream: Annotated[bool, typer.Option("--stream", help="Play it while it is made; implies --play.")] = False,
    play: Annotated[bool, typer.Option("--play", help="Play it on this machine.")] = False,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="FILE|-", help="Write it: .wav, or .flac without --stream; - to stdout."
        ),
    ] = None,
    voice: Annotated[str | None, typer.Option(help="One of the endpoint's voices.")] = None,
    instruct: Annotated[str | None, typer.Option(help="How it is said, for models that take it.")] = None,
    speed: Annotated[float | None, typer.Option(min=0.25, max=4.0, help="1 is the voice's own.")] = None,
    language: Language = None,
    streaming_interval: Annotated[
        float | None,
        typer.Option(
            min=0.01, max=60.0, metavar="SECONDS", help="Length of a chunk; without it, as the endpoint says."
        ),
    ] = None,
    endpoint: Endpoint = None,
    namespace: Namespace = None,
    url: Url = None,
    key_file: KeyFile = None,
    service_account: ServiceAccount = None,
    timeout: Silence = 300.0,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
) -> None:
    """Speak a text on an endpoint's warm lanes, and play or write what comes."""
    said = sys.stdin.read(MAX_TEXT_CHARACTERS + 1).strip() if text == STDIN else text
    asked = Asked(said, stream, play, output, voice, instruct, speed, language, streaming_interval)
    try:
        loudspeaker = _checked(asked)
    except (ValueError, NoSoundDevice) as error:
        raise typer.Exit(fail(error, Exit.USAGE)) from error
    access = AccessOptions(endpoint, namespace, url, key_file, service_account, kubeconfig, context)

    async def work(found: EndpointAccess) -> Exit:
        async with GatewayClient(found, timeout) as client:
            return await spoken(client, asked, loudspeaker)

    raise typer.Exit(with_endpoint(access, work))


def add_speak(app: typer.Typer) -> None:
    app.command(
        epilog="Examples: voxfleet speak 'The line is open.' --stream --endpoint announcements; voxfleet speak -"
        " --output line.wav --endpoint announcements < line.txt; voxfleet speak 'One moment.' --stream --output -"
        f" --endpoint announcements | ffplay -nodisp -autoexit -. {SPEECH_EPILOG}"
    )(speak)


def _checked(asked: Asked) -> Loudspeaker | None:
    """The loudspeaker, where one is wanted and there is one. Raises ValueError and NoSoundDevice."""
    if not asked.text.strip() or len(asked.text) > MAX_TEXT_CHARACTERS:
        raise ValueError(f"write a text of 1 to {MAX_TEXT_CHARACTERS} characters")
    formats = FORMATS[:1] if asked.stream or asked.play else FORMATS
    if asked.output not in (None, STDIN) and Path(str(asked.output)).suffix not in formats:
        raise ValueError(f"--output: write a name that ends in {' or '.join(formats)}")
    if not (asked.stream or asked.play):
        if asked.output is None:
            raise ValueError("write --stream or --play to hear it, or --output to write it")
        return None
    try:
        return open_loudspeaker()
    except NoSoundDevice:
        if asked.output is None or asked.play:
            raise
        return None


async def spoken(client: GatewayClient, asked: Asked, loudspeaker: Loudspeaker | None) -> Exit:
    started = monotonic()
    try:
        async with client.speech(asked.request()) as speech:
            if asked.is_flac:
                with named_once_whole(Path(str(asked.output))) as file:
                    async for chunk in speech.chunks():
                        file.write(chunk)
                return Exit.OK
            with wav_output(asked.output) as write:
                first_seconds, seconds = await _heard(speech.chunks(), write, loudspeaker, started)
    except NoStreamedWav as error:
        raise GatewayLost(str(error)) from error
    except NoSoundDevice as error:
        return fail(error, Exit.USAGE)
    finally:
        if loudspeaker is not None:
            loudspeaker.close()
    print(f"voxfleet: {seconds:.1f} s of speech, the first of it after {first_seconds * 1000:.0f} ms", file=sys.stderr)
    return Exit.OK


async def _heard(
    chunks: AsyncIterator[bytes], write: WriteSamples, loudspeaker: Loudspeaker | None, started: float
) -> tuple[float, float]:
    """Returns when the first samples came, and how much all of them are, in seconds. Raises NoStreamedWav."""
    wav, first_seconds = StreamedWav(), 0.0
    async for chunk in chunks:
        samples = wav.feed(chunk)
        if not samples or wav.rate_hz is None:
            continue
        first_seconds = first_seconds or monotonic() - started
        write(samples, wav.rate_hz)
        if loudspeaker is not None:
            await loudspeaker.play(samples, wav.rate_hz)
    if not wav.total_bytes:
        raise NoStreamedWav("the answer holds no speech")
    if loudspeaker is not None:
        await loudspeaker.finish()
    return first_seconds, wav.seconds
