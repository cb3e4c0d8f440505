"""What processes agree on: who does what only one of them should do, and how the topics are laid out."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import AwareDatetime

from schemas.base import Value
from schemas.errors import LayoutMismatch
from schemas.topics import Layout
from turnstream.object_store.base import ObjectExists, ObjectNotFound
from turnstream.records.objects import Damaged, Objects


class Lease(Value):
    holder: str
    until: AwareDatetime


class Agreements(Objects):
    # Leases

    def take_lease(self, name: str, holder: str, seconds: float) -> bool:
        """Hold `name` for so long; True where it is ours. Two holders are possible for a moment: what a lease
        guards must stand being done twice."""
        key = f"leases/{name}"
        now = datetime.now(UTC)
        ours = Lease(holder=holder, until=now + timedelta(seconds=seconds))
        try:
            self._put(key, ours, if_absent=True)
            return True
        except ObjectExists:
            lease = self._lease(key)
        if lease is not None and lease.holder != holder and lease.until > now:
            return False
        self._put(key, ours)
        lease = self._lease(key)
        return lease is not None and lease.holder == holder

    def give_back_lease(self, name: str, holder: str) -> None:
        key = f"leases/{name}"
        lease = self._lease(key)
        if lease is not None and lease.holder == holder:
            self.store.delete(key)

    def _lease(self, key: str) -> Lease | None:
        try:
            return self._get(key, Lease)
        except (ObjectNotFound, Damaged):
            return None

    # The layout

    def agree_on_layout(self, groups: int, operations: Iterable[str]) -> Layout:
        """The layout in force, stored if there is none yet, with slots for these operations added if they had none.

        Raises LayoutMismatch where topics are laid out otherwise than `groups` says, or no slot is left.
        """
        operations = tuple(operations)
        while True:
            number, stored = self._layout_in_force()
            if stored is not None and stored.model_copy(update={"groups": 1, "slot": {}}) != Layout():
                raise LayoutMismatch(
                    f"the topics are laid out as {stored.model_dump_json()}: use the release that made them"
                )
            if stored is not None and stored.groups != groups:
                raise LayoutMismatch(
                    f"the topics have {stored.groups} groups of partitions: set PARTITION_GROUPS={stored.groups}, "
                    f"or let them grow with `turnstream layout grow`"
                )
            wanted = (stored or Layout(groups=groups)).including(operations)
            if wanted == stored or self._put_layout(number + 1, wanted):
                return wanted

    def layout(self) -> Layout | None:
        """The layout in force; None where there is none yet."""
        return self._layout_in_force()[1]

    def grow_layout(self, groups: int) -> Layout:
        """From now on jobs spread over more groups of partitions. Raises LayoutMismatch: groups never become fewer."""
        while True:
            number, stored = self._layout_in_force()
            stored = stored or Layout(groups=groups)
            if groups < stored.groups:
                raise LayoutMismatch(f"there are {stored.groups} groups of partitions, and they cannot become fewer")
            wanted = stored.model_copy(update={"groups": groups})
            if (wanted == stored and number) or self._put_layout(number + 1, wanted):
                return wanted

    def _layout_in_force(self) -> tuple[int, Layout | None]:
        """Its number, and the layout; 0 and None where there is none yet."""
        *_, last = ("", *(info.key for info in self.store.list("layout/")))
        return (int(Path(last).stem), self._get(last, Layout)) if last else (0, None)

    def _put_layout(self, number: int, layout: Layout) -> bool:
        """False where somebody else was quicker."""
        try:
            self._put(f"layout/{number:06d}.json", layout, if_absent=True)
        except ObjectExists:
            return False
        return True
