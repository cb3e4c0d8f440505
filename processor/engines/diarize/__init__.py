"""Who spoke when: pyannote's own networks and clustering, taken in steps and shared between recordings."""
