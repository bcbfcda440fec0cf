"""Anomaly mode: backward stops at the first rule that gives NaN, and says which op at which line it belongs to."""

from __future__ import annotations

from typing import Any

from .errors import GradientError, fail
from .modes import MODES, Switch
from .ops.compare import isinf, isnan
from .ops.reduction import any as any_
from .tape import Node
from .tensor import Tensor


class Checking:
    """Looks at what each node's rules give."""

    def __init__(self, infinities: bool) -> None:
        self.tests = (("nan", isnan), ("inf", isinf)) if infinities else (("nan", isnan),)

    def __call__(self, node: Node, g: Any, pulled: list[tuple[Any, Any]]) -> None:
        for i, (_, cotangent) in enumerate(pulled):
            array = cotangent._array if isinstance(cotangent, Tensor) else cotangent
            for word, test in self.tests:
                if array is not None and any_(test(array)):
                    fail(
                        GradientError,
                        f"Function '{node.name()}' returned {word} values in its {i}th output",
                        "look at the values that this line computes with: y.explain() shows them",
                        forward_ran_at=node.position,
                    )


class set_detect_anomaly(Switch):  # noqa: N801
    """Turns anomaly mode on or off at once; as a context manager, puts it back at the end. `check_inf`: Inf too."""

    def __init__(self, mode: bool, check_nan: bool = True, check_inf: bool = False) -> None:
        super().__init__(watch=Checking(check_inf) if mode and check_nan else None)
        self._outer = MODES.watch
        MODES.watch = self._fields["watch"]

    def __enter__(self) -> Any:
        self._before.append({"watch": self._outer})
        MODES.watch = self._fields["watch"]
        return self


class detect_anomaly(Switch):  # noqa: N801
    """Anomaly mode inside a `with` block."""

    def __init__(self, check_nan: bool = True, check_inf: bool = False) -> None:
        super().__init__(watch=Checking(check_inf) if check_nan else None)


def is_anomaly_enabled() -> bool:
    """Is this thread in anomaly mode?"""
    return isinstance(MODES.watch, Checking)
