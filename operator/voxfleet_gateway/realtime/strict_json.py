"""What is wrong with a client's JSON, in words that hold none of its values. Pure."""

from __future__ import annotations

from pydantic import ValidationError

_MOST_PARAM_CHARACTERS = 128


def param_of(error: ValidationError) -> str:
    """The first wrong field, as a path; empty for a message that is no JSON object."""
    location = error.errors(include_url=False, include_context=False, include_input=False)[0]["loc"]
    return ".".join(str(part) for part in location)[:_MOST_PARAM_CHARACTERS]


def first_error(error: ValidationError) -> str:
    """The first wrong field and what is wrong with it."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    match first["type"]:
        case "extra_forbidden":
            what = "is not known here; leave it out"
        case "none_required":
            what = "is not served here; leave it out"
        case "json_invalid":
            return "message is no JSON"
        case _:
            what = first["msg"]
    param = param_of(error)
    return f"{param}: {what}" if param else f"message: {what}"
