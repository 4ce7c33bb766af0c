"""VoiceContract."""
