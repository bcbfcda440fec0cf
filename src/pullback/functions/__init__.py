"""The functions and methods PyTorch users know, over the ops."""

from . import arithmetic, creation, differentiate
from .expose import PUBLIC

__all__ = ["PUBLIC"]
