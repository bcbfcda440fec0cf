"""The functions and methods PyTorch users know, over the ops."""

from . import arithmetic, conversion, creation, differentiate, display, files, einsum, linear_algebra, random
from .expose import PUBLIC

__all__ = ["PUBLIC"]
