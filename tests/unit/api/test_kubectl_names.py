"""What people type and see with kubectl: names, categories and columns, as Kubernetes has them."""

from __future__ import annotations

from collections import Counter

import pytest

from voxfleet_api.kinds import KINDS, Resource
from voxfleet_generate.crds import CATEGORIES, crd

OF_KUBERNETES = {
    *("bc", "cm", "cr", "crb", "crd", "cj", "cs", "csr", "deploy", "ds", "ep", "ev", "hpa", "ing", "job", "limits"),
    *("netpol", "no", "ns", "pc", "pdb", "po", "pv", "pvc", "quota", "rc", "rs", "sa", "sc", "sts", "svc", "all"),
}
"""Names that kubectl takes for kinds that are there before ours."""
WIDEST = 8
"""So many columns fit a line; those with priority 1 are only in `-o wide`."""


def test_no_name_stands_for_two_kinds() -> None:
    names = [name for kind in KINDS for name in {kind.crd.singular, kind.crd.plural, *kind.crd.short_names}]
    assert [name for name, count in Counter(names).items() if count > 1] == []
    assert OF_KUBERNETES & set(names) == set()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.crd.kind)
def test_a_kind_is_named_as_kubernetes_names_kinds(kind: type[Resource]) -> None:
    facts = kind.crd
    assert facts.singular == facts.kind.lower() and facts.plural == f"{facts.singular}s"
    assert facts.short_names and all(name.islower() for name in facts.short_names)
    assert crd(kind)["spec"]["names"]["categories"] == CATEGORIES and CATEGORIES[0] == "audio"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.crd.kind)
def test_a_line_tells_the_state_and_ends_with_the_age(kind: type[Resource]) -> None:
    columns = kind.crd.columns
    narrow = [column for column in columns if not column.priority]
    assert len(narrow) <= WIDEST and len(narrow) < len(columns), "the rest is in -o wide"
    assert columns[-1].name == "Age" and columns[-1].priority == 0
    assert all(column.description and column.priority in (0, 1) for column in columns)
    if "conditions" in type(kind.model_fields["status"].default).model_fields:
        assert any(".status.conditions" in column.json_path for column in narrow)
