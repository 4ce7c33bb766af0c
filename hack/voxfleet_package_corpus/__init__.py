"""Real audio files out of other projects' packages, run through the agent and compared with a recorded table."""
