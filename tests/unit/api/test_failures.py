"""The failure taxonomy is closed and complete."""

from __future__ import annotations

from voxfleet_api.failures import RULES, FailureClass, Remedy


def test_every_class_has_a_rule() -> None:
    assert set(RULES) == set(FailureClass)


def test_classes_that_quarantine_are_never_retried() -> None:
    """The same bytes fail the same way; only Transport and Throttled can pass with time."""
    assert not [name for name, rule in RULES.items() if rule.quarantines and rule.remedy is not Remedy.NOTHING]
    waiting = {name for name, rule in RULES.items() if rule.remedy is Remedy.RETRY}
    assert waiting == {FailureClass.TRANSPORT, FailureClass.THROTTLED}
