"""Explains the state of an object and what to do next, through the explainer of its kind. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from voxfleet_api.kinds import Resource
from voxfleet_cli import explainers
from voxfleet_cli.explainers.explanation import Explainer, Plain, Related, explanation
from voxfleet_cli.surroundings import Surroundings


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


def related_kinds(resource: Resource) -> list[type[Resource]]:
    """The kinds whose objects the explanation of this object may show."""
    return list(_explainer(resource).related)


def looks_around(resource: Resource) -> bool:
    """Whether the explanation compares the object with the rest of the cluster."""
    return _explainer(resource).looks_around(resource)


def explain(resource: Resource, others: Iterable[Resource] = (), around: Surroundings | None = None) -> Plain:
    """Gives state, reason and next step. `others`: all objects of the related kinds; `around`: if it looks around."""
    explainer = _explainer(resource)
    related = [
        item
        for item in others
        for kind, belongs in explainer.related.items()
        if type(item) is kind
        if belongs(resource, item)
    ]
    return explanation(explainer, resource, Related(related, around))


def failed(resource: Resource) -> bool:
    """Whether a script that asks for the object should fail."""
    return _explainer(resource).failed(resource)


def _explainer(resource: Resource) -> Explainer[Any]:
    return explainers_by_kind()[type(resource)]
