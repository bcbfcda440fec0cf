"""`torch.backends.cudnn`: there is none. Its switches may be set, and change nothing."""

from __future__ import annotations

enabled = False
benchmark = False
deterministic = True
allow_tf32 = False


def is_available() -> bool:
    """False."""
    return False


def version() -> None:
    """None."""
