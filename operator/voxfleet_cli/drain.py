"""Sets and removes spec.drain of a MacAgent."""

from __future__ import annotations

from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.mac_agent import Drain, DrainMode
from voxfleet_cli.command_line import CLI_MANAGER
from voxfleet_cli.names import no_such
from voxfleet_operator.kube import Kube
from voxfleet_operator.kube_errors import NotFound
from voxfleet_operator.reconcile.mac_closing import RETURN_GRACE

GRACE_SECONDS = int(RETURN_GRACE.total_seconds())
NOTICE_SECONDS = 120
"""Until the operator has seen that nothing runs any more."""


class BadDeadline(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(f"--deadline {text} is no duration up to 168h; write for example 30m or 2h")


async def set_drain(kube: Kube, name: str, drain: Drain | None) -> None:
    """None: the Mac drains no longer. Raises NoSuchObject."""
    changes = {"drain": None if drain is None else drain.dump()}
    try:
        await kube.change_spec(MacAgent, "", name, changes, field_manager=CLI_MANAGER)
    except NotFound as error:
        raise no_such((MacAgent,), name, "") from error


def what_follows(name: str, drain: Drain) -> str:
    returns_now = drain.mode is DrainMode.RETURN_AT_NEXT_CLIP
    seconds = GRACE_SECONDS + (0 if returns_now else drain.deadline_seconds)
    return (
        f"mac/{name} takes nothing new, and what runs there ends in {seconds} s at most. To wait for it:\n"
        f"kubectl wait mac/{name} --for=condition=Draining=False --timeout={seconds + NOTICE_SECONDS}s"
    )
