"""Generates CRDs and reference pages from the types of the API."""
