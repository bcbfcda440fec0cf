"""What the current thread is doing: recording gradients or not, being watched or not."""

from __future__ import annotations

import contextvars
import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np


class Modes(threading.local):
    """One of these per thread."""

    def __init__(self) -> None:
        self.grad = True  # does apply() record?
        self.inference = False
        self.pack: Any = None  # where nodes put what they save, when not in themselves (checkpoint)
        self.backward = False  # is a backward pass running?
        self.autocast: Any = None  # gives ops their inputs in other types: (op, inputs) -> inputs
        self.plain = False  # are ops on NumPy arrays NumPy's, however large these are?
        self.capture: Any = None  # what notes the ops on symbols, while a step is captured
        self.device: str | None = None  # where new tensors are made, if not on the CPU ...
        self.devices: list[str | None] = []  # ... and before each `with device`
        self.watch: Any = None  # told of each node's pullback: (node, cotangent, [(edge, cotangent)])
        # Overflow, 0/0 and the like give Inf and NaN in silence, as in PyTorch. NumPy's error state is context-local,
        # so ops run in a context of their own and the user's setting stays as it was.
        context = contextvars.copy_context()
        context.run(np.seterr, all="ignore")
        self.quietly = context.run


MODES = Modes()


class Changes:
    """Counts changes of what a captured step takes for granted: flags, and which tensors a module has."""

    count = 0
    names: ClassVar[set[str]] = set()  # of attributes that some captured step depends on


CHANGES = Changes()


def _noted(method: Any) -> Any:
    @functools.wraps(method)
    def change(self: Any, *args: Any, **kwargs: Any) -> Any:
        CHANGES.count += 1
        return method(self, *args, **kwargs)

    return change


class Watched(dict[Any, Any]):
    """A dict whose changes are counted in CHANGES."""

    __setitem__ = _noted(dict.__setitem__)
    __delitem__ = _noted(dict.__delitem__)
    pop = _noted(dict.pop)
    popitem = _noted(dict.popitem)
    clear = _noted(dict.clear)
    update = _noted(dict.update)
    setdefault = _noted(dict.setdefault)
    __ior__ = _noted(dict.__ior__)


class Aside(dict[Any, Any]):
    """What is kept beside an object: no step depends on it, and it is neither saved nor copied."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Aside, ()


def begun(holder: Any, key: Any, make: Callable[[], Any]) -> Any:
    """holder[key] = make(), unless it is empty; while a step is captured, as if it had been made before the step."""
    if MODES.capture is not None:
        return MODES.capture.begin(holder, key, make)
    made = make()
    if not isinstance(made, dict) or made:
        holder[key] = made
    return made


class Switch:
    """A mode as a context manager and a decorator: sets fields of MODES inside and puts them back after."""

    def __init__(self, **fields: Any) -> None:
        self._fields = fields
        self._before: list[dict[str, Any]] = []

    def __enter__(self) -> Any:
        self._before.append({name: getattr(MODES, name) for name in self._fields})
        vars(MODES).update(self._fields)
        return self

    def __exit__(self, *error: object) -> None:
        vars(MODES).update(self._before.pop())

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.isgeneratorfunction(function):
            return self._wrap_generator(function)

        @functools.wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with Switch(**self._fields):
                return function(*args, **kwargs)

        return inside

    def _wrap_generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The mode holds while the generator runs, not while its consumer does."""

        @functools.wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            generator, send, value = function(*args, **kwargs), "send", None
            while True:
                try:
                    with Switch(**self._fields):
                        item = getattr(generator, send)(value)
                except StopIteration as stop:
                    return stop.value
                try:
                    send, value = "send", (yield item)
                except GeneratorExit:
                    generator.close()
                    raise
                except BaseException as error:
                    send, value = "throw", error

        return inside


class no_grad(Switch):  # noqa: N801
    """Ops inside leave nothing on the tape."""

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:  # also as a bare @no_grad
        return super().__new__(cls) if function is None else cls()(function)

    def __init__(self) -> None:
        super().__init__(grad=False)


class enable_grad(Switch):  # noqa: N801
    """Ops inside are recorded, also within no_grad."""

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        return super().__new__(cls) if function is None else cls()(function)

    def __init__(self) -> None:
        super().__init__(grad=True)


class inference_mode(Switch):  # noqa: N801
    """no_grad, for code that will never ask for a gradient."""

    def __new__(cls, mode: Any = True) -> Any:
        return super().__new__(cls) if isinstance(mode, bool) else cls()(mode)

    def __init__(self, mode: bool = True) -> None:
        super().__init__(**({"grad": False, "inference": True} if mode else {"inference": False}))


class set_grad_enabled(Switch):  # noqa: N801
    """Turns recording on or off at once; as a context manager, puts it back at the end."""

    def __init__(self, mode: bool) -> None:
        super().__init__(grad=bool(mode))
        self._outer = MODES.grad
        MODES.grad = bool(mode)

    def __enter__(self) -> Any:
        self._before.append({"grad": self._outer})
        MODES.grad = self._fields["grad"]
        return self

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        MODES.grad = self._outer
        return super().__call__(function)


def is_grad_enabled() -> bool:
    """Are ops being recorded in this thread?"""
    return MODES.grad


def is_inference_mode_enabled() -> bool:
    """Is this thread inside inference_mode?"""
    return MODES.inference
