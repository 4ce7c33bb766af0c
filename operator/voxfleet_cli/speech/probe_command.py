"""The command `voxfleet endpoint probe`."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from enum import StrEnum
from functools import partial
from importlib import resources
from pathlib import Path
from time import monotonic
from typing import Annotated

import typer

from voxfleet_api.kinds.job_task import MAX_TEXT_CHARACTERS
from voxfleet_cli.command_line import Exit, Kubeconfig, KubeContext, Namespace, fail
from voxfleet_cli.render import Output, document
from voxfleet_cli.speech import latency_table
from voxfleet_cli.speech.endpoint_access import AccessOptions, EndpointAccess
from voxfleet_cli.speech.endpoint_call import SPEECH_EPILOG, KeyFile, ServiceAccount, Silence, Url, with_endpoint
from voxfleet_cli.speech.gateway_client import GatewayClient, Recording
from voxfleet_cli.speech.gateway_errors import GatewayLost, GatewayRefused, exit_of
from voxfleet_cli.speech.latency_table import Call
from voxfleet_cli.speech.recordings import extension_of

EXAMPLE = "example.wav"
MAX_CLIP_BYTES = 64 * 2**20
MAX_RETRY_SECONDS = 5.0
"""A caller that was refused waits as long as it is told to, but no longer."""


class ProbeOutput(StrEnum):
    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"


_CallOnce = Callable[[], Awaitable[Mapping[str, float]]]
"""Returns where the time went, in milliseconds by part."""

endpoint_app = typer.Typer(help="Try the endpoints that keep models warm.", no_args_is_help=True)


@endpoint_app.command(
    epilog="Examples: voxfleet endpoint probe captions -n calls; voxfleet endpoint probe captions --clip call.wav"
    " --count 200 --concurrency 4 -o wide; voxfleet endpoint probe announcements --text 'The line is open.'."
    f" {SPEECH_EPILOG}"
)
def probe(
    endpoint: Annotated[str | None, typer.Argument(metavar="[ENDPOINT]", help="The VoiceEndpoint; or --url.")] = None,
    clip: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The recording; without it, two seconds of speech at 16 kHz.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="For an endpoint that speaks: what it is asked to say.")] = None,
    count: Annotated[int, typer.Option("--count", "-c", min=1, max=10_000, help="How many calls.")] = 20,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="How many of them at a time.")] = 1,
    output: Annotated[ProbeOutput, typer.Option("--output", "-o", help="table, wide, json or yaml.")] = (
        ProbeOutput.TABLE
    ),
    namespace: Namespace = None,
    url: Url = None,
    key_file: KeyFile = None,
    service_account: ServiceAccount = None,
    timeout: Silence = 60.0,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
) -> None:
    """Measure how long an endpoint takes, by part, by calling it as its clients do.

    Of a recording: from the request to its whole text. Of a text: from the request to the first byte of audio. The
    calls count in the endpoint's own figures, and take room from others' sessions.
    """
    if clip is not None and text is not None:
        raise typer.Exit(fail(ValueError("write --clip or --text, not both"), Exit.USAGE))
    if text is not None and not 0 < len(text) <= MAX_TEXT_CHARACTERS:
        raise typer.Exit(fail(ValueError(f"--text: write 1 to {MAX_TEXT_CHARACTERS} characters"), Exit.USAGE))
    access = AccessOptions(endpoint, namespace, url, key_file, service_account, kubeconfig, context)

    async def work(found: EndpointAccess) -> Exit:
        async with GatewayClient(found, timeout) as client:
            call = partial(_speech, client, text) if text is not None else partial(_transcript, client, *_clip(clip))
            return _print(await _calls(call, count, concurrency), output)

    raise typer.Exit(with_endpoint(access, work))


def _clip(clip: Path | None) -> tuple[bytes, str]:
    if clip is None:
        return resources.files(__package__ or "").joinpath(EXAMPLE).read_bytes(), extension_of(EXAMPLE)
    with clip.open("rb") as opened:
        content = opened.read(MAX_CLIP_BYTES + 1)
    if len(content) > MAX_CLIP_BYTES:
        raise GatewayRefused(413, f"--clip: {clip} is larger than {MAX_CLIP_BYTES // 2**20} MiB")
    return content, extension_of(clip.name)


async def _transcript(client: GatewayClient, content: bytes, extension: str) -> Mapping[str, float]:
    answer = await client.transcript(Recording(_once(content), extension), "json", None)
    return answer.parts_milliseconds


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def _speech(client: GatewayClient, text: str) -> Mapping[str, float]:
    async with client.speech({"input": text, "stream": True, "response_format": "wav"}) as speech:
        async for _ in speech.chunks():
            return speech.parts_milliseconds
    raise GatewayLost("the answer holds no speech")


async def _calls(call: _CallOnce, count: int, concurrency: int) -> list[Call | GatewayRefused | GatewayLost]:
    left, found = iter(range(count)), list[Call | GatewayRefused | GatewayLost]()

    async def work() -> None:
        for _ in left:
            started = monotonic()
            try:
                parts = await call()
            except GatewayLost as error:
                found.append(error)
            except GatewayRefused as error:
                found.append(error)
                await asyncio.sleep(min(error.retry_after_seconds or 0.0, MAX_RETRY_SECONDS))
            else:
                found.append(Call((monotonic() - started) * 1000, parts))

    await asyncio.gather(*(work() for _ in range(concurrency)))
    return found


def _print(results: list[Call | GatewayRefused | GatewayLost], output: ProbeOutput) -> Exit:
    calls = [result for result in results if isinstance(result, Call)]
    failures = [result for result in results if not isinstance(result, Call)]
    if output in (ProbeOutput.JSON, ProbeOutput.YAML):
        failed = dict(Counter(str(failure) for failure in failures))
        plain = {"calls": len(results), "failed": failed, "milliseconds": latency_table.plain(calls)}
        print(document(plain, Output(output.value)))
    elif calls:
        print(latency_table.text(calls, wide=output is ProbeOutput.WIDE))
    for message, times in Counter(str(failure) for failure in failures).items():
        print(f"voxfleet: {times} of {len(results)} calls failed: {message}", file=sys.stderr)
    return exit_of(failures[0]) if failures else Exit.OK
