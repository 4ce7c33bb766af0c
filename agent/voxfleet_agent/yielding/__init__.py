"""Batches give way to the sessions of VoiceEndpoints on the same Mac."""
