"""AudioBatchJob: where the model comes from."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from voxfleet_api.base import Digest, SpecModel, Uri, cel, validations


class BuiltinName(StrEnum):
    """The models that ship with the agent."""

    COMMANDS = "commands"


class BuiltinModel(SpecModel):
    """A model that ships with the agent, for trials: it knows a few words."""

    name: Annotated[BuiltinName, Field(description="Its name; `commands` knows digits and a few commands.")]


class HubModel(SpecModel):
    """A model of the Hugging Face hub."""

    id: Annotated[str, Field(min_length=3, max_length=200, pattern=r"^[\w.-]+/[\w.-]+$", description="Owner and name.")]
    revision: Annotated[
        str, Field(min_length=1, max_length=64, pattern=r"^[\w.-]+$", description="A commit, tag or branch.")
    ]


class ModelSource(
    SpecModel,
    json_schema_extra=validations(
        cel(
            "[has(self.builtin), has(self.path), has(self.uri), has(self.hub)].filter(x, x).size() == 1",
            "write exactly one of model.builtin, model.path, model.uri and model.hub",
        ),
        cel(
            "!has(self.path) || self.path.startsWith('/')",
            "model.path is an absolute folder on the Mac; the model that ships with the agent is builtin:"
            " {name: commands}",
            field_path=".path",
        ),
    ),
):
    """Where the model comes from. Weights are safetensors, and code from a model folder never runs."""

    builtin: Annotated[BuiltinModel | None, Field(description="A small model that ships with the agent.")] = None
    path: Annotated[str | None, Field(max_length=1024, description="An absolute folder that every Mac has.")] = None
    hub: Annotated[HubModel | None, Field(description="A model of the Hugging Face hub.")] = None
    uri: Annotated[
        Uri | None,
        Field(
            description="A folder of objects; ends with a slash. Macs keep it in their model cache.",
            pattern=r"^(file:///|s3://[a-z0-9]|https://[a-z0-9]).*/$",
        ),
    ] = None
    digest: Annotated[
        Digest | None,
        Field(
            description="The digest that the model's files must have; absent: a job keeps to the one that Plan"
            " computes, an endpoint's lanes to that of those that are warm."
        ),
    ] = None

    @property
    def address(self) -> str | None:
        """The address of the model's folder, for access checks; None for the shipped model and those of the hub."""
        if self.path is not None and self.path.startswith("/"):
            return f"file://{self.path.rstrip('/')}/"
        return self.uri
