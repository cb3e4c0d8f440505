"""The commands and their options, in the order in which `--help` shows them. Each only parses, and hands over to the module that
does it.
"""

# isort: off
from turnstream.commands import stack, jobs, backfill, compare, replay, layout, dlq

# isort: on
from turnstream.commands.app import app

__all__ = ["app", "backfill", "compare", "dlq", "jobs", "layout", "replay", "stack"]
