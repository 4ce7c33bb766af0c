"""Every option of agent.yaml, through both ways to use it: `serve` and `run -c`.

Two configurations differ in every option. Each way opens both. What is observed of an option must differ between the
configurations, and be the same in both ways. A new option without a row fails.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel
from tests.component.standalone.conftest import EXAMPLES
from tests.rig.agent_process import AgentProcess

from voxfleet_agent import ledger as ledgers
from voxfleet_agent.agent_tokens import read_tokens
from voxfleet_agent.attempts.services import AttemptServices
from voxfleet_agent.config import AgentConfig, ConfigError, ListenTls, create_private_file, load_config
from voxfleet_agent.daemon import open_agent
from voxfleet_agent.lanes.pools import LanePools
from voxfleet_agent.models.store import builtin_model_folder
from voxfleet_agent.server.app import listen_on
from voxfleet_agent.stages.stage_runner import StageServices
from voxfleet_agent.standalone.attempt_specs import AttemptSpecs
from voxfleet_agent.standalone.job_documents import read_files
from voxfleet_agent.standalone.job_runner import JobRunner
from voxfleet_agent.standalone.mlx_audio_settings import settings_of_agent
from voxfleet_agent.standalone.progress import ProgressLines
from voxfleet_agent.standalone.run_paths import OptionError, with_agent
from voxfleet_agent.standalone.run_session import RunRefused, open_run
from voxfleet_agent.standalone.stopwatch import Stopwatch
from voxfleet_agent.storage import Storage
from voxfleet_api.failures import VoxFleetError
from voxfleet_api.kinds.job_model import BuiltinName, HubModel, ModelSource
from voxfleet_dev.processes import free_port

TESTS = Path(__file__).parents[2]
HOSTS = ("https://127.0.0.1:9/", "https://[::1]:9/")
NOT_IN_A_RUN = (
    "a run has no port, signs no machine-hours, tells nobody of co-tenants, obeys no control plane and ends before a"
    " model is idle"
)


@dataclass(frozen=True)
class Opened:
    """One configuration, opened in one way."""

    config: AgentConfig
    both: tuple[AgentConfig, AgentConfig]
    services: StageServices
    pools: LanePools
    storage: Storage


Observe = Callable[[Opened], Awaitable[object]]


async def refusal(attempt: Awaitable[object]) -> str:
    """The class and message of the failure; empty when there is none."""
    try:
        await attempt
    except VoxFleetError as error:
        return str(error)
    return ""


async def state_dir(opened: Opened) -> object:
    return [any(config.state_dir.rglob("journal.sqlite3")) for config in opened.both]


async def scratch_path(opened: Opened) -> object:
    return [opened.services.scratch.attempts_path.is_relative_to(config.scratch.path) for config in opened.both]


async def scratch_quota(opened: Opened) -> object:
    return opened.services.scratch.quota_bytes


async def scratch_min_free(opened: Opened) -> object:
    return opened.services.scratch.min_free_bytes


async def quarantine_quota(opened: Opened) -> object:
    return opened.services.quarantine.quota_bytes


async def pool_name(opened: Opened) -> object:
    return [pool.name for pool in opened.pools.facts()]


async def pool_lanes(opened: Opened) -> object:
    return [pool.lanes for pool in opened.pools.facts()]


async def pool_batch_size(opened: Opened) -> object:
    return {lane.batch_size for lane in opened.pools.lanes}


async def reserved_names(opened: Opened) -> object:
    """Only an agent tells the names to anybody; a run obeys the sum."""
    assert isinstance(opened.services, AttemptServices)
    return [one.name for one in opened.services.reserved]


async def allow(opened: Opened) -> object:
    return ["AccessDenied" in await refusal(opened.storage.exists(f"{config.allow[0]}x")) for config in opened.both]


async def model_folders(opened: Opened) -> object:
    sources = [ModelSource(path=str(config.models.folders[0])) for config in opened.both]
    reasons = [await refusal(opened.services.models.resolve(source, opened.storage)) for source in sources]
    return ["models.folders" in reason for reason in reasons]


async def model_hub(opened: Opened) -> object:
    sources = [ModelSource(hub=HubModel(id=config.models.hub[0], revision="main")) for config in opened.both]
    reasons = [await refusal(opened.services.models.resolve(source, opened.storage)) for source in sources]
    return ["models.hub" in reason for reason in reasons]


async def model_cache_path(opened: Opened) -> object:
    await model_cache_quota(opened)
    return [config.cached_models.path.exists() for config in opened.both]


async def model_cache_quota(opened: Opened) -> object:
    source = ModelSource(uri=f"file://{builtin_model_folder(BuiltinName.COMMANDS)}/")
    return "modelCache.quota is 1," in await refusal(opened.services.models.resolve(source, opened.storage))


async def private_networks(opened: Opened) -> object:
    return ["AccessDenied" in await refusal(opened.storage.head(f"{host}x")) for host in HOSTS]


async def batches_yield(opened: Opened) -> object:
    assert isinstance(opened.services, AttemptServices)
    return opened.services.batches_yield


async def unload_after(opened: Opened) -> object:
    assert isinstance(opened.services, AttemptServices)
    return opened.services.unload_after_seconds


async def file_timeout(opened: Opened) -> object:
    """How long each call may make no progress; waiting for it would take a second at least."""
    return opened.storage._mounts._call_seconds


async def ca_bundle(opened: Opened) -> object:
    reasons = [await refusal(opened.storage.head(f"{host}x")) for host in HOSTS]
    return any("caBundle" in reason for reason in reasons)


async def listen_host(opened: Opened) -> object:
    with listen_on(opened.config.listen) as listener:
        return listener.getsockname()[0]


async def listen_port(opened: Opened) -> object:
    with listen_on(opened.config.listen) as listener:
        return listener.getsockname()[1]


async def token_file(opened: Opened) -> object:
    return read_tokens(opened.config).operator


async def session_token_file(opened: Opened) -> object:
    return read_tokens(opened.config).session


async def ledger_key_file(opened: Opened) -> object:
    return ledgers.public_key_text(ledgers.load_key(opened.config.ledger_key_file))


@dataclass(frozen=True)
class Row:
    observe: Observe
    in_a_run: bool = True
    """False: `run` does not use the option, see NOT_IN_A_RUN."""


@dataclass(frozen=True)
class Elsewhere:
    """The option has no second value here; these tests show it, for serve and for run."""

    serve: str
    run: str


ROWS: dict[str, Row | Elsewhere] = {
    "stateDir": Row(state_dir),
    "listen.host": Row(listen_host, in_a_run=False),
    "listen.port": Row(listen_port, in_a_run=False),
    **dict.fromkeys(
        ("listen.tls.certificateFile", "listen.tls.keyFile", "listen.tls.clientCaFile", "listen.tls.clientCrlFile"),
        Elsewhere(
            "component/agent/test_tls_listener.py::test_a_file_that_is_missing_or_holds_something_else_is_named",
            "component/standalone/test_agent_options.py::test_a_run_reads_no_certificate",
        ),
    ),
    "tokenFile": Row(token_file, in_a_run=False),
    "sessionTokenFile": Row(session_token_file, in_a_run=False),
    "ledgerKeyFile": Row(ledger_key_file, in_a_run=False),
    "scratch.path": Row(scratch_path),
    "scratch.quota": Row(scratch_quota),
    "scratch.minFree": Row(scratch_min_free),
    "scratch.quarantineQuota": Row(quarantine_quota),
    "pools.name": Row(pool_name),
    "pools.kind": Elsewhere(
        "component/agent/test_agent_pools.py::test_a_job_runs_on_the_offline_pool_and_leaves_the_interactive_lane_alone",
        "component/standalone/test_agent_options.py::test_a_run_works_on_offline_lanes_alone",
    ),
    "reserved.name": Row(reserved_names, in_a_run=False),
    "reserved.memory": Elsewhere(
        "component/standalone/test_agent_options.py::test_caps_beyond_the_machine_are_refused_in_both_ways",
        "component/standalone/test_agent_options.py::test_caps_beyond_the_machine_are_refused_in_both_ways",
    ),
    "pools.lanes": Row(pool_lanes),
    "pools.memoryCap": Elsewhere(
        "component/standalone/test_agent_options.py::test_caps_beyond_the_machine_are_refused_in_both_ways",
        "component/standalone/test_agent_options.py::test_caps_beyond_the_machine_are_refused_in_both_ways",
    ),
    "pools.batchSize": Row(pool_batch_size),
    "allow": Row(allow),
    "models.folders": Row(model_folders),
    "models.hub": Row(model_hub),
    "modelCache.path": Row(model_cache_path),
    "modelCache.quota": Row(model_cache_quota),
    "modelCache.unloadAfter": Row(unload_after, in_a_run=False),
    "batchesYield": Row(batches_yield, in_a_run=False),
    "fileTimeout": Row(file_timeout),
    "https.caBundle": Row(ca_bundle),
    "https.privateNetworks": Row(private_networks),
    "laneUser": Elsewhere(
        "component/agent/test_lane_user_agent.py::test_lanes_of_an_agent_run_as_the_lane_user",
        "component/agent/test_lane_user_agent.py::test_a_run_of_an_agents_configuration_runs_its_lanes_as_the_lane_user",
    ),
    "controlPlane": Elsewhere(
        "component/standalone/test_agent_options.py::test_the_control_plane_binds_the_agent",
        "component/standalone/test_agent_options.py::test_a_run_ignores_the_control_plane",
    ),
}


def options(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The options of a configuration by their path in YAML; those of a list's items without an index."""
    for field in model.model_fields.values():
        inner = [part for part in _types(field.annotation) if issubclass(part, BaseModel)]
        name = f"{prefix}{field.alias or field.validation_alias}"
        for part in inner:
            yield from options(part, f"{name}.")
        if not inner:
            yield name


