"""The child's side of a lane: a process without network that decodes, transcribes and synthesizes."""
