"""VoiceEndpoint."""
