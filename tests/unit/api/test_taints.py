"""Taints and tolerations match as those of Kubernetes do, and chips belong to families."""

from __future__ import annotations

import pytest

from voxfleet_api.kinds.job_requirements import Requirements
from voxfleet_api.taints import Taint, Toleration, untolerated

NIGHT = Taint(key="rented", value="night")
CASES: dict[str, tuple[dict[str, str], bool]] = {
    "the same key and value": ({"key": "rented", "value": "night"}, True),
    "the same with the effect": ({"key": "rented", "value": "night", "effect": "NoSchedule"}, True),
    "another value": ({"key": "rented", "value": "day"}, False),
    "no value is an empty one": ({"key": "rented"}, False),
    "any value": ({"key": "rented", "operator": "Exists"}, True),
    "another key": ({"key": "noisy", "operator": "Exists"}, False),
    "part of the key": ({"key": "rent", "operator": "Exists"}, False),
    "any taint": ({"operator": "Exists"}, True),
}


@pytest.mark.parametrize("name", CASES)
def test_a_toleration(name: str) -> None:
    spec, tolerated = CASES[name]
    assert Toleration.load(spec).tolerates(NIGHT) is tolerated


def test_a_taint_without_a_value_is_tolerated_by_its_key() -> None:
    assert Toleration(key="noisy").tolerates(Taint(key="noisy"))


def test_each_taint_needs_a_toleration_and_the_first_without_one_is_named() -> None:
    taints = (NIGHT, Taint(key="noisy"))
    assert untolerated(taints, ()) == NIGHT
    assert untolerated(taints, (Toleration(key="rented", value="night"),)) == Taint(key="noisy")
    assert untolerated(taints, (Toleration(key="noisy"), Toleration(key="rented", value="night"))) is None
    assert untolerated((), ()) is None


def test_a_taint_is_written_as_kubectl_writes_it() -> None:
    assert (str(NIGHT), str(Taint(key="noisy"))) == ("{rented: night}", "{noisy}")


CHIPS: dict[str, tuple[tuple[str, ...], str, bool]] = {
    "no family asks for nothing": ((), "Apple M2", True),
    "the chip itself": (("Apple M2",), "Apple M2", True),
    "its family": (("M2",), "Apple M2 Pro", True),
    "one of several": (("M4", "M2"), "Apple M2", True),
    "the larger chip alone": (("M2 Pro",), "Apple M2", False),
    "the larger chip": (("M2 Pro",), "Apple M2 Pro", True),
    "words apart are no family": (("Apple Pro",), "Apple M2 Pro", False),
    "part of a word is none": (("M2",), "Apple M20", False),
    "capitals do not count": (("m2 pro",), "Apple M2 Pro", True),
    "an unknown chip": (("M2",), "", False),
}


@pytest.mark.parametrize("name", CHIPS)
def test_a_chip_belongs_to_a_family(name: str) -> None:
    chips, chip, fits = CHIPS[name]
    assert Requirements(chips=chips).takes_chip(chip) is fits
