"""What reading YAML raises. Pure."""

from __future__ import annotations

import yaml

YAML_ERRORS = (yaml.YAMLError, ValueError, RecursionError)
"""What PyYAML raises: ValueError for a date such as 2026-13-45, RecursionError for thousands of brackets."""
