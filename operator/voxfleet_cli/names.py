"""Finds the kinds and objects that people name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from voxfleet_api.kinds import KINDS, AudioBatchJob, Resource
from voxfleet_operator.kube import Kube


class UnknownKind(Exception):
    """A word that names no kind; the message lists the words that do."""


class NoSuchObject(Exception):
    """No object has this name."""


def kind_of(word: str) -> type[Resource]:
    """Understands `job`, `jobs`, `abj` and `audiobatchjob(s)`, in upper or lower case. Raises UnknownKind."""
    names: dict[str, type[Resource]] = {}
    for kind in KINDS:
        facts = kind.crd
        everyday = (facts.everyday_name, f"{facts.everyday_name}s")
        names |= dict.fromkeys((*everyday, facts.singular, facts.plural, *facts.short_names), kind)
    found = names.get(word.lower())
    if found is None:
        raise UnknownKind(f"{word!r} is no kind; write one of {', '.join(kind.crd.everyday_name for kind in KINDS)}")
    return found


@dataclass(frozen=True, slots=True)
class Target:
    """An object named by a user: its name, and the kinds that it may be of, in the order in which to try them."""

    kinds: tuple[type[Resource], ...]
    name: str


def parse_target(text: str) -> Target:
    """Understands `kind/name`, or just a name, which is looked for in every kind. Raises UnknownKind."""
    word, slash, name = text.partition("/")
    return Target((kind_of(word),), name) if slash else Target(KINDS, word)


async def find_object(kube: Kube, target: Target, namespace: str) -> Resource:
    """Raises NoSuchObject."""
    for kind in target.kinds:
        found = await kube.get(kind, namespace, target.name)
        if found is not None:
            return found
    raise no_such(target.kinds, target.name, namespace)


def no_such(kinds: Sequence[type[Resource]], name: str, namespace: str) -> NoSuchObject:
    """Says where the name was looked for, and how to see those that there are."""
    looked_for = " or ".join(kind.crd.kind for kind in kinds)
    word = f"{kinds[0].crd.everyday_name if len(kinds) == 1 else AudioBatchJob.crd.everyday_name}s"
    if all(kind.crd.scope == "Cluster" for kind in kinds):
        return NoSuchObject(f"there is no {looked_for} {name}; voxfleet get {word} lists all")
    return NoSuchObject(
        f"there is no {looked_for} {name} (namespace {namespace}); -n names another namespace, and"
        f" voxfleet get {word} -A lists all"
    )
