"""Whisper models for tests: files of the right names, and the real open weights."""

from pathlib import Path

ENGLISH_WORDS, ALL_WORDS = 51_864, 51_865
"""Lines of the vocabulary of a model of English alone, and of one of many languages."""


def make_whisper(directory: Path, words: int = ALL_WORDS) -> Path:
    """A directory in CTranslate2's layout; its network is none."""
    directory.mkdir(parents=True, exist_ok=True)
    contents = {
        "config.json": "{}",
        "tokenizer.json": "{}",
        "model.bin": f"network of {words} words",
        "vocabulary.txt": "word\n" * words,
    }
    for name, content in contents.items():
        (directory / name).write_text(content)
    return directory
