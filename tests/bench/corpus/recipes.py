"""What each recording of the set is made of."""

from dataclasses import dataclass

CZECH = ("cs-m", "cs-v")
DUTCH = ("nl-m", "nl-v")
REAL = (*CZECH, *DUTCH)
SYNTHETIC = ("flite-slt", "flite-rms", "flite-awb", "flite-kal16")

HOUR = "hour"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A conversation. Its random choices follow from its name."""

    name: str
    seconds: float
    voices: tuple[str, ...]
    overlap: float = 0.0
    """Share of the time with speech in which two speak, approached as the conversation goes on."""
    nods: float = 0.0
    """How likely a turn has a short word of somebody else in it."""
    white: float | None = None
    """White noise so many dB below the speech."""
    babble: float | None = None
    """The same of `babblers`, six lines at a time."""
    babblers: tuple[str, ...] = ()
    reverberation: float = 0.0
    """Seconds in which the echo falls by 60 dB; each voice has a place of its own in the room."""
    telephone: bool = False
    """300 to 3400 Hz, mu-law, stored at 8 kHz."""


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """The first `seconds` of another recording, over and over where it is shorter."""

    name: str
    seconds: float
    of: str


SAMPLE = "sample"
"""pyannote.audio's own 30 seconds, with their own reference."""

GATING: tuple[Recipe, ...] = (
    Recipe(name="two-30", seconds=30, voices=CZECH),
    Recipe(name="telephone-60", seconds=60, voices=DUTCH, overlap=0.05, telephone=True, white=30),
    Recipe(name="synthetic-60", seconds=60, voices=SYNTHETIC[:3]),
    Recipe(name="overlaps-60", seconds=60, voices=REAL, overlap=0.2, nods=0.3),
    Recipe(name="noise-120", seconds=120, voices=REAL[:3], overlap=0.08, nods=0.1, white=15),
    Recipe(name="babble-120", seconds=120, voices=DUTCH, overlap=0.05, nods=0.2, babble=15, babblers=CZECH),
    Recipe(name="room-120", seconds=120, voices=REAL, overlap=0.05, nods=0.1, reverberation=0.5),
    Recipe(name="line-120", seconds=120, voices=CZECH, overlap=0.05, nods=0.2, telephone=True, white=20),
    Recipe(name="eight-120", seconds=120, voices=(*REAL, *SYNTHETIC), overlap=0.03),
    Recipe(name="four-300", seconds=300, voices=REAL, overlap=0.08, nods=0.2),
    Recipe(name="eight-300", seconds=300, voices=(*REAL, *SYNTHETIC), overlap=0.1, nods=0.2),
)
"""With the sample 24 minutes: what every change of the engine is measured by."""

LONG: tuple[Recipe | Excerpt, ...] = (
    Recipe(name="six-600", seconds=600, voices=(*REAL, *SYNTHETIC[:2]), overlap=0.08, nods=0.2, white=20),
    Recipe(name=HOUR, seconds=3600, voices=REAL, overlap=0.06, nods=0.2),
    Excerpt(name="ten_minutes", seconds=600, of=HOUR),
    Excerpt(name="two_hours", seconds=7200, of=HOUR),
)
"""Made only where they are asked for by name."""

RECIPES: dict[str, Recipe | Excerpt] = {recipe.name: recipe for recipe in (*GATING, *LONG)}
