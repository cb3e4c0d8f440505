"""`python -m schemas.describe docs`: what is published, as it is committed: asyncapi.json, and schemas/ with a file an event."""

import json
import sys
from importlib.metadata import version
from pathlib import Path

from schemas.asyncapi import document
from schemas.published import published


def described() -> dict[str, str]:
    """The files, by their paths below docs/."""
    files = {f"schemas/{event.name}.json": event.schema for event in published()}
    files["asyncapi.json"] = document(version("turnstream"))
    return {path: json.dumps(content, indent=2, ensure_ascii=False) + "\n" for path, content in files.items()}


def main(folder: Path) -> None:
    for path, text in described().items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
