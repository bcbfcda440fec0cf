"""Lazy modules: some sizes are learnt from the first input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import PullbackError, fail
from .module import Module
from .parameter import UninitializedBuffer, UninitializedParameter, is_lazy

__all__ = ["LazyModuleMixin", "UninitializedBuffer", "UninitializedParameter", "is_lazy"]


class LazyModuleMixin(Module if TYPE_CHECKING else object):  # type: ignore[misc]
    """Comes before the Module it makes lazy: `class LazyLinear(LazyModuleMixin, Linear)`.

    `__init__` puts Uninitialized parameters in place; at the first call `initialize_parameters(*inputs)` gives them
    their shapes and values, and the module becomes a `cls_to_become`.
    """

    cls_to_become: Any = None

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """To be defined by each lazy module."""
        fail(PullbackError, f"{type(self).__name__} does not define initialize_parameters(self, *inputs)")

    def has_uninitialized_params(self) -> bool:
        """Are there parameters or buffers whose shape is not known yet?"""
        return any(is_lazy(t) for t in (*self._parameters.values(), *self._buffers.values()))

    def reset_parameters(self) -> None:
        """As the module it will become, once there is something to set."""
        if not self.has_uninitialized_params() and all(p.numel() for p in self.parameters(recurse=False)):
            super().reset_parameters()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        call = super().__call__
        if self.cls_to_become is not None or self.has_uninitialized_params():
            self.initialize_parameters(*args, **kwargs)
            if self.has_uninitialized_params():
                fail(PullbackError, f"{type(self).__name__}.initialize_parameters left some parameters uninitialized")
        if self.cls_to_become is not None:
            self.__class__ = self.cls_to_become
        return call(*args, **kwargs)
