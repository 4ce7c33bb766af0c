"""The agent's side of a lane: pools of lanes, their children, and which clips each child gets next."""
