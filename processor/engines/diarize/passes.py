"""How many pieces a pass of a network takes on."""


class Passes:
    """A pass has `room` for so many pieces, and that shape whether or not it is full: what a network says of a piece does not
    depend on the others. Where the device's memory does not suffice, all passes are smaller until the model is loaded anew.
    """

    def __init__(self, room: int) -> None:
        self.room = room

    def halve(self) -> bool:
        """For less memory. False where a pass has room for one piece already."""
        smaller = self.room // 2
        self.room = max(1, smaller)
        return smaller > 0
