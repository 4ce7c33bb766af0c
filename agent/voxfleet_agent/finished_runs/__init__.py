"""Reads finished runs from their output folders, and compares them."""