def _types(annotation: object) -> Iterator[type]:
    arguments = getattr(annotation, "__args__", ())
    if isinstance(annotation, type) and not arguments:
        yield annotation
    for argument in arguments:
        yield from _types(argument)


def test_every_option_has_a_row() -> None:
    assert {*options(AgentConfig)} == ROWS.keys()


@pytest.mark.parametrize("row", [row for row in ROWS.values() if isinstance(row, Elsewhere)])
def test_what_is_tested_elsewhere_is(row: Elsewhere) -> None:
    for test in (row.serve, row.run):
        file, _, name = test.partition("::")
        assert f"def {name}(" in (TESTS / file).read_text()


def agent_yaml(folder: Path, number: int) -> Path:
    """Configurations 0 and 1 differ in every option that has a second value."""
    folder.mkdir()
    (folder / "data").mkdir()
    (folder / "no.pem").write_text("no certificate")
    create_private_file(folder / "token", b"0123456789abcdef" * (number + 1))
    create_private_file(folder / "session-token", b"fedcba9876543210" * (number + 1))
    ledgers.create_key_file(folder / "ledger.pem")
    shared = [f"file://{builtin_model_folder(BuiltinName.COMMANDS)}/", *HOSTS]
    content = {
        "stateDir": f"{folder}/state",
        "listen": {"host": ("127.0.0.1", "127.0.0.2")[number], "port": free_port()},
        "tokenFile": f"{folder}/token",
        "sessionTokenFile": f"{folder}/session-token",
        "ledgerKeyFile": f"{folder}/ledger.pem",
        "scratch": {
            "path": f"{folder}/scratch",
            "quota": f"{number + 1}Gi",
            "minFree": f"{number + 1}Mi",
            "quarantineQuota": f"{number + 1}Mi",
        },
        "pools": [{"name": f"pool-{number}", "lanes": number + 1, "memoryCap": "1Gi", "batchSize": number + 1}],
        "reserved": [{"name": f"tenant-{number}", "memory": "1Mi"}],
        "allow": [f"file://{folder}/data/", *shared],
        "models": {"folders": [f"{folder}/models"], "hub": [f"voxfleet-tests/none-{number}"]},
        "modelCache": {"path": f"{folder}/cache", "quota": ("1Gi", "1")[number], "unloadAfter": f"{number + 1}m"},
        "fileTimeout": f"{number + 1}s",
        "batchesYield": not number,
        "https": {"privateNetworks": ["127.0.0.0/8"], "caBundle": f"{folder}/no.pem"}
        if number
        else {"privateNetworks": ["::1/128"]},
    }
    file = folder / "agent.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


