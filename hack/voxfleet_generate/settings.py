"""Generates docs/reference/settings.md: the flags of operator and gateway, agent.yaml, and the environment of all."""

from __future__ import annotations

import ast
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.models import OptionInfo

from voxfleet_agent import blas
from voxfleet_agent.config import AgentConfig
from voxfleet_agent.mlx_audio_names import BATCH_SIZE, MAX_RETRIES, QUARANTINE, SAMPLE_RATE, TMPDIR
from voxfleet_gateway.command import gateway
from voxfleet_generate.tables import page, table
from voxfleet_operator.command import operator

ENVIRONMENT: Mapping[str, tuple[str, str]] = {
    "KUBECONFIG": ("voxfleet, operator", "The kubeconfig, unless --kubeconfig names one."),
    "VOXFLEET_API_KEY": (
        "`voxfleet transcribe`, `speak`, `endpoint probe`",
        "The key for an endpoint, unless --key-file or --service-account says otherwise.",
    ),
    TMPDIR: ("`voxfleet-agent run`", "Scratch of a run without -c."),
    SAMPLE_RATE: ("`voxfleet-agent run`", "The rate in Hz, where the contract is silent."),
    BATCH_SIZE: ("`voxfleet-agent run`", "The batch size until a ladder is measured, 1 to 8."),
    MAX_RETRIES: ("`voxfleet-agent run`", "Retries of a clip, where the contract is silent, 0 to 10."),
    QUARANTINE: ("`voxfleet-agent run`", "Where clips are kept that the contract asks to retain."),
    "XDG_STATE_HOME": ("`voxfleet-agent run`", "Journals and ladders, below `voxfleet`. Default: ~/.local/state."),
    "XDG_CACHE_HOME": ("`voxfleet-agent run`", "Fetched models, below `voxfleet`. Default: ~/.cache."),
    "AWS_ACCESS_KEY_ID": (
        "`voxfleet-agent run`",
        "With the other AWS_ names, for s3:// in place of the job's Secret.",
    ),
    "AWS_SECRET_ACCESS_KEY": ("`voxfleet-agent run`", "Required with the key's id."),
    "AWS_SESSION_TOKEN": ("`voxfleet-agent run`", "Of temporary credentials."),
    "AWS_REGION": ("`voxfleet-agent run`", "The region."),
    "AWS_DEFAULT_REGION": ("`voxfleet-agent run`", "The region, where AWS_REGION is not set."),
    "AWS_ENDPOINT_URL": ("`voxfleet-agent run`", "Another storage that speaks S3."),
    blas.THREADS_VARIABLE: ("voxfleet-agent", "BLAS threads of a lane on Linux. Default: 1."),
    "LD_PRELOAD": ("voxfleet-agent", "On Linux, a faster BLAS for lanes: `voxfleet-agent doctor` names the file."),
}
"""What is read besides the operator's own variables: name, who reads it, what it means."""


def settings_page() -> str:
    """Raises KeyError naming a field that does not say what it means."""
    return page(
        "Settings",
        "Flags beat environment variables, which beat defaults. Objects of the API are in [api.md](api.md).",
        (
            "The operator: `voxfleet operator`, or `voxfleet-operator run`",
            table(("flag", "environment", "type", "default", "meaning"), map(_flag, flags_of(operator))),
        ),
        (
            "The gateway: `voxfleet-operator gateway`",
            table(("flag", "environment", "type", "default", "meaning"), map(_flag, flags_of(gateway))),
        ),
        (
            "The agent: agent.yaml",
            "A field marked with `*` is required.\n\n"
            + table(("field", "type", "default", "meaning"), _fields(AgentConfig, "")),
        ),
        (
            "The environment",
            "An agent that serves (`voxfleet-agent serve`) takes its settings from agent.yaml alone.\n\n"
            + table(
                ("variable", "read by", "meaning"),
                ((f"`{name}`", reader, text) for name, (reader, text) in ENVIRONMENT.items()),
            ),
        ),
    )


@dataclass(frozen=True, slots=True)
class Flag:
    name: str
    variable: str
    type: str
    default: str
    help: str


def flags_of(command: Callable[..., None]) -> list[Flag]:
    """The parameters of the command, as typer reads them."""
    hints = typing.get_type_hints(command, include_extras=True)
    found = []
    for name, parameter in inspect.signature(command).parameters.items():
        option: OptionInfo = typing.get_args(hints[name])[-1]
        variable = option.envvar if isinstance(option.envvar, str) else ""
        default = getattr(parameter.default, "value", parameter.default)
        found.append(
            Flag(
                name="--" + name.replace("_", "-"),
                variable=variable,
                type=_plain_type(typing.get_args(hints[name])[0]),
                default="" if default is None else str(default),
                help=option.help or "",
            )
        )
    return found


def _plain_type(annotation: object) -> str:
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " or ".join(str(item.value) for item in annotation)
    names = {"int": "integer", "float": "number", "Path": "path"}
    return next((shown for part, shown in names.items() if part in str(annotation)), "text")


def _flag(flag: Flag) -> Sequence[str]:
    code = (f"`{text}`" if text else "" for text in (flag.name, flag.variable))
    return (*code, flag.type, f"`{flag.default}`" if flag.default else "", flag.help)


def _fields(model: type[BaseModel], path: str) -> Iterator[Sequence[str]]:
    texts = _docstrings(model)
    for name, field in model.model_fields.items():
        shown = f"{path}{field.alias or name}"
        if name not in texts:
            raise KeyError(f"{model.__name__}.{name}: write below the field what it means")
        inner = _inner_model(field.annotation)
        required = "\\*" if field.is_required() else ""
        if inner is None:
            yield f"`{shown}`{required}", _type(field), _default(field), texts[name]
            continue
        listed = typing.get_origin(_plain(field.annotation)) is tuple
        yield f"`{shown}`{required}", "list" if listed else "object", "", texts[name]
        yield from _fields(inner, f"{shown}{'[]' if listed else ''}.")


def _plain(annotation: object) -> object:
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is typing.Annotated else annotation


def _inner_model(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in typing.get_args(annotation) if (found := _inner_model(part)) is not None), None)


def _type(field: FieldInfo) -> str:
    text = str(field.annotation)
    if "tuple" in text:
        return "list"
    names = {"int": "integer", "Path": "absolute path", "bool": "true or false"}
    return next((shown for part, shown in names.items() if part in text), "text")


def _default(field: FieldInfo) -> str:
    if field.is_required() or field.default in (None, ()):
        return ""
    return f"`{field.default}`"


def _docstrings(model: type[BaseModel]) -> Mapping[str, str]:
    """The text below each field."""
    tree = ast.parse(inspect.getsource(model))
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    found: dict[str, str] = {}
    for field, text in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            found[field.target.id] = inspect.cleandoc(str(ast.literal_eval(text.value)))
    return found
