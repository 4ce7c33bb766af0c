"""What reading YAML raises, and how it is told. Pure."""

from __future__ import annotations

import yaml

YAML_ERRORS = (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError, RecursionError)
"""What PyYAML raises: ValueError for a date such as 2026-13-45, the next three for tags such as `!!bool x`,
RecursionError for thousands of brackets. To be caught around the reading alone: others raise these, too.
"""


def yaml_problem(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, TypeError | KeyError | AttributeError):
        return "a value is not of the kind that its tag names; write it without !!"
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return " ".join(str(error).split())
    return f"{error.problem} in line {error.problem_mark.line + 1}"