async def observe_serving(config: AgentConfig, both: tuple[AgentConfig, AgentConfig]) -> dict[str, object]:
    async with open_agent(config) as services:
        assert isinstance(services.pools, LanePools)
        storage = services.open_storage(None, None)
        opened = Opened(config, both, services, services.pools, storage)
        return {name: await row.observe(opened) for name, row in ROWS.items() if isinstance(row, Row)}


async def observe_run(config: AgentConfig, both: tuple[AgentConfig, AgentConfig]) -> dict[str, object]:
    async with open_run(with_agent(specs(), config), None, ProgressLines(io.StringIO())) as (local, storage, _):
        opened = Opened(config, both, local, local.pools, storage)
        return {name: await row.observe(opened) for name, row in ROWS.items() if isinstance(row, Row) and row.in_a_run}


def specs() -> AttemptSpecs:
    documents = read_files([EXAMPLES / "job.yaml", EXAMPLES / "contract.yaml"])
    return AttemptSpecs.of(documents.job, documents.contract.spec)


Observed = dict[tuple[str, int], dict[str, object]]


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Observed:
    """By way and configuration, what is observed of each option. Each opening has folders of its own."""
    found: Observed = {}
    for way, observe in (("serve", observe_serving), ("run", observe_run)):
        for number in (0, 1):
            folder = tmp_path_factory.mktemp(f"{way}-{number}")
            both = (load_config(agent_yaml(folder / "0", 0)), load_config(agent_yaml(folder / "1", 1)))
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
                found[way, number] = asyncio.run(observe(both[number], both))
    return found


