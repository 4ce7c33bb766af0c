"""The agent's configuration file."""

from __future__ import annotations

import ipaddress
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import AfterValidator, Field, ValidationError, model_validator

from voxfleet_agent.addresses import parse_address
from voxfleet_agent.durable_files import sync_file, sync_folder
from voxfleet_agent.yaml_validation import problems
from voxfleet_api.base import Duration, Quantity, Size, SpecModel
from voxfleet_api.failures import VoxFleetError
from voxfleet_api.pools import (
    MAX_LANES,
    MAX_POOL_NAME,
    MAX_POOLS,
    MAX_RESERVED,
    POOL_NAME_PATTERN,
    SYSTEM_MEMORY_PERCENT,
    MemoryClaim,
    PoolKind,
    claimed_bytes,
    claims_text,
    usable_memory_bytes,
)
from voxfleet_api.quantities import duration_milliseconds, quantity_bytes
from voxfleet_shared.yaml_errors import YAML_ERRORS, yaml_problem

EXAMPLE = """\
stateDir: /Users/voxfleet/state
listen: {host: 127.0.0.1, port: 8765}
tokenFile: /Users/voxfleet/token
ledgerKeyFile: /Users/voxfleet/ledger.pem
scratch: {path: /Volumes/scratch/voxfleet, quota: 20Gi, minFree: 1Gi}
pools:
  - {name: offline, kind: Offline, lanes: 1, memoryCap: 24Gi}
allow: [file:///data/]
models: {hub: [mlx-community/*]}
modelCache: {path: /Users/voxfleet/models, quota: 100Gi}
"""


class ConfigError(Exception):
    """The configuration cannot be used. The message names the file, the field and what to write."""


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("write an absolute path")
    return path


def _own_address(host: str) -> str:
    try:
        return host if host == "localhost" else str(ipaddress.ip_address(host))
    except ValueError as error:
        raise ValueError("write an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all of them") from error


def checked_prefix(uri: str) -> str:
    """Raises ValueError with a message that says what to write."""
    if not uri.endswith("/"):
        raise ValueError(
            "write a prefix with a slash at its end, such as file:///data/, s3://bucket/ or https://host/x/"
        )
    try:
        parse_address(uri)
    except VoxFleetError as error:
        raise ValueError(error.message) from error
    return uri


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise ValueError(f"{error}; write a network such as 10.1.0.0/16") from error


def _hub_pattern(text: str) -> str:
    if not re.fullmatch(r"[\w.-]+/([\w.-]+|\*)", text):
        raise ValueError("write owner/name, or owner/* for all models of an owner")
    return text


def _file_timeout(text: str) -> str:
    if not 1_000 <= duration_milliseconds(text) <= 3_600_000:
        raise ValueError("write a duration from 1s to 1h")
    return text


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]


class ListenTls(SpecModel):
    """What the agent shows its clients, and which clients it trusts. It reads files that are replaced by itself."""

    certificate_file: AbsolutePath
    """The agent's certificate, with what lies between it and its authority, in PEM form."""
    key_file: AbsolutePath
    """The certificate's private key, readable for the agent's user alone."""
    client_ca_file: AbsolutePath
    """The authorities that sign the operator's certificate; no other client gets as far as a request."""
    client_crl_file: AbsolutePath | None = None
    """The authority's list of revoked certificates; once it has expired, no client is trusted."""

    @property
    def trust_files(self) -> tuple[Path, ...]:
        """What says which clients are trusted."""
        return (self.client_ca_file,) if self.client_crl_file is None else (self.client_ca_file, self.client_crl_file)

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.certificate_file, self.key_file, *self.trust_files)


