"""Reaches an agent at its own TLS listener."""
