"""Conversations with exact references, made of real and synthetic voices, the same bytes each time.

`python -m tests.bench.corpus` makes them; nothing of them is committed. Sources: the sample that pyannote.audio ships, the spoken
lines of Debian's `fillets-ng-data-cs` and `-nl`, and the voices of its `flite`. Where a source cannot be had, the
recordings that want it are left out, and that is said.
"""
