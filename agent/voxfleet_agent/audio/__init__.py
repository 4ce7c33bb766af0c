"""Audio files: header parsers, which need no MLX, and decoding and encoding through mlx-audio-io."""
