"""An exclusion as a MacAgent's status shows it, and as the next process takes it up again. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.audio_shard import MachineIdentity
from voxfleet_api.kinds.mac_agent import MacExclusion
from voxfleet_api.moments import timestamp
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.reconcile.exclusions import WINDOW_SECONDS, Exclusion, Machine


def known_machine(mac: MacAgent, view: MacView) -> Machine:
    """The machine that the Mac has proven to be; before that, the one that its status names."""
    if view.identity is not None:
        return view.identity
    if mac.status.machine is None:
        return mac.metadata.name
    return MachineIdentity(hardware_id=mac.status.machine.hardware_id, ledger_key=mac.spec.ledger_public_key)


def shown_exclusion(
    exclusion: Exclusion | None, previous: MacExclusion | None, clock_seconds: float, now: datetime
) -> MacExclusion | None:
    """`clock_seconds` and `now` are the same moment on both clocks. `previous`: what status shows; its time stays as
    long as it is the same exclusion, though clocks drift."""
    if exclusion is None:
        return None
    if previous is not None and (previous.times, previous.failures) == (exclusion.times, exclusion.failures):
        return previous
    until = now + timedelta(seconds=exclusion.until_seconds - clock_seconds)
    return MacExclusion(
        until=timestamp(until),
        failures=exclusion.failures,
        failure_class=exclusion.failure_class,
        times=exclusion.times,
    )


def stored_exclusion(shown: MacExclusion, clock_seconds: float, now: datetime) -> Exclusion:
    left_seconds = (datetime.fromisoformat(shown.until) - now).total_seconds()
    return Exclusion(clock_seconds + left_seconds, shown.failures, shown.failure_class, shown.times)


def exclusion_text(shown: MacExclusion) -> str:
    many = "1 failure" if shown.failures == 1 else f"{shown.failures} failures"
    hours = f"{WINDOW_SECONDS / 3600:g} hour"
    return f"{many} in {hours} without a success, the last: {shown.failure_class}; until {shown.until}"
