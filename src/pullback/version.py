"""`torch.version`"""

from __future__ import annotations

from importlib import metadata

try:
    __version__ = metadata.version("pullback")
except metadata.PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0.1.0"

cuda = hip = None
