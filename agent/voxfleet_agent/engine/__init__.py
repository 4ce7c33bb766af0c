"""Models in memory through mlx-audio, and the pure rules beside them."""
