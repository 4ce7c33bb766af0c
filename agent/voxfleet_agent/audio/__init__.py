"""Recordings: header parsers that need no MLX, and decoding and encoding through mlx-audio-io."""
