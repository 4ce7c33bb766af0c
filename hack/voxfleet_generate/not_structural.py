"""What a type is called that no CRD can express."""

from __future__ import annotations


class NotStructural(Exception):
    """A type that no CRD can express, or that lacks a bound or a description; the message names the field."""
