"""Every kind's reconciler and triggers, found in the folders below reconcile/. Nothing else lists them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from voxfleet_operator import reconcile
from voxfleet_operator.placement.gather import PlacementGatherer
from voxfleet_operator.placement.lane_rooms import LaneRooms
from voxfleet_operator.placement.outlook import LaneOutlooks
from voxfleet_operator.placement.reconcile import PlacementReconciler, placement_woken_by
from voxfleet_operator.queue import PLACEMENT
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.registration import Reconciler, Registration, SharedFindings
from voxfleet_operator.triggers import Triggers


@cache
def registrations() -> tuple[Registration, ...]:
    """Reads `registration.py` of each folder below reconcile/.

    Raises ImportError naming a folder that has none, and TypeError naming one without a REGISTRATION.
    """
    folders = [module.name for module in iter_modules(reconcile.__path__) if module.ispkg]
    return tuple(_registration_of(import_module(f"{reconcile.__name__}.{folder}.registration")) for folder in folders)


def _registration_of(module: ModuleType) -> Registration:
    found = getattr(module, "REGISTRATION", None)
    if not isinstance(found, Registration):
        raise TypeError(f"{module.__name__} has no REGISTRATION; write one for the kind of this folder")
    return found


def triggers() -> Triggers:
    return Triggers((placement_woken_by, *(item.woken_by for item in registrations())))


def reconcilers(context: Context) -> Mapping[str, Reconciler]:
    """Makes the reconcilers, by the kind of their keys."""
    empty = SharedFindings.empty(context)
    gatherer = PlacementGatherer(context, empty)
    findings = replace(
        empty,
        outlook=LaneOutlooks(context, gatherer).of,
        lane_places=LaneRooms(context, gatherer, empty.lane_claims).places,
    )
    return {
        PLACEMENT.kind: PlacementReconciler(context, findings, gatherer),
        **{item.kind.crd.kind: item.make(context, findings) for item in registrations()},
    }
