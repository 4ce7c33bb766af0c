"""Why a text is no YAML that can be used, in one line."""

from __future__ import annotations

import yaml

YAML_ERRORS = (yaml.YAMLError, ValueError, RecursionError)
"""What PyYAML raises: ValueError for a date such as 2026-13-45, RecursionError for thousands of brackets."""


def yaml_problem(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return " ".join(str(error).split())
    return f"{error.problem} in line {error.problem_mark.line + 1}"
