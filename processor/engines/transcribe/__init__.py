"""What was said: faster-whisper, a stretch of at most 30 seconds at a time."""
