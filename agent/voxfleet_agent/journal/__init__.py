"""The state that survives kill -9: one SQLite file and one writer thread, which syncs before every response."""
