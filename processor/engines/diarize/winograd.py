"""Convolutions of 3 by 3 with a quarter of the multiplications: F(4 x 4, 3 x 3) of Lavin and Gray, arXiv:1509.09308."""

import torch
from torch import Tensor, nn

TILE, SIDE = 4, 6
"""A tile of 4 by 4 outputs is made of 6 by 6 inputs."""
POINTS = SIDE * SIDE
LEAST = 128
"""Channels from which on it is faster than a plain convolution: what it saves grows with them, and what it costs does not."""
TOGETHER = 320
"""Tiles that are computed at a time, about: so many, transformed, stay in the caches."""

INTO = torch.tensor(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    dtype=torch.float32,
)
KERNEL = (
    torch.tensor([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], dtype=torch.float64) / 24
)
BACK = torch.tensor(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], dtype=torch.float32
)


class Winograd:
    """A convolution, and what follows it, on channels-last images on a CPU.

    The numbers are those of a plain convolution but for rounding, 2e-6 of their norm where that has 6e-7. Images do not touch
    each other: what is found in one does not depend on the others of a batch.
    """

    def __init__(self, plain: nn.Conv2d) -> None:
        weight = plain.weight.detach().double()
        transformed = torch.einsum("ij,ocjl,ml->imco", KERNEL, weight, KERNEL)
        self._weight = transformed.reshape(POINTS, *transformed.shape[2:]).float().contiguous()
        self._bias = plain.bias.detach() if plain.bias is not None else torch.zeros(len(weight))
        self._into, self._back = torch.kron(INTO, INTO), torch.kron(BACK, BACK)

    @staticmethod
    def fits(plain: nn.Conv2d) -> bool:
        shape = (plain.kernel_size, plain.stride, plain.padding, plain.dilation, plain.groups)
        return shape == ((3, 3), (1, 1), (1, 1), (1, 1), 1) and min(plain.in_channels, plain.out_channels) >= LEAST

    def __call__(self, image: Tensor, around: Tensor | None = None) -> Tensor:
        """Of (batch, channels, height, width), rectified; `around` is added before that."""
        batch, channels, height, width = image.shape
        down, across = -(-height // TILE), -(-width // TILE)
        padded = image.new_empty(batch, down * TILE + 2, across * TILE + 2, channels)
        for border in (padded[:, :1], padded[:, height + 1 :], padded[:, :, :1], padded[:, :, width + 1 :]):
            border.zero_()
        padded[:, 1 : height + 1, 1 : width + 1] = image.permute(0, 2, 3, 1)
        whole = image.new_empty(batch, down * TILE, across * TILE, len(self._bias))
        found = whole[:, :height, :width]
        tiles, rows = _tiles(padded, down, across), max(1, TOGETHER // across)
        for number in range(batch):
            for row in range(0, down, rows):
                lines = slice(row * TILE, (row + rows) * TILE)
                self._compute(tiles[number, row : row + rows], whole[number, lines])
                if around is not None:
                    found[number, lines].add_(around[number, :, lines].permute(1, 2, 0))
                found[number, lines].relu_()
        return found.permute(0, 3, 1, 2)

    def _compute(self, tiles: Tensor, out: Tensor) -> None:
        """Of (rows, columns, 6, 6, channels) into (4 * rows, 4 * columns, channels)."""
        down, across, channels = tiles.shape[0], tiles.shape[1], tiles.shape[4]
        inputs = self._into @ tiles.reshape(-1, POINTS, channels)
        products = inputs.transpose(0, 1) @ self._weight
        outputs = (self._back @ products.transpose(0, 1)).add_(self._bias)
        squares = outputs.view(down, across, TILE, TILE, -1)
        out.view(down, TILE, across, TILE, -1).copy_(squares.permute(0, 2, 1, 3, 4))


def _tiles(padded: Tensor, down: int, across: int) -> Tensor:
    """Of (batch, height, width, channels): a view of all tiles, (batch, down, across, 6, 6, channels); they overlap by two."""
    batch, _, _, channels = padded.shape
    image, row, column, _ = padded.stride()
    return padded.as_strided(
        (batch, down, across, SIDE, SIDE, channels), (image, TILE * row, TILE * column, row, column, 1)
    )
