"""Generates the pages on metrics, events and conditions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from voxfleet_agent.metric_list import METRICS as AGENT_METRICS
from voxfleet_api.condition_texts import CONDITIONS, REASONS
from voxfleet_api.conditions import ConditionType, Reason
from voxfleet_api.failure_texts import TEXTS as FAILURE_TEXTS
from voxfleet_api.failures import FailureClass
from voxfleet_gateway.gateway_metric_list import METRICS as GATEWAY_METRICS
from voxfleet_generate.tables import page, table
from voxfleet_operator.event_reasons import TEXTS, Announced, EventReason, facts_of
from voxfleet_operator.metric_list import API_REQUEST_SECONDS, API_REQUESTS, METRICS
from voxfleet_shared.metric_specs import MetricSpec


def metrics_page() -> str:
    return page(
        "Metrics",
        "Both sides serve `/metrics` in Prometheus' text format: operator and gateway on `--health-port`, beside the"
        " usual `process_` metrics, and the agent behind its token, on its loopback port. A standby of the operator has"
        " no metrics of Macs and jobs.\n\n"
        "`mac` is the name of a MacAgent; its series go with it, as those of an `endpoint` do. No label holds a job, a"
        " shard or a clip: their number is up to users, and a series that is made for each of them would never end."
        " What one of them is at is in its status, and `voxfleet why` says it.",
        ("The operator", _metrics(METRICS)),
        ("The gateway", _metrics((*GATEWAY_METRICS, API_REQUESTS, API_REQUEST_SECONDS))),
        ("The agent", _metrics(AGENT_METRICS)),
    )


def _metrics(specs: Iterable[MetricSpec]) -> str:
    rows = (
        (f"`{spec.name}`", spec.type.value, ", ".join(f"`{label}`" for label in spec.labels), spec.help)
        for spec in specs
    )
    return table(("metric", "type", "labels", "meaning"), rows)


def events_page() -> str:
    """Raises KeyError for a reason without facts or text."""
    others = [
        (*_facts(reason), TEXTS[reason].about, TEXTS[reason].means, TEXTS[reason].to_do) for reason in EventReason
    ]
    conditions = [(*_facts(reason), REASONS[reason].means) for reason in Reason]
    failures = [(*_facts(name), FAILURE_TEXTS[name].means) for name in FailureClass]
    return page(
        "Events",
        "Events of `events.k8s.io/v1`, which `kubectl describe` and `kubectl events --for KIND/NAME` show. Each change"
        " of a condition is told once, with the condition's reason. The same event is not repeated within ten minutes,"
        " and an object gets 25 of one reason in that time at most. What goes wrong with a shard is told of its job.",
        ("What no condition says", table(("reason", "type", "action", "about", "meaning", "what to do"), others)),
        ("Reasons of conditions", table(("reason", "type", "action", "meaning"), conditions)),
        ("Failure classes", table(("reason", "type", "action", "meaning"), failures)),
    )


def _facts(reason: Announced) -> tuple[str, str, str]:
    facts = facts_of(reason)
    return f"`{reason}`", "Warning" if facts.warning else "Normal", facts.action


def conditions_page() -> str:
    """Raises KeyError for a condition or a reason without a text."""
    types: Sequence[Sequence[str]] = [
        (f"`{name}`", CONDITIONS[name].of, CONDITIONS[name].normally, CONDITIONS[name].means) for name in ConditionType
    ]
    reasons = [(f"`{name}`", REASONS[name].means, REASONS[name].to_do) for name in Reason]
    return page(
        "Conditions",
        "The conditions of all kinds, and their reasons. `kubectl wait --for=condition=Complete abj/NAME` and kstatus"
        " go by them. The reason may also be a [failure class](failures.md).",
        ("Types", table(("condition", "kinds", "normally", "meaning"), types)),
        ("Reasons", table(("reason", "meaning", "what to do"), reasons)),
    )
