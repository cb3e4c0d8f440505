"""Speech synthesis for Turnstream, as far as tones are speech."""
