"""Models on this Mac: found, fetched, verified and kept. Nothing here imports MLX."""
