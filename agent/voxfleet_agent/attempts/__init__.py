"""Attempts: what is admitted, how each goes from state to state, and who runs it."""
