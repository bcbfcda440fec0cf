"""The functions and methods PyTorch users know, over the ops."""

from . import arithmetic, creation, differentiate, einsum, linear_algebra
from .expose import PUBLIC

__all__ = ["PUBLIC"]