class Listen(SpecModel):
    host: Annotated[str, AfterValidator(_own_address)] = "127.0.0.1"
    """A loopback address where the operator comes through SSH; any other wants `tls`."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8765
    """0 picks any free port, which the log names."""
    tls: ListenTls | None = None
    """What it shows its clients, and which it trusts; without it the agent speaks plain HTTP, on loopback alone."""

    @model_validator(mode="after")
    def _encrypted(self) -> Listen:
        if self.tls is None and self.host != "localhost" and not ipaddress.ip_address(self.host).is_loopback:
            raise ValueError(
                "beyond loopback the agent serves TLS alone: write tls: {certificateFile, keyFile, clientCaFile}"
                " (docs/how-to/add-a-mac.md), or host: 127.0.0.1, where the operator comes through SSH"
            )
        return self


class ScratchConfig(SpecModel):
    path: AbsolutePath
    """A folder on a local volume; it is swept."""
    quota: Size
    """How much attempts may hold together."""
    min_free: Quantity = "1Gi"
    """What stays free on the volume for others; below it no attempt is admitted."""
    quarantine_quota: Quantity = "1Gi"
    """Room for the clips that contracts ask to retain; the oldest are evicted first."""

    @property
    def quota_bytes(self) -> int:
        return quantity_bytes(self.quota)

    @property
    def quarantine_quota_bytes(self) -> int:
        return quantity_bytes(self.quarantine_quota)

    @property
    def min_free_bytes(self) -> int:
        return quantity_bytes(self.min_free)


PoolName = Annotated[str, Field(min_length=1, max_length=MAX_POOL_NAME, pattern=POOL_NAME_PATTERN)]


class PoolConfig(SpecModel):
    name: PoolName
    """Its name, which ledger rows have."""
    kind: PoolKind = PoolKind.OFFLINE
    """Offline: the batches of jobs. Interactive: people who speak and listen; no job ever gets one of its lanes."""
    lanes: Annotated[int, Field(ge=1, le=MAX_LANES)] = 1
    """How many lanes work at once, each with a process and a model of its own."""
    memory_cap: Size = "4Gi"
    """The cap per lane, for the model, the ring of decoded audio and the batch together."""
    batch_size: Annotated[int, Field(ge=1, le=8)] = 4
    """The batch size until a ladder is measured."""

    @property
    def memory_cap_bytes(self) -> int:
        return quantity_bytes(self.memory_cap)


class ReservedConfig(SpecModel):
    name: PoolName
    """The co-tenant, such as a text model."""
    memory: Size
    """What it needs; no pool may take it."""

    @property
    def memory_bytes(self) -> int:
        return quantity_bytes(self.memory)


class ModelCacheConfig(SpecModel):
    path: AbsolutePath
    """A folder for fetched models."""
    quota: Size = "100Gi"
    """Beyond it, models that no attempt needs go, those first that were needed least lately."""
    unload_after: Duration = "15m"
    """How long a lane without work keeps its model in memory."""

    @property
    def quota_bytes(self) -> int:
        return quantity_bytes(self.quota)

    @property
    def unload_after_seconds(self) -> float:
        return duration_milliseconds(self.unload_after) / 1000


class ModelsConfig(SpecModel):
    """What jobs may name as their model, beside the shipped model and what `allow` covers; absent: nothing."""

    folders: Annotated[tuple[AbsolutePath, ...], Field(max_length=32)] = ()
    """Folders that model.path may name or lie below."""
    hub: Annotated[tuple[Annotated[str, AfterValidator(_hub_pattern)], ...], Field(max_length=64)] = ()
    """Models of the Hugging Face hub: `owner/name`, or `owner/*` for all of an owner."""


class HttpsConfig(SpecModel):
    """How the agent reaches https:// addresses."""

    ca_bundle: AbsolutePath | None = None
    """Certificates to trust beside those that the system trusts."""
    private_networks: Annotated[tuple[Annotated[str, AfterValidator(_network)], ...], Field(max_length=32)] = ()
    """Non-public networks that the agent may reach; absent: none, not even loopback."""


