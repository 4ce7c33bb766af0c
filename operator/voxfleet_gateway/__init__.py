"""HTTP and WebSocket in front of the warm lanes of VoiceEndpoints."""
