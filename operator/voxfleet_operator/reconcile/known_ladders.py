"""What Macs have measured of a model under a contract, and what one Mac may be handed of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from voxfleet_api.attempt_spec import AttemptSpec
from voxfleet_api.protocol import ReportedLadder
from voxfleet_operator.fleet.mac_view import MacView


def ladders_by_profile(
    views: Mapping[str, MacView], model_digest: str, contract_digest: str
) -> Mapping[str, ReportedLadder]:
    """The fastest ladder of each profile, as one that had to step down is slower. Each names who measured it."""
    found: dict[str, ReportedLadder] = {}
    for view in sorted(views.values(), key=lambda view: view.name):
        ladder = view.ladders.get((model_digest, contract_digest))
        if ladder is not None and (ladder.profile not in found or _pace(ladder) > _pace(found[ladder.profile])):
            found[ladder.profile] = ladder.model_copy(update={"measured_on": ladder.measured_on or view.name})
    return found


def handed_ladder(spec: AttemptSpec, mac: MacView, views: Mapping[str, MacView]) -> ReportedLadder | None:
    """What an attempt's Mac need not measure itself; None if it has a ladder, would measure none, or nobody has one."""
    if spec.process is None or spec.contract.batching.ladder is None or mac.machine is None:
        return None
    profile, wanted = mac.machine.ladder_profile, (spec.process.model_digest, spec.contract_digest)
    if profile is None or wanted in mac.ladders:
        return None
    return ladders_by_profile(views, *wanted).get(profile)


def _pace(ladder: ReportedLadder) -> int:
    return ladder.audio_milliseconds_per_second or 0
