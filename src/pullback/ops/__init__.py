"""All ops, each one record; `record.py` says what a record holds. Import an op from the file of its family."""

from . import arithmetic, compare, create, indexing, joining, matmul, pointwise, random, reduction, shape, strided
from .record import OPS

__all__ = ["OPS"]
