"""The agent's side of a lane: pools of lanes, their child processes, and which clips each child gets next."""
