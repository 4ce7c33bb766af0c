"""Measured batch sizes of this Mac: how they are measured, decided, kept and shown."""
