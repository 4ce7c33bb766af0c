"""What Helm makes of the chart, and which values it refuses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
import typer
import typer.core
import yaml
from tests.component.chart.cases import CASES, NAMESPACE, RELEASE, SNAPSHOTS, snapshot

from voxfleet_api.kinds import KINDS
from voxfleet_dev.chart import CHART, HelmFailed, container_arguments, deployment_of, helm, helm_with_values, render
from voxfleet_gateway.command import app as gateway_app
from voxfleet_generate.crds import crd
from voxfleet_operator.command import operator


def test_helm_finds_nothing_to_complain_of() -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", CHART)


@pytest.mark.parametrize("name", CASES)
def test_the_manifests_are_those_of_the_snapshot(name: str) -> None:
    wanted = (SNAPSHOTS / f"{name}.yaml").read_text()
    assert snapshot(CASES[name]) == wanted, "if it is meant: python -m tests.component.chart.cases, and read the diff"


def test_there_is_a_case_for_each_snapshot() -> None:
    assert {path.stem for path in SNAPSHOTS.iterdir()} == set(CASES)


@pytest.mark.parametrize("keep", [True, False])
def test_the_kinds_are_the_generated_ones_and_stay_when_asked(keep: bool) -> None:
    found = {
        manifest["metadata"]["name"]: manifest
        for manifest in render(RELEASE, NAMESPACE, {"crds": {"keep": keep}})
        if manifest["kind"] == "CustomResourceDefinition"
    }
    wanted = {document["metadata"]["name"]: document["spec"] for document in map(crd, KINDS)}
    assert {name: manifest["spec"] for name, manifest in found.items()} == wanted
    for manifest in found.values():
        assert manifest["metadata"].get("annotations") == ({"helm.sh/resource-policy": "keep"} if keep else None)


def test_alerts_and_dashboard_are_the_chart_s_files() -> None:
    switches = {name: {"enabled": True} for name in ("prometheusRule", "dashboard")}
    found = {one["kind"]: one for one in render(RELEASE, NAMESPACE, {"crds": {"enabled": False}, "metrics": switches})}
    alerts = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
    assert found["PrometheusRule"]["spec"] == alerts
    dashboard = json.loads((CHART / "files" / "dashboard.json").read_text())
    assert json.loads(found["ConfigMap"]["data"]["voxfleet.json"]) == dashboard


def test_an_alert_s_runbook_is_where_the_values_say() -> None:
    rule = {"enabled": True, "runbookBaseUrl": "https://git.example/voxfleet/"}
    manifests = render(RELEASE, NAMESPACE, {"crds": {"enabled": False}, "metrics": {"prometheusRule": rule}})
    (found,) = (one["spec"] for one in manifests if one["kind"] == "PrometheusRule")
    for alert in (alert for group in found["groups"] for alert in group["rules"]):
        name = alert["alert"]
        assert alert["annotations"]["runbook_url"] == f"https://git.example/voxfleet/docs/runbooks/{name}.md"


@pytest.mark.parametrize("name", CASES)
def test_the_operator_understands_its_arguments(name: str) -> None:
    app = typer.Typer()
    app.command()(operator)
    words = container_arguments(render(RELEASE, NAMESPACE, {**CASES[name], "crds": {"enabled": False}}))
    context = typer.main.get_command(app).make_context("operator", words)
    assert context.params["namespace"] == NAMESPACE
    watched = CASES[name].get("watchNamespaces", [])
    assert isinstance(watched, list) and context.params["watch_namespaces"] == ",".join(watched)


@pytest.mark.parametrize("name", [name for name, values in CASES.items() if "gateway" in values])
def test_the_gateway_understands_its_arguments_and_the_operator_where_it_is(name: str) -> None:
    manifests = render(RELEASE, NAMESPACE, {**CASES[name], "crds": {"enabled": False}})
    (container,) = deployment_of(manifests, "gateway")["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["python", "-m", "voxfleet_gateway", "gateway"]
    command = typer.main.get_command(gateway_app)
    assert isinstance(command, typer.core.TyperGroup)
    context = command.commands["gateway"].make_context("gateway", container_arguments(manifests, "gateway"))
    assert context.params["namespace"] == NAMESPACE and context.params["port"] == 8780
    told = next(word for word in container_arguments(manifests) if word.startswith("--gateway-url="))
    assert told in (
        "--gateway-url=https://speech.example",
        f"--gateway-url=http://{RELEASE}-gateway.{NAMESPACE}.svc",
    )


def test_no_selector_of_one_finds_the_other_s_pods() -> None:
    manifests = render(RELEASE, NAMESPACE, {**CASES["namespaced"], "crds": {"enabled": False}})
    pods = {
        component: deployment_of(manifests, component)["spec"]["template"]["metadata"]["labels"]
        for component in ("operator", "gateway")
    }
    for manifest in manifests:
        spec = manifest.get("spec", {})
        selector = spec.get("podSelector") or spec.get("selector") or {}
        labels = selector.get("matchLabels", selector)
        if labels:
            found = [component for component, pod in pods.items() if labels.items() <= pod.items()]
            assert found == [manifest["metadata"]["labels"]["app.kubernetes.io/component"]], manifest["metadata"]


def test_each_service_monitor_finds_a_service_with_its_port() -> None:
    values = {
        "gateway": {"enabled": True},
        "metrics": {"service": {"enabled": False}, "serviceMonitor": {"enabled": True}},
    }
    manifests = render(RELEASE, NAMESPACE, {**values, "crds": {"enabled": False}})
    monitors = [item for item in manifests if item["kind"] == "ServiceMonitor"]
    services = [item for item in manifests if item["kind"] == "Service"]
    assert len(monitors) == 2
    for monitor in monitors:
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        (endpoint,) = monitor["spec"]["endpoints"]
        ports = [
            port["name"]
            for service in services
            if wanted <= service["metadata"]["labels"].items()
            for port in service["spec"]["ports"]
        ]
        assert endpoint["port"] in ports, monitor["metadata"]["name"]


def test_a_namespace_that_is_listed_twice_has_one_role_with_all_its_secrets() -> None:
    """Two Roles of one name would be one, with the Secrets of the second entry alone."""
    listed = [("speech", ["s3-calls"]), ("research", ["s3"]), ("speech", ["s3-results", "s3-calls"])]
    values = {"credentialNamespaces": [{"namespace": name, "secretNames": names} for name, names in listed]}
    roles = [
        (one["metadata"]["namespace"], one["rules"][0]["resourceNames"])
        for one in render(RELEASE, NAMESPACE, {**values, "crds": {"enabled": False}})
        if one["kind"] == "Role" and one["metadata"]["name"].endswith("-credentials")
    ]
    assert roles == [("research", ["s3"]), ("speech", ["s3-calls", "s3-results"])]


def test_the_longest_release_name_makes_names_that_the_api_server_takes() -> None:
    """A role may have more than 63 characters, a Service may not."""
    manifests = render("r" * 53, NAMESPACE, {"crds": {"enabled": False}})
    (service,) = (one["metadata"]["name"] for one in manifests if one["kind"] == "Service")
    assert len(service) <= 63


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"replica": 2}, "additional properties 'replica' not allowed"),
        ({"replicas": 0}, "/replicas"),
        ({"image": {"tag": "latest"}}, "/image/tag"),
        ({"image": {"digest": "sha256:abc"}}, "/image/digest"),
        ({"watchNamespaces": ["Speech"]}, "/watchNamespaces/0"),
        ({"fleetSecrets": {"names": ["a", "a"]}}, "/fleetSecrets/names"),
        ({"credentialNamespaces": [{"namespace": "speech"}]}, "secretNames"),
        ({"credentialNamespaces": [{"namespace": "speech", "secretNames": []}]}, "secretNames"),
        ({"operator": {"logFormat": "xml"}}, "/operator/logFormat"),
        ({"networkPolicy": {"egress": {"enabled": True, "macs": ["10.0.0.0/8"]}}}, "networkPolicy.egress.apiServer"),
        ({"archive": {"uri": "file:///archive"}}, "archive.claim is needed"),
        ({"metrics": {"prometheusRule": {"runbookBaseUrl": "docs"}}}, "/metrics/prometheusRule/runbookBaseUrl"),
        ({"serviceAccount": {"create": False}}, "serviceAccount.name is needed"),
    ],
    ids=str,
)
def test_values_that_mean_nothing_are_refused_by_name(values: Mapping[str, object], says: str) -> None:
    with pytest.raises(HelmFailed) as refused:
        helm_with_values("template", RELEASE, CHART, values=values)
    assert says in str(refused.value)


def test_every_value_of_the_schema_has_a_default_with_a_place() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert _paths_of_schema(schema) - {"global"} == _paths_of_values(values, schema)


def _paths_of_schema(schema: Mapping[str, Any], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, inner in schema["properties"].items():
        path = f"{prefix}{name}"
        found |= _paths_of_schema(inner, f"{path}.") if "properties" in inner else {path}
    return found


def _paths_of_values(values: Mapping[str, Any], schema: Mapping[str, Any], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, value in values.items():
        path, inner = f"{prefix}{name}", schema["properties"][name]
        found |= _paths_of_values(value, inner, f"{path}.") if "properties" in inner else {path}
    return found
