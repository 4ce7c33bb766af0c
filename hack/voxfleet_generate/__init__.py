"""Writes what follows from the types: CRDs and reference pages."""
