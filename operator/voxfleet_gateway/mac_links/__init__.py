"""The gateway's way to the lanes: one transport a Mac, and a WebSocket a session."""
