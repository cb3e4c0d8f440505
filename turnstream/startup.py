"""What every service does first: its settings, or one line and an exit code that says not to start it again."""

import logging
import os
import sys

from pydantic import ValidationError

from turnstream import allocator, logs
from turnstream.cli import one_line
from turnstream.settings import Settings

EX_CONFIG = os.EX_CONFIG
"""Exit code: the settings are wrong, and would be the next time."""


def settings_of(log: logging.Logger) -> Settings:
    """With logging as they want it. Ends the process where they cannot be right."""
    allocator.few_arenas()
    try:
        settings = Settings()
    except ValidationError as error:
        logs.configure("INFO")
        log.critical("%s", one_line(error))
        sys.exit(EX_CONFIG)
    logs.configure(settings.log_level)
    return settings
