"""What the commands for speech share: their options, and how they reach an endpoint and give up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import typer

from voxfleet_cli.command_line import Exit, Refused, fail
from voxfleet_cli.names import NoSuchObject
from voxfleet_cli.speech.endpoint_access import AccessOptions, EndpointAccess, WrongAccess, endpoint_access
from voxfleet_cli.speech.gateway_errors import GatewayLost, GatewayRefused, exit_of
from voxfleet_operator.kube_errors import KubeError
from voxfleet_operator.kube_objects import Unreadable

SPEECH_EPILOG = (
    "The key is VOXFLEET_API_KEY, or comes from --key-file or --service-account. Exit codes: 0 fine, 1 refused, 2 wrong"
    " usage or no audio device, 3 no such endpoint, 4 no answer or no room (it may work later), 130 interrupted."
)
Endpoint = Annotated[str | None, typer.Option("--endpoint", metavar="NAME", help="The VoiceEndpoint, by status.url.")]
Url = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="The endpoint's address instead, as https://HOST/NAMESPACE/ENDPOINT."),
]
KeyFile = Annotated[
    Path | None, typer.Option("--key-file", metavar="FILE", help="File with the key, or a ServiceAccount's token.")
]
ServiceAccount = Annotated[
    str | None,
    typer.Option(
        "--service-account",
        metavar="NAME",
        help="Ask the cluster for a token of this ServiceAccount (NAME or NAMESPACE/NAME).",
    ),
]
Language = Annotated[str | None, typer.Option(help="Of the speech; without it, as the endpoint says.")]
Silence = Annotated[
    float, typer.Option("--timeout", min=1.0, help="Give up when the gateway is silent for so many seconds.")
]


def with_endpoint(options: AccessOptions, work: Callable[[EndpointAccess], Awaitable[Exit]]) -> Exit:
    async def run() -> Exit:
        return await work(await endpoint_access(options))

    try:
        return asyncio.run(run())
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except WrongAccess as error:
        return fail(error, Exit.USAGE)
    except NoSuchObject as error:
        return fail(error, Exit.NOT_FOUND)
    except Refused as error:
        return fail(error, Exit.REFUSED)
    except (GatewayRefused, GatewayLost) as error:
        return fail(error, exit_of(error))
    except (KubeError, Unreadable) as error:
        return fail(error, Exit.UNAVAILABLE)
    except BrokenPipeError:
        raise  # whoever reads the output has enough of it
    except OSError as error:
        return fail(ValueError(f"{error.filename or 'a file'}: {error.strerror}"), Exit.USAGE)
