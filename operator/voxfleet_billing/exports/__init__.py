"""The files that a bill is exported to."""
