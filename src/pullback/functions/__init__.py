"""The functions and methods PyTorch users know, over the ops."""

from . import arithmetic, compare, conversion, counting, creation, differentiate, display, einsum, extremes, files, indexing, joining, linear_algebra, operators, pointwise, random, reduction, scan, shape, softmax, sorting
from .expose import PUBLIC

__all__ = ["PUBLIC"]
