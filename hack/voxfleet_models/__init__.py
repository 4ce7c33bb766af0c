"""Models for tests and the demo: tiny ones with random weights, and Whisper tiny.en out of a package."""
