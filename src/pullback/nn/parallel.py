"""`torch.nn.parallel` where there is one device."""

from __future__ import annotations

from typing import Any

from .._refusals import LATER
from .._refusals import explain as _explain
from .module import Module


class DataParallel(Module):
    """The module itself under the name `module`, as in PyTorch where there is no GPU: a state_dict keeps its names."""

    def __init__(self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0) -> None:
        super().__init__()
        self.module = module
        self.device_ids: list[int] = []
        self.dim = dim

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        return self.module(*inputs, **kwargs)


def data_parallel(
    module: Module,
    inputs: Any,
    device_ids: Any = None,
    output_device: Any = None,
    dim: int = 0,
    module_kwargs: dict[str, Any] | None = None,
) -> Any:
    """module(*inputs)"""
    return module(*(inputs if isinstance(inputs, tuple) else (inputs,)), **(module_kwargs or {}))


def __getattr__(name: str) -> Any:
    return _explain(name, __name__, {"DistributedDataParallel": LATER})