@pytest.mark.parametrize("option", [name for name, row in ROWS.items() if isinstance(row, Row)])
def test_an_option_has_its_effect_in_both_ways(option: str, observed: Observed) -> None:
    row = ROWS[option]
    assert isinstance(row, Row)
    for way in ("serve", "run") if row.in_a_run else ("serve",):
        assert observed[way, 0][option] != observed[way, 1][option], f"{option} changes nothing in {way}"
    if row.in_a_run:
        assert [observed["run", number][option] for number in (0, 1)] == [
            observed["serve", number][option] for number in (0, 1)
        ]


@pytest.mark.parametrize(
    ("option", "field", "told"),
    [("pools", "memoryCap", r"1 x 1024Ti \(pool-0\)"), ("reserved", "memory", r"1024Ti \(reserved: tenant-0\)")],
)
async def test_caps_beyond_the_machine_are_refused_in_both_ways(
    tmp_path: Path, option: str, field: str, told: str
) -> None:
    config = changed(agent_yaml(tmp_path / "mac", 0), option, {field: "1024Ti"})
    with pytest.raises(ConfigError, match=told):
        await observe_serving(config, (config, config))
    with pytest.raises(RunRefused, match=told):
        await observe_run(config, (config, config))


async def test_a_run_works_on_offline_lanes_alone(tmp_path: Path) -> None:
    file = agent_yaml(tmp_path / "mac", 1)
    content = yaml.safe_load(file.read_text())
    live = {"name": "live", "kind": "Interactive", "memoryCap": "1Gi", "batchSize": 8}
    file.write_text(yaml.safe_dump({**content, "pools": [live, *content["pools"]]}))
    config = load_config(file)
    with pytest.raises(OptionError, match="the configuration has 2; write at most as many"):
        with_agent(specs(), config, lanes=3)
    assert settings_of_agent(config, tmp_path, None).batch_size == content["pools"][0]["batchSize"]
    async with open_run(with_agent(specs(), config), None, ProgressLines(io.StringIO())) as (local, storage, journal):
        runner = JobRunner(
            specs(),
            local,
            storage,
            journal,
            ProgressLines(io.StringIO()),
            Stopwatch(tmp_path / "elapsed.json", 1),
            None,
        )
        assert {lane.name.rpartition("-")[0] for lane in runner._lanes} == {"pool-1"}
    interactive_alone = changed(file, "pools", {"kind": "Interactive"}, 1)
    with pytest.raises(OptionError, match="all of its pools are Interactive"):
        with_agent(specs(), interactive_alone)


def changed(file: Path, option: str, fields: dict[str, object], place: int = 0) -> AgentConfig:
    """The configuration with other fields in one item of a list."""
    content = yaml.safe_load(file.read_text())
    content[option][place].update(fields)
    file.write_text(yaml.safe_dump(content))
    return load_config(file)


def test_the_control_plane_binds_the_agent(tmp_path: Path) -> None:
    with AgentProcess(tmp_path / "mac", [], controlPlane="one") as agent:
        assert json.loads(agent.get("/v1/identity?nonce=0123456789abcdef"))["controlPlane"] == "one"


async def test_a_run_reads_no_certificate(tmp_path: Path) -> None:
    config = load_config(agent_yaml(tmp_path / "mac", 0))
    missing = tmp_path / "missing.pem"
    files = {"certificate_file": missing, "key_file": missing, "client_ca_file": missing, "client_crl_file": missing}
    listen = config.listen.model_copy(update={"tls": ListenTls(**files)})
    named = config.model_copy(update={"listen": listen})
    assert await observe_run(named, (named, named))


async def test_a_run_ignores_the_control_plane(tmp_path: Path) -> None:
    config = load_config(agent_yaml(tmp_path / "mac", 0))
    for control_plane in ("one", "two"):
        named = config.model_copy(update={"control_plane": control_plane})
        assert await observe_run(named, (named, named))
