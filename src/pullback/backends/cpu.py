"""`torch.backends.cpu`."""

from __future__ import annotations


def get_cpu_capability() -> str:
    """No kernel here is chosen by the processor's instructions."""
    return "DEFAULT"
