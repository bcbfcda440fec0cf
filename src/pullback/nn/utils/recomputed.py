"""What the older weight_norm and spectral_norm share: before each forward, a parameter is computed from others.

The newer ones, in `parametrizations`, compute it whenever it is read.
"""

from __future__ import annotations

from typing import Any

from ...errors import ArgumentError, PullbackError, fail
from ...modes import no_grad
from ...tensor import Tensor
from ..module import Module, Parameter
from ..parameter import is_lazy


class Recomputed:
    """A forward pre-hook that sets `module.<name>`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, module: Any, inputs: Any) -> None:
        setattr(module, self.name, self.compute(module, module.training))

    def start(self, module: Any, weight: Parameter) -> Tensor:
        """Register in the module what the tensor is to be computed from; what it is until the first forward."""
        raise NotImplementedError

    def compute(self, module: Any, training: bool) -> Tensor:
        """The tensor."""
        raise NotImplementedError

    def stop(self, module: Any) -> None:
        """Take out what start() registered."""
        raise NotImplementedError

    def apply(self, module: Any) -> None:
        """Put the hook in the place of a parameter."""
        weight = module._parameters.get(self.name)
        if _of(module, type(self), self.name):
            fail(PullbackError, f"{self.name!r} has one {type(self).__name__} already; two cannot be registered")
        if weight is None or is_lazy(weight):
            why = "is not initialized yet: run the lazy module once first" if weight is not None else "is no parameter"
            fail(ArgumentError, f"{self.name!r} of {type(module).__name__} {why}")
        delattr(module, self.name)
        setattr(module, self.name, self.start(module, weight))
        module.register_forward_pre_hook(self)


def _of(module: Module, kind: type[Recomputed], name: str) -> list[int]:
    """The keys of the module's hooks of this kind and name."""
    table = module._hooks.tables["before"] if module._hooks is not None else {}
    return [key for key, (hook, _) in table.items() if isinstance(hook, kind) and hook.name == name]


def remove(module: Any, kind: type[Recomputed], name: str) -> None:
    """Make the tensor a plain parameter again, with its value now."""
    keys = _of(module, kind, name)
    if not keys:
        fail(ArgumentError, f"no {kind.__name__} of {name!r} was found in {type(module).__name__}")
    hook: Recomputed = module._hooks.tables["before"].pop(keys[0])[0]
    with no_grad():
        weight = hook.compute(module, False)
    delattr(module, name)
    hook.stop(module)
    module.register_parameter(name, Parameter(weight.detach()))
