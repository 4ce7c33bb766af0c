"""Explains the state of an object and what to do next, through the explainer of its kind. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from voxfleet_api.conditions import ConditionType, is_true
from voxfleet_api.kinds import AudioBatchJob, AudioShard, Resource
from voxfleet_cli import explainers
from voxfleet_cli.explainers.explanation import Explainer, Plain


@cache
def explainers_by_kind() -> Mapping[type[Resource], Explainer[Any]]:
    """Finds the EXPLAINER of each module in explainers/; nothing else lists them.

    Raises TypeError naming a module that has none; only `explanation`, which they share, needs none.
    """
    names = [f"{explainers.__name__}.{module.name}" for module in iter_modules(explainers.__path__)]
    found = [_explainer_of(import_module(name)) for name in names if name != Explainer.__module__]
    return {item.kind: item for item in found}


def _explainer_of(module: ModuleType) -> Explainer[Any]:
    found = getattr(module, "EXPLAINER", None)
    if not isinstance(found, Explainer):
        raise TypeError(f"{module.__name__} has no EXPLAINER; write one, or move what explainers share to explanation")
    return found


def needs_shards(resource: Resource) -> bool:
    """Whether the explanation of this object may show shards."""
    return explainers_by_kind()[type(resource)].shows is not None


def explain(resource: Resource, shards: Iterable[AudioShard] = ()) -> Plain:
    """Gives state, reason and next step. `shards`: all that there are, if the explanation needs any."""
    explainer = explainers_by_kind()[type(resource)]
    shown = [shard for shard in shards if explainer.shows is not None and explainer.shows(resource, shard)]
    return explainer.explain(resource, shown)


def failed(resource: Resource) -> bool:
    return isinstance(resource, AudioBatchJob) and is_true(resource.status.conditions, ConditionType.FAILED)
