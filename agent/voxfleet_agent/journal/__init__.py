"""What the agent keeps through kill -9: one SQLite file, one writer thread, every answer after the sync."""
