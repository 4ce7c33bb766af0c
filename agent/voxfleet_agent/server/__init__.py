"""The agent's side of the protocol, over HTTP."""