class AgentConfig(SpecModel):
    state_dir: AbsolutePath
    """Journal, ledger and ladders; the agent's alone."""
    listen: Listen = Listen()
    """Where the agent answers."""
    token_file: AbsolutePath
    """The bearer token, of 16 characters or more; nobody else may read it."""
    session_token_file: AbsolutePath | None = None
    """Another token, as long, that opens sessions of endpoints and nothing else; absent: no session is taken."""
    ledger_key_file: AbsolutePath
    """The Ed25519 key that signs machine-hours; nobody else may read it."""
    scratch: ScratchConfig
    """Where attempts keep what they fetch and make."""
    pools: Annotated[tuple[PoolConfig, ...], Field(min_length=1, max_length=MAX_POOLS)] = (PoolConfig(name="offline"),)
    """Groups of lanes; absent: one lane named offline."""
    reserved: Annotated[tuple[ReservedConfig, ...], Field(max_length=MAX_RESERVED)] = ()
    """Memory of others on this Mac; with the pools' caps it must fit into what the system leaves; absent: none."""
    allow: Annotated[tuple[Annotated[str, AfterValidator(checked_prefix)], ...], Field(max_length=32)] = ()
    """Prefixes that attempts may read and write; empty: none."""
    models: ModelsConfig = ModelsConfig()
    """What jobs may name as their model."""
    model_cache: ModelCacheConfig | None = None
    """Where fetched models are kept; absent: below stateDir, with 100Gi."""
    https: HttpsConfig = HttpsConfig()
    """How https:// addresses are reached."""
    file_timeout: Annotated[Duration, AfterValidator(_file_timeout)] = "60s"
    """How long a call of a file:// folder or of a model's folder may make no progress before it fails as Transport."""
    lane_user: Annotated[str | None, Field(min_length=1, max_length=64)] = None
    """The user that lanes run as, so that they cannot read the ledger key; it requires that the agent runs as root."""
    batches_yield: bool = True
    """Whether batches give way to the sessions of endpoints on this Mac; false only to measure what it is good for."""
    control_plane: Annotated[str | None, Field(min_length=1, max_length=64)] = None
    """The UID of the kube-system namespace; absent: the first authenticated caller binds the agent."""

    @model_validator(mode="after")
    def _distinct(self) -> AgentConfig:
        names = [pool.name for pool in self.pools]
        if len(set(names)) != len(names):
            raise ValueError("pools: two pools have one name")
        tenants = [one.name for one in self.reserved]
        if len(set(tenants)) != len(tenants):
            raise ValueError("reserved: two co-tenants have one name")
        if self.scratch.path.is_relative_to(self.state_dir) or self.state_dir.is_relative_to(self.scratch.path):
            raise ValueError("scratch.path and stateDir must not lie in one another: scratch is swept")
        if self.lane_user is not None and self.cached_models.path.is_relative_to(self.state_dir):
            raise ValueError(
                "modelCache.path: with laneUser, models must lie outside stateDir, which is the agent's alone"
            )
        return self

    @property
    def offline_pools(self) -> tuple[PoolConfig, ...]:
        """Those whose lanes work on jobs."""
        return tuple(pool for pool in self.pools if pool.kind is PoolKind.OFFLINE)

    @property
    def secret_files(self) -> dict[str, Path]:
        """What nobody but the agent's user may read, lanes least of all, by the option that names it."""
        named = {
            "tokenFile": self.token_file,
            "sessionTokenFile": self.session_token_file,
            "ledgerKeyFile": self.ledger_key_file,
        }
        return {option: file for option, file in named.items() if file is not None}

    @property
    def lane_dir(self) -> Path:
        """Lock files and process records of the lanes; a lane user cannot enter stateDir."""
        return (self.state_dir if self.lane_user is None else self.scratch.path) / "lanes"

    @property
    def quarantine_dir(self) -> Path:
        """Holds the clips that contracts ask to retain."""
        return self.scratch.path / "quarantine"

    @property
    def cached_models(self) -> ModelCacheConfig:
        return self.model_cache or ModelCacheConfig(path=self.state_dir / "models")

    @property
    def ladder_dir(self) -> Path:
        """Holds the measured ladders, one file each."""
        return self.state_dir / "ladders"

    @property
    def file_timeout_seconds(self) -> float:
        return duration_milliseconds(self.file_timeout) / 1000

    @property
    def journal_file(self) -> Path:
        return self.state_dir / "journal.sqlite3"


