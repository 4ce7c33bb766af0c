"""Whether an endpoint's turns keep to the contract's p95, and what makes them slow. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from voxfleet_api.conditions import Reason
from voxfleet_api.endpoint_latency import (
    FEWEST_TURNS,
    HELD_TO_TARGET,
    MOST_SLOW_PERCENT,
    KindLatency,
    LatencyPart,
    is_beyond,
    percentile_milliseconds,
    summed,
)
from voxfleet_api.kinds.endpoint_status import EndpointSlo, SlowestPart
from voxfleet_api.quantities import duration_milliseconds
from voxfleet_operator.reconcile.endpoint.latency_window import Latencies

ALL = "All"

Verdict = tuple[bool | None, str, str]
"""Of a condition: status, reason and message."""


@dataclass(frozen=True, slots=True)
class RecentTurns:
    """What the turns of a window took."""

    window: str = "5m"
    """`spec.sloWindow`."""
    by_mac: Mapping[str, Latencies] = field(default_factory=dict)
    complete: bool = True
    """Whether this process has looked for a whole window."""

    def total(self) -> KindLatency:
        """Those that the contract's target is about."""
        kinds = (kind for kinds in self.by_mac.values() for kind in kinds.values())
        return summed((kind for kind in kinds if kind.latency in HELD_TO_TARGET), ALL)


def endpoint_slo(old: EndpointSlo | None, target: str | None, turns: RecentTurns) -> EndpointSlo | None:
    """The figures to show. A process that has just begun leaves those that there are, until it knows better."""
    total = turns.total()
    if old is not None and _knows_too_little(total, turns):
        return old
    if old is None and total.turns == 0:
        return None
    target_milliseconds = None if target is None else duration_milliseconds(target)
    p50, p95, p99 = (percentile_milliseconds(total, percent, target_milliseconds) for percent in (50, 95, 99))
    return EndpointSlo(
        turns=total.turns,
        breaches=total.slow,
        p50=_duration(p50),
        p95=_duration(p95),
        p99=_duration(p99),
        slowest=slowest_part(turns.by_mac),
    )


def slo_verdict(slo: EndpointSlo | None, target: str | None, window: str) -> Verdict | None:
    """Of SLOMet; None: the contract promises nothing."""
    if target is None:
        return None
    if slo is None or slo.turns == 0:
        return None, Reason.NO_TURNS, f"no turn within {window}"
    told = f"{slo.breaches} of {slo.turns} turns within {window} took longer than {target}"
    if not is_beyond(slo.turns, slo.breaches):
        return True, Reason.TURNS_WITHIN_SLO, f"{told}; the p95 is {slo.p95}"
    if slo.turns < FEWEST_TURNS:
        return None, Reason.TOO_FEW_TURNS, f"{told}; fewer than {FEWEST_TURNS} turns say nothing of a p95"
    allowed = f"at most {MOST_SLOW_PERCENT} % may, the p95 is {slo.p95}"
    if slo.slowest is None:
        return False, Reason.TURNS_BEYOND_SLO, f"{told}; {allowed}"
    return False, Reason.TURNS_BEYOND_SLO, f"{told}; {allowed}; {slowest_text(slo.slowest)}"


def slowest_text(slowest: SlowestPart) -> str:
    return f"{slowest.percent} % of the time of the slow ones is {slowest.part}, most of it on {slowest.mac}"


def slowest_part(by_mac: Mapping[str, Latencies]) -> SlowestPart | None:
    """The part in which turns that took longer than the target spent most of their time, and where."""
    spent = {
        (part, mac): sum(kind.part(part).slow_milliseconds for kind in kinds.values())
        for part in LatencyPart
        for mac, kinds in sorted(by_mac.items())
    }
    of_part = {part: sum(spent[part, mac] for mac in by_mac) for part in LatencyPart}
    everything = sum(of_part.values())
    if everything == 0:
        return None
    part = max(LatencyPart, key=lambda one: of_part[one])
    mac = max(sorted(by_mac), key=lambda one: spent[part, one])
    return SlowestPart(part=part, mac=mac, percent=of_part[part] * 100 // everything)


def _knows_too_little(total: KindLatency, turns: RecentTurns) -> bool:
    return not turns.complete and total.turns < FEWEST_TURNS


def _duration(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else f"{milliseconds}ms"
