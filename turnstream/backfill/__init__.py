"""An archive of recordings, handed in file by file, each once whatever is killed when; the results put where they belong."""
