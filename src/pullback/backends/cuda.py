"""`torch.backends.cuda`: there is none. Its switches may be set, and change nothing."""

from __future__ import annotations

from types import SimpleNamespace

matmul = SimpleNamespace(allow_tf32=False)


def is_built() -> bool:
    """False."""
    return False


def enable_math_sdp(enabled: bool) -> None:
    """There is one kernel of attention and none to choose."""


enable_flash_sdp = enable_mem_efficient_sdp = enable_cudnn_sdp = enable_math_sdp
