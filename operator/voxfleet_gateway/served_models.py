"""The names by which clients ask for an endpoint's model. Pure."""

from __future__ import annotations

from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_gateway.refusals import CallRefused


def model_names(endpoint: VoiceEndpoint) -> tuple[str, ...]:
    """The endpoint's own name, then its aliases."""
    return (endpoint.metadata.name, *endpoint.spec.aliases)


def check_model(endpoint: VoiceEndpoint, model: str | None) -> None:
    """Raises CallRefused(404) for a model that the endpoint does not serve; None is its own."""
    if model is not None and model not in model_names(endpoint):
        raise CallRefused(
            404,
            "model_not_found",
            f"this endpoint serves no such model; ask for one of: {', '.join(model_names(endpoint))}",
            param="model",
        )
