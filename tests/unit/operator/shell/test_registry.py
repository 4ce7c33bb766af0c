"""A kind is known everywhere by its own files: one below kinds/, a folder below reconcile/ and an explainer."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from voxfleet_api.kinds import KINDS
from voxfleet_cli.explain import explainers_by_kind
from voxfleet_cli.explainers import mac as mac_explainer
from voxfleet_dev.locations import REPOSITORY
from voxfleet_operator.reconcile.mac import registration as mac_registration
from voxfleet_operator.registry import registrations

FOLDERS = ("crds", "operator", "hack")
KIND = '''"""Thing: a kind that a test adds."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from voxfleet_api.base import ObservedGeneration, SpecModel, StatusModel
from voxfleet_api.kinds.resource import AGE_COLUMN, CrdFacts, Resource


class ThingSpec(SpecModel):
    size: Annotated[int, Field(ge=1, description="Its size.")] = 1


class ThingStatus(StatusModel):
    observed_generation: ObservedGeneration = -1


class Thing(Resource):
    """A thing."""

    crd: ClassVar[CrdFacts] = CrdFacts(
        kind="Thing",
        plural="things",
        singular="thing",
        short_names=("th",),
        everyday_name="gadget",
        scope="Namespaced",
        columns=(AGE_COLUMN,),
        frozen_spec=None,
    )

    spec: ThingSpec
    status: ThingStatus = ThingStatus()
'''
REGISTRATION = '''"""Thing, for the registry."""

from __future__ import annotations

from voxfleet_api.kinds.thing import Thing
from voxfleet_operator.cache import Cache, key_of
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.registration import Registration, SharedFindings
from voxfleet_api.kinds import MacAgent, Resource


class ThingReconciler:
    async def reconcile(self, key: Key) -> float | None:
        return 7.0


def make(_: Context, __: SharedFindings) -> ThingReconciler:
    return ThingReconciler()


def woken_by(changed: Resource, cache: Cache) -> set[Key]:
    return {key_of(thing) for thing in cache.all(Thing)} if isinstance(changed, MacAgent) else set()


REGISTRATION = Registration(Thing, make, woken_by)
'''
EXPLAINER = '''"""Explains a Thing."""

from __future__ import annotations

from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.thing import Thing
from voxfleet_cli.explainers.explanation import Explainer

