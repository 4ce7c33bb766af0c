"""Measures the judges of completeness on real and on espeak-ng speech."""
