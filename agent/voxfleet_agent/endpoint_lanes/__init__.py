"""The warm lanes of VoiceEndpoints on this Mac, from PUT to their end."""
