"""Average pooling to several cells in operators that ONNX has, for images of any size."""

from __future__ import annotations

import copy

import torch
from segmentation_models_pytorch.decoders.pspnet.decoder import PSPBlock  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.nn.functional import interpolate


class CellMeans(nn.Module):
    """What `nn.AdaptiveAvgPool2d` computes, as two products with matrices that are made from the size of the maps.

    ONNX has no such pooling for maps of any size: one exporter of torch refuses it, and the other writes a file that
    fails at other sizes than it saw.
    """

    def __init__(self, rows: int, columns: int):
        """`rows` and `columns` of cells."""
        super().__init__()
        self.rows, self.columns = rows, columns

    def forward(self, maps: Tensor) -> Tensor:
        """Return [B, C, rows, columns] of maps [B, C, h, w]: the mean of each cell."""
        down, right = cell_weights(maps, self.rows, -2), cell_weights(maps, self.columns, -1)
        return torch.matmul(torch.matmul(down, maps), right.transpose(0, 1))


def cell_weights(maps: Tensor, cells: int, axis: int) -> Tensor:
    """Return [cells, length]: how much each place of an axis counts in each cell, as torch divides it into cells.

    Cell i reaches from floor(i * length / cells) to ceil((i + 1) * length / cells), so neighbours may share a place.
    """
    length = maps.shape[axis]
    places = torch.arange(length, device=maps.device)
    cell = torch.arange(cells, device=maps.device)
    first = torch.div(cell * length, cells, rounding_mode="floor")[:, None]
    behind = torch.div((cell + 1) * length + cells - 1, cells, rounding_mode="floor")[:, None]
    inside = ((places >= first) & (places < behind)).to(maps.dtype)
    return inside / inside.sum(dim=1, keepdim=True)


class PooledBlock(nn.Module):
    """A block of PSPNet, as it is outside of an export. Inside, that of smp pools in a way that exporters refuse."""

    def __init__(self, pool: nn.Module):
        """`pool` of the block."""
        super().__init__()
        self.pool = pool

    def forward(self, maps: Tensor) -> Tensor:
        """Return the pooled maps at the size of `maps`."""
        return interpolate(self.pool(maps), size=maps.shape[2:], mode="bilinear", align_corners=True)


def exportable(network: nn.Module) -> nn.Module:
    """Return a network whose poolings to several cells are CellMeans: a copy, or itself where it has none."""
    if not any(_has_cells(part) for part in network.modules()):
        return network
    return _without_cells(copy.deepcopy(network))


def _without_cells(changed: nn.Module) -> nn.Module:
    for part in list(changed.modules()):
        for name, child in list(part.named_children()):
            if isinstance(child, PSPBlock):
                setattr(part, name, _without_cells(PooledBlock(child.pool)))
            elif isinstance(child, nn.AdaptiveAvgPool2d) and _has_cells(child):
                setattr(part, name, CellMeans(*_cells(child)))
    return changed


def _has_cells(part: nn.Module) -> bool:
    return isinstance(part, nn.AdaptiveAvgPool2d) and _cells(part) not in ((1, 1), (0, 0))


def _cells(pool: nn.AdaptiveAvgPool2d) -> tuple[int, int]:
    """Return the rows and columns of cells; (0, 0) where one of them is that of the maps."""
    size = pool.output_size
    if size is None or isinstance(size, int):
        return (size or 0, size or 0)
    rows, columns = size
    return (0, 0) if rows is None or columns is None else (rows, columns)
