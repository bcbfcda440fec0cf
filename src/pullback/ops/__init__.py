"""All ops, each one record; `record.py` says what a record holds. Import an op from the file of its family."""

from . import activation, arithmetic, compare, counting, create, extremes, indexing, joining, matmul, norms, pointwise, random, reduction, scan, shape, softmax, sorting, strided
from .record import OPS

__all__ = ["OPS"]
