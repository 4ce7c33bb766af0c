"""Real speech with known words: what the product and mlx-audio itself make of it (`make speech`)."""
