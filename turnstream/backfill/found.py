"""What a result says of its recording, whatever the operation: enough for the summary."""

from pydantic import ValidationError

from schemas.base import Value


class Sound(Value):
    duration: float


class Found(Value):
    audio: Sound | None = None
    warnings: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """That were decoded: of a damaged file fewer than its container claims."""
        return self.audio.duration if self.audio else 0.0


def found_in(content: bytes) -> Found:
    """Nothing, where the operation of a plug-in has no such fields, or others of these names."""
    try:
        return Found.model_validate_json(content)
    except ValidationError:
        return Found()
