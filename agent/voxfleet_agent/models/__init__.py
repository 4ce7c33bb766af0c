"""Finds, fetches, verifies and caches models on this Mac. Nothing here imports MLX."""
