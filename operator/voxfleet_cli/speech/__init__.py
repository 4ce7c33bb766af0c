"""`voxfleet transcribe`, `speak` and `endpoint probe`: speech in and out through the gateway."""