EXPLAINER = Explainer(
    kind=Thing,
    state=lambda thing: "Big" if thing.spec.size > 1 else "Small",
    next=lambda _: "nothing",
    details=lambda _, related: {"macs": [mac.metadata.name for mac in related.of(MacAgent)]},
    related={MacAgent: lambda _, mac: mac.metadata.name == "mac"},
    failed=lambda thing: thing.spec.size > 1,
)
'''


def added_kind(folder: Path) -> dict[str, str]:
    """Copies the sources, adds a kind by its files alone; returns the environment in which Python sees the copy."""
    for name in FOLDERS:
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    (folder / "docs/reference").mkdir(parents=True)
    (folder / "crds/voxfleet_api/kinds/thing.py").write_text(KIND)
    reconcile = folder / "operator/voxfleet_operator/reconcile/thing"
    reconcile.mkdir()
    (reconcile / "__init__.py").write_text('"""Thing."""\n')
    (reconcile / "registration.py").write_text(REGISTRATION)
    (folder / "operator/voxfleet_cli/explainers/thing.py").write_text(EXPLAINER)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(str(folder / name) for name in FOLDERS)}


ASK = """
import asyncio, json
from types import SimpleNamespace
import generate
from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.thing import Thing
from voxfleet_cli.explain import explain, failed, related_kinds
from voxfleet_cli.names import kind_of, parse_target
from voxfleet_operator.cache import Cache, key_of
from voxfleet_operator.reconcile.context import ReconcileOptions
from voxfleet_operator.registry import reconcilers, triggers
from voxfleet_operator.triggers import all_keys
from voxfleet_operator.watch import Watch

metadata = {"name": "one", "namespace": "ns", "uid": "u", "resourceVersion": "1"}
thing = Thing.load({"metadata": metadata, "spec": {"size": 2}})
cache = Cache()
cache.put(thing)
mac = MacAgent.model_construct(metadata=thing.metadata.model_copy(update={"name": "mac", "namespace": ""}))


async def watched():
    registry = Watch(None, cache, print)._registry(asyncio.get_running_loop())
    return sorted({handler.id for handler in registry._watching.get_all_handlers()})

known = reconcilers(SimpleNamespace(cache=cache, options=ReconcileOptions("uid"), budgets=None, archive=None))
answers = {
    "outputs": sorted(generate.outputs()),
    "crd": "things.voxfleet.dev" in generate.outputs()["crds/voxfleet.dev_things.yaml"],
    "reference": "## Thing" in generate.outputs()["docs/reference/api.md"],
    "watched": asyncio.run(watched()),
    "words": [kind_of(word).crd.kind for word in ("gadget", "gadgets", "thing", "things", "th")],
    "anywhere": Thing in parse_target("one").kinds,
    "explained": explain(thing, [mac, thing]),
    "related": [kind.crd.kind for kind in related_kinds(thing)],
    "failed": failed(thing),
    "requeue": asyncio.run(known["Thing"].reconcile(key_of(thing))),
    "woken": sorted(key.name for key in triggers().keys_of_change(mac, cache) if key.kind == "Thing"),
    "leader": sorted(key.kind for key in all_keys(cache)),
}
print(json.dumps(answers))
"""


def test_a_new_kind_is_known_everywhere_by_its_own_files(tmp_path: Path) -> None:
    environment = added_kind(tmp_path)
    asked = subprocess.run(
        [sys.executable, "-c", ASK], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert asked.returncode == 0, asked.stderr
    answers = json.loads(asked.stdout)
    assert "crds/voxfleet.dev_things.yaml" in answers["outputs"] and answers["crd"] and answers["reference"]
    assert "things" in answers["watched"]
    assert answers["words"] == ["Thing"] * 5 and answers["anywhere"]
    opening = {"kind": "Thing", "namespace": "ns", "name": "one", "state": "Big", "next": "nothing"}
    assert answers["explained"] == {**opening, "macs": ["mac"]}
    assert answers["related"] == ["MacAgent"] and answers["failed"]
    assert answers["requeue"] == 7.0 and answers["woken"] == ["one"]
    assert answers["leader"] == ["MachineHourStatement", "Placement", "Thing"], "the first restores statements"


def test_every_kind_has_its_reconciler_and_its_explainer() -> None:
    kinds = set(KINDS)
    assert {item.kind for item in registrations()} == kinds == set(explainers_by_kind())
    assert len(registrations()) == len(KINDS)


@pytest.fixture
def uncached() -> Iterator[None]:
    for found in (registrations, explainers_by_kind):
        found.cache_clear()
    yield
    for found in (registrations, explainers_by_kind):
        found.cache_clear()


@pytest.mark.usefixtures("uncached")
@pytest.mark.parametrize("value", [None, "text"], ids=["absent", "of another type"])
def test_a_module_without_its_fact_is_named(monkeypatch: pytest.MonkeyPatch, value: object) -> None:
    for module, name, find in (
        (mac_registration, "REGISTRATION", registrations),
        (mac_explainer, "EXPLAINER", explainers_by_kind),
    ):
        if value is None:
            monkeypatch.delattr(module, name)
        else:
            monkeypatch.setattr(module, name, value)
        with pytest.raises(TypeError, match=rf"{re.escape(module.__name__)} has no {name}"):
            find()


def test_no_two_kinds_share_a_word() -> None:
    words = [
        word
        for kind in KINDS
        for word in {kind.crd.everyday_name, kind.crd.singular, kind.crd.plural, *kind.crd.short_names}
    ]
    assert len(words) == len(set(words))