def load_config(file: Path) -> AgentConfig:
    """Reads the YAML file. Raises ConfigError naming the file and each wrong field."""
    try:
        content = yaml.safe_load(file.read_text())
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error
    except YAML_ERRORS as error:
        raise ConfigError(f"{file}: not YAML: {yaml_problem(error)}") from error
    if not isinstance(content, dict) or "kind" in content:
        what = f"holds a {content['kind']}" if isinstance(content, dict) else "holds no fields"
        raise ConfigError(f"{file}: {what}, not an agent's configuration; `voxfleet-agent init --help` shows one")
    try:
        return AgentConfig.load(content)
    except ValidationError as error:
        lines = [f"  {problem}" for problem in problems(AgentConfig, error.errors())]
        raise ConfigError(f"{file}: the configuration is not valid:\n" + "\n".join(lines)) from error


def read_private_file(file: Path, field: str, advice: str = "`voxfleet-agent init --config FILE` creates it") -> bytes:
    """Reads a secret. Raises ConfigError, with `advice`, when the file is missing, or when other users may read it."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigError(f"{field}: {file}: {error.strerror}; {advice}") from error
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise ConfigError(f"{field}: {file} is no file; remove it, and {advice}")
        if stat.S_IMODE(mode) & 0o077:
            raise ConfigError(f"{field}: others may read {file}; run: chmod 600 {file}")
        with os.fdopen(descriptor, "rb", closefd=False) as opened:
            return opened.read()
    finally:
        os.close(descriptor)


def create_private_file(file: Path, content: bytes) -> bool:
    """Writes a file of mode 0600 unless it exists; returns True when it created the file."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(content)
        opened.flush()
        sync_file(opened.fileno())
    sync_folder(file.parent)
    return True


def memory_claims(pools: Sequence[PoolConfig], reserved: Sequence[ReservedConfig]) -> list[MemoryClaim]:
    """All that this machine's memory is promised to."""
    return [
        *(MemoryClaim(pool.name, pool.memory_cap, pool.memory_cap_bytes, pool.lanes) for pool in pools),
        *(MemoryClaim(one.name, one.memory, one.memory_bytes) for one in reserved),
    ]


def require_memory(total_bytes: int, pools: Sequence[PoolConfig], reserved: Sequence[ReservedConfig] = ()) -> None:
    """Raises ConfigError, with the arithmetic, when lanes and co-tenants leave the system less than its share."""
    claims, usable_bytes = memory_claims(pools, reserved), usable_memory_bytes(total_bytes)
    if claimed_bytes(claims) > usable_bytes:
        raise ConfigError(
            f"{_promised(reserved)} {claims_text(claims)}; this machine has {total_bytes // 2**20} MiB,"
            f" of which {SYSTEM_MEMORY_PERCENT} % stay with the system: lower {_lowered(reserved)} to at most"
            f" {usable_bytes // 2**20} MiB together"
        )


def require_gpu_memory(
    working_set_bytes: int | None, pools: Sequence[PoolConfig], reserved: Sequence[ReservedConfig] = ()
) -> None:
    """Raises ConfigError, with the arithmetic, when lanes and co-tenants exceed what the GPU may wire; None: no such
    limit.

    MLX wires what a model uses. Beyond this size macOS pages it out while the GPU waits, or ends the work.
    """
    claims = memory_claims(pools, reserved)
    if working_set_bytes is not None and claimed_bytes(claims) > working_set_bytes:
        raise ConfigError(
            f"{_promised(reserved)} {claims_text(claims)}; this machine's GPU may wire"
            f" {working_set_bytes // 2**20} MiB: lower {_lowered(reserved)} to at most that together, or raise the"
            f" limit with `sudo sysctl iogpu.wired_limit_mb={-(-claimed_bytes(claims) // 2**20)}`, which leaves less"
            " for the system"
        )


def _promised(reserved: Sequence[ReservedConfig]) -> str:
    return (
        "pools and reserved: lanes x memoryCap and reserved memory are" if reserved else "pools: lanes x memoryCap is"
    )


def _lowered(reserved: Sequence[ReservedConfig]) -> str:
    return "memoryCap, lanes or reserved" if reserved else "memoryCap or lanes"
