"""Attempts: admits them, moves them from state to state, and runs them."""
