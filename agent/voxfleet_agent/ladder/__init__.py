"""Measures, chooses, stores and plots the batch sizes of this Mac."""
