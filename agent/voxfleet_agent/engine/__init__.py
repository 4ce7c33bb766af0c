"""Loaded models, through mlx-audio, and the pure rules around them."""
