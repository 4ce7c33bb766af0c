"""Every kind's reconciler and triggers, found in the folders below reconcile/. Nothing else lists them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from voxfleet_operator import reconcile
from voxfleet_operator.placement.reconcile import PlacementReconciler, placement_woken_by
from voxfleet_operator.queue import PLACEMENT
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.registration import Reconciler, Registration, SharedFindings
from voxfleet_operator.triggers import Triggers


@cache
def registrations(paths: tuple[str, ...] = tuple(reconcile.__path__)) -> tuple[Registration, ...]:
    """Reads registration.py of each folder below `paths`. Raises TypeError naming the module that holds none."""
    return tuple(_registrations(paths))


def _registrations(paths: Iterable[str]) -> Iterable[Registration]:
    for folder in iter_modules(paths):
        if not folder.ispkg:
            continue
        module = import_module(f"{reconcile.__name__}.{folder.name}.registration")
        if not isinstance(module.REGISTRATION, Registration):
            raise TypeError(f"{module.__name__}: REGISTRATION is no Registration")
        yield module.REGISTRATION


def triggers() -> Triggers:
    return Triggers((placement_woken_by, *(item.woken_by for item in registrations())))


def reconcilers(context: Context) -> Mapping[str, Reconciler]:
    """Makes the reconcilers, by the kind of their keys."""
    findings = SharedFindings.empty(context)
    return {
        PLACEMENT.kind: PlacementReconciler(context, findings),
        **{item.kind.crd.kind: item.make(context, findings) for item in registrations()},
    }
