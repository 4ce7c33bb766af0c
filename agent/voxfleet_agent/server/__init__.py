"""The agent's HTTP side of the protocol."""
