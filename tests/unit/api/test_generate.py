"""The generator writes structural CRDs, and refuses costly, unbounded or unexplained fields."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
import yaml
from pydantic import Field

import generate
from voxfleet_api.base import Duration, SpecModel, StatusModel, between, list_atomic, list_map, list_set
from voxfleet_api.kinds import KINDS, AudioBatchJob, AudioShard, Resource
from voxfleet_api.kinds.resource import CrdFacts, FrozenSpec
from voxfleet_generate.crds import crd
from voxfleet_generate.not_structural import NotStructural
from voxfleet_generate.structural import Schema, kind_schema


class Status(StatusModel):
    observed_generation: Annotated[int, Field(description="Seen.")] = -1


def kind_with(
    annotation: Any, *, name: str = "field", frozen: FrozenSpec | None = None, **fields: object
) -> type[Resource]:
    """Makes a kind whose spec has one field; `fields`: its default, by name."""
    spec = type("ThingSpec", (SpecModel,), {"__annotations__": {name: annotation}, "__module__": __name__, **fields})
    facts = CrdFacts("Thing", "things", "thing", (), "thing", "Namespaced", (), frozen)
    annotations = {"spec": spec, "status": Status, "crd": ClassVar[CrdFacts]}
    body = {"__annotations__": annotations, "__module__": __name__, "__doc__": "A thing.", "crd": facts}
    made: type[Resource] = type("Thing", (Resource,), body)
    return made


Short = Annotated[str, Field(max_length=9)]


def text(**more: Any) -> Any:
    return Annotated[str, Field(max_length=9, **more)]


class Item(SpecModel):
    """An item."""

    key: Annotated[str | None, Field(max_length=9, description="Key.")] = None


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        pytest.param(Annotated[str, Field(description="x")], "max_length", id="string without a bound"),
        pytest.param(text(), "no description", id="no description"),
        pytest.param(Annotated[tuple[int, ...], Field(description="x", max_length=3)], "list type", id="no list type"),
        pytest.param(
            Annotated[tuple[int, ...], Field(description="x", json_schema_extra=list_atomic())],
            "max_length",
            id="list without a bound",
        ),
        pytest.param(
            Annotated[tuple[Item, ...], Field(description="x", max_length=3, json_schema_extra=list_map("key"))],
            "key of a map list",
            id="list key that may be absent",
        ),
        pytest.param(
            Annotated[dict[str, Short], Field(description="x")], "a map needs max_length", id="map without a bound"
        ),
        pytest.param(
            Annotated[Duration | None, Field(description="x")], "a duration needs bounds", id="duration without bounds"
        ),
        pytest.param(Annotated[int | Short, Field(description="x")], "unions", id="union"),
        pytest.param(Annotated[float, Field(description="x")], "no floats", id="float"),
        pytest.param(Annotated[int, Field(description="x", gt=3)], "exclusiveMinimum", id="unknown keyword"),
    ],
)
def test_a_field_that_no_crd_should_have_is_refused_by_name(annotation: Any, message: str) -> None:
    with pytest.raises(NotStructural, match=rf"Thing\.spec\.field.*{message}"):
        kind_schema(kind_with(annotation))


def test_a_well_formed_field_passes() -> None:
    schema = kind_schema(kind_with(text(description="Fine.")))
    field = schema["properties"]["spec"]["properties"]["field"]
    assert field == {"type": "string", "maxLength": 9, "description": "Fine."}


def test_a_duration_with_bounds_passes() -> None:
    field = Annotated[Duration | None, Field(description="x", json_schema_extra=between("1s", "1h"))]
    schema = kind_schema(kind_with(field))["properties"]["spec"]["properties"]["field"]
    assert [rule["message"] for rule in schema["x-kubernetes-validations"]] == ["write a duration from 1s to 1h"]


def test_a_new_field_of_a_frozen_spec_is_immutable_until_it_is_listed() -> None:
    schema = kind_schema(kind_with(text(description="x"), frozen=FrozenSpec("make another")))
    assert schema["properties"]["spec"]["x-kubernetes-validations"] == [
        {
            "rule": "self.field == oldSelf.field",
            "message": "field does not change; make another",
            "fieldPath": ".field",
        }
    ]
    optional = kind_schema(
        kind_with(Annotated[Short | None, Field(description="x")], frozen=FrozenSpec("make another"), field=None)
    )
    (rule,) = optional["properties"]["spec"]["x-kubernetes-validations"]
    assert rule["rule"].startswith("has(self.field) == has(oldSelf.field) && ")
    listed = kind_schema(kind_with(text(description="x"), frozen=FrozenSpec("make another", mutable=("field",))))
    assert listed["properties"]["spec"]["x-kubernetes-validations"] == []
    reordered = Annotated[tuple[Short, ...], Field(description="x", max_length=2, json_schema_extra=list_set())]
    with pytest.raises(NotStructural, match=r"Thing\.spec\.field: a set of a frozen spec may be reordered"):
        kind_schema(kind_with(reordered, frozen=FrozenSpec("make another")))
    with pytest.raises(NotStructural, match=r"Thing\.spec: FrozenSpec\.mutable names gone, which is no field"):
        kind_schema(kind_with(text(description="x"), frozen=FrozenSpec("make another", mutable=("gone",))))


def nodes(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), dict):
            yield from nodes(schema[keyword], f"{path}[]")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.crd.kind)
def test_no_trace_of_pydantic_is_left(kind: type[Resource]) -> None:
    for path, node in nodes(kind_schema(kind), kind.crd.kind):
        assert not {"$ref", "title", "$defs", "const", "allOf", "propertyNames"} & node.keys(), path
        assert node.get("additionalProperties") is not False, path
        assert "default" not in node or node["default"] is not None, path


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.crd.kind)
def test_status_starts_unobserved_and_holds_no_other_default(kind: type[Resource]) -> None:
    status = kind_schema(kind)["properties"]["status"]
    assert status["default"] == {"observedGeneration": -1}
    assert [path for path, node in nodes(status, "status") if "default" in node] == ["status"]


def test_defaults_are_written_out_without_absent_fields() -> None:
    spec = kind_schema(AudioBatchJob)["properties"]["spec"]["properties"]
    assert "default" not in spec["model"]
    assert spec["sharding"]["default"] == {"targetAudio": "30m"}
    assert "default" not in spec["billingKey"]


def test_rules_stay_where_they_are_declared() -> None:
    job = kind_schema(AudioBatchJob)
    assert "metadata.name" in job["x-kubernetes-validations"][0]["rule"]
    shard = kind_schema(AudioShard)["properties"]
    assert any("belong to the Process stage" in rule["message"] for rule in shard["spec"]["x-kubernetes-validations"])
    assert any("fencing token" in rule["message"] for rule in shard["status"]["x-kubernetes-validations"])


def test_names_columns_and_subresource_are_in_the_crd() -> None:
    made = crd(AudioBatchJob)
    names, version = made["spec"]["names"], made["spec"]["versions"][0]
    assert (names["shortNames"], names["categories"]) == (["abj"], ["audio", "voxfleet"])
    assert version["subresources"] == {"status": {}}
    assert version["additionalPrinterColumns"][0]["jsonPath"].endswith(".reason")


def test_the_committed_files_match_the_types(capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main(["--check"]) == 0, capsys.readouterr().out


def test_check_names_differences_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate.main([], root=tmp_path)
    assert generate.main(["--check"], root=tmp_path) == 0
    changed, removed = tmp_path / "crds/voxfleet.dev_audioshards.yaml", tmp_path / "docs/reference/failures.md"
    changed.write_text(changed.read_text() + "# by hand\n")
    removed.unlink()
    leftover = tmp_path / "crds/voxfleet.dev_gone.yaml"
    leftover.write_text(changed.read_text())
    capsys.readouterr()
    assert generate.main(["--check"], root=tmp_path) == 1
    named = [line.split(": ")[1] for line in capsys.readouterr().out.splitlines()]
    assert named == ["crds/voxfleet.dev_audioshards.yaml", "crds/voxfleet.dev_gone.yaml", "docs/reference/failures.md"]
    assert not removed.exists()
    generate.main([], root=tmp_path)
    assert generate.main(["--check"], root=tmp_path) == 0
    assert not leftover.exists()


def test_the_output_is_sorted_and_headed() -> None:
    for path, content in generate.outputs().items():
        assert "Generated from " in content.splitlines()[0], path
        if path.startswith("crds/"):  # those of the chart are templates
            document = yaml.safe_load(content)
            assert list(document) == sorted(document)
