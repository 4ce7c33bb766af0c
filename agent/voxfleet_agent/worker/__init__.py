"""The child's side of a lane: decodes, transcribes and synthesizes in a process of its own, without network."""
