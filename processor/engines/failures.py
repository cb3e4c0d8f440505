"""What is told of an engine's failure."""

import logging

from processor.model_manager import out_of_memory
from schemas.errors import EngineFailed, EngineOutOfMemory, ErrorInfo, TurnstreamError

log = logging.getLogger(__name__)


def info(error: Exception) -> ErrorInfo:
    """Out of the tree. What no caller should read, such as a library's own words, goes to the log."""
    if isinstance(error, TurnstreamError):
        return error.info
    log.error("a job failed", exc_info=error)
    if out_of_memory(error):
        return EngineOutOfMemory().info
    return EngineFailed(f"The engine failed on this recording: {type(error).__name__}").info
