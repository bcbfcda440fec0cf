"""`torch.backends`: switches that programs set. They are accepted, and change nothing on a CPU."""

from __future__ import annotations

from types import SimpleNamespace

from . import mps

__all__ = ["cpu", "cuda", "cudnn", "mkl", "mps", "openmp"]

cudnn = SimpleNamespace(
    deterministic=True,
    benchmark=False,
    enabled=False,
    allow_tf32=False,
    is_available=lambda: False,
    version=lambda: None,
)
cuda = SimpleNamespace(matmul=SimpleNamespace(allow_tf32=False), is_built=lambda: False)
mkl = SimpleNamespace(is_available=lambda: False)
openmp = SimpleNamespace(is_available=lambda: False)
cpu = SimpleNamespace(get_cpu_capability=lambda: "DEFAULT")
