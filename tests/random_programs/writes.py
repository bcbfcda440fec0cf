"""Random programs of views and writes in place.

A program is a list of steps on a growing list of tensors. It runs on pullback, on PyTorch, and on `Dual`: NumPy arrays
that carry their derivative along, where views and writes are NumPy's own and nothing is recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

START = np.arange(1.0, 13.0).reshape(3, 4) / 8
CONSTANT = np.cos(np.arange(12.0)).reshape(3, 4)


class Dual:
    """A value and its derivative: d has one more dimension, one entry for each element of START."""

    recording = True

    def __init__(self, v: np.ndarray[Any, Any], d: np.ndarray[Any, Any] | None = None) -> None:
        self.v = np.asarray(v)  # NumPy makes scalars of 0-d results
        self.d = np.zeros((*v.shape, START.size)) if d is None or not Dual.recording else d

    shape = property(lambda self: self.v.shape)
    ndim = property(lambda self: self.v.ndim)

    # views: of the value and of the derivative alike, which looks at nothing where nothing is recorded
    @staticmethod
    def viewing(v: Any, d: Any) -> Dual:
        view = Dual(v)
        if Dual.recording:
            view.d = d
        return view

    def __getitem__(self, key: Any) -> Dual:
        key = key if isinstance(key, tuple) else (key,)
        key = key if ... in key else (*key, ...)
        return Dual.viewing(self.v[key], self.d[(*key, slice(None))])

    def t(self) -> Dual:
        return Dual.viewing(self.v.T, self.d.swapaxes(0, 1))

    def unsqueeze(self, dim: int) -> Dual:
        return Dual.viewing(self.v[None], self.d[None])

    def unbind(self, dim: int) -> list[Dual]:
        return [self[i] for i in range(len(self.v))]

    def chunk(self, chunks: int, dim: int) -> list[Dual]:
        return [self[: (len(self.v) + 1) // 2]]

    def view(self, size: int) -> Dual:
        return Dual.viewing(self.v.reshape(-1), self.d.reshape(-1, START.size))

    def detach(self) -> Dual:
        return Dual(self.v)

    # values
    def __mul__(self, y: Any) -> Dual:
        y = y if isinstance(y, Dual) else Dual(np.asarray(y))
        return Dual(self.v * y.v, self.d * y.v[..., None] + y.d * self.v[..., None])

    def __add__(self, y: Any) -> Dual:
        y = y if isinstance(y, Dual) else Dual(np.asarray(y))
        return Dual(self.v + y.v, self.d + y.d)

    def tanh(self) -> Dual:
        v = np.tanh(self.v)
        return Dual(v, self.d * (1 - v * v)[..., None])

    def clone(self) -> Dual:
        return Dual(self.v.copy(), self.d.copy())

    # writes
    def copy_(self, y: Any) -> Dual:
        y = y if isinstance(y, Dual) else Dual(np.asarray(y))
        self.v[...] = y.v
        if Dual.recording:
            self.d[...] = y.d
        return self

    def mul_(self, y: Any) -> Dual:
        return self.copy_(self * y)

    def add_(self, y: Any) -> Dual:
        return self.copy_(self + y)

    __imul__, __iadd__, fill_ = mul_, add_, copy_

    def zero_(self) -> Dual:
        return self.copy_(0.0)

    def div_(self, y: Any) -> Dual:
        return self.copy_(Dual(self.v / y, self.d / y))

    def exp_(self) -> Dual:
        v = np.exp(self.v)
        return self.copy_(Dual(v, self.d * v[..., None]))

    def clamp_(self, low: float, high: float) -> Dual:
        inside = (self.v >= low) & (self.v <= high)
        return self.copy_(Dual(np.clip(self.v, low, high), self.d * inside[..., None]))

    def __gt__(self, y: float) -> Any:
        return self.v > y

    def masked_fill_(self, mask: Any, value: float) -> Dual:
        return self.copy_(Dual(np.where(mask, value, self.v), np.where(mask[..., None], 0.0, self.d)))

    def tanh_(self) -> Dual:
        return self.copy_(self.tanh())

    def __setitem__(self, key: Any, y: Any) -> None:
        if not isinstance(key, (list, np.ndarray)):
            self[key].copy_(y)
            return
        self.v[key] = y
        if Dual.recording:
            self.d[key] = 0.0


class unrecorded:  # noqa: N801 (stands where no_grad does)
    def __enter__(self) -> None:
        Dual.recording = False

    def __exit__(self, *error: object) -> None:
        Dual.recording = True


def put(key: Any) -> Callable[[Any, Any], Any]:
    def write(x: Any, y: Any) -> None:
        x[key] = y

    return write


def augmented(x: Any, y: Any) -> None:
    x += y


def augmented_part(x: Any, y: Any) -> None:
    x[..., 1:] *= 0.5


VIEWS: dict[str, Callable[[Any, Any], Any]] = {
    "row": lambda x, y: x[0] if x.ndim else x[...],
    "rest": lambda x, y: x[-2:] if x.ndim else x[...],
    "every second": lambda x, y: x[..., ::2] if x.ndim else x[...],
    "transpose": lambda x, y: x.t() if x.ndim == 2 else x[...],
    "unsqueeze": lambda x, y: x.unsqueeze(0) if x.ndim < 3 else x[...],
    "flat": lambda x, y: x.view(-1),
    "unbind": lambda x, y: x.unbind(0)[-1] if x.ndim else x[...],
    "chunk": lambda x, y: x.chunk(2, 0)[0] if x.ndim else x[...],
    "detach": lambda x, y: x.detach(),
}
VALUES: dict[str, Callable[[Any, Any], Any]] = {
    "mul": lambda x, y: x * y,
    "add": lambda x, y: x + y,
    "shift": lambda x, y: x + 0.5,
    "scale": lambda x, y: x * -0.5,
    "tanh": lambda x, y: x.tanh(),
    "clone": lambda x, y: x.clone(),
}
WRITES: dict[str, Callable[[Any, Any], Any]] = {
    "mul_": lambda x, y: x.mul_(y),
    "scale_": lambda x, y: x.mul_(0.75),
    "add_": lambda x, y: x.add_(y),
    "+=": augmented,
    "part *=": lambda x, y: augmented_part(x, y) if x.ndim else None,
    "tanh_": lambda x, y: x.tanh_(),
    "div_": lambda x, y: x.div_(1.25),
    "exp_": lambda x, y: x.clamp_(-2.0, 0.5137).exp_(),
    "clamp_": lambda x, y: x.clamp_(-0.2612, 0.5137),
    "masked_fill_": lambda x, y: x.masked_fill_(x > 0.3117, 0.2),
    "set picked": lambda x, y: put([0, -1])(x, 0.75) if x.ndim else None,
    "set where": lambda x, y: put(x > 0.3117)(x, 0.1) if x.ndim else None,
    "fill_": lambda x, y: x.fill_(0.25),
    "zero_": lambda x, y: x.zero_(),
    "copy_": lambda x, y: x.copy_(y),
    "set row": lambda x, y: put(0)(x, y) if x.ndim else None,
    "set part": lambda x, y: put((..., slice(1, None)))(x, 0.125) if x.ndim else None,
    "set all": put(...),
}
STEPS = {**VIEWS, **VALUES, **WRITES}
NEW = VIEWS.keys() | VALUES.keys()  # these give a tensor; writes change one


class Step(NamedTuple):
    name: str
    x: int
    y: int
    recorded: bool


number = st.integers(0, 20)
step = st.builds(Step, st.sampled_from(sorted(STEPS)), number, number, st.sampled_from([True, True, True, False]))
programs = st.lists(step, min_size=1, max_size=12)


class Outcome(NamedTuple):
    """How far a program came, the tensors it left, and the gradient of START."""

    failed_at: int | None
    values: list[Any]
    grad: Any


def run(start: Sequence[Any], program: Sequence[Step], no_grad: Any, failures: Any) -> tuple[int | None, list[Any]]:
    """The tensors after the program, or the step that failed.

    A number stands in for an operand that does not fit, or that lies in the memory written to, where PyTorch
    promises nothing.
    """
    xs, memory = list(start), list(range(len(start)))
    for k, (name, i, j, recorded) in enumerate(program):
        i, j = len(xs) - 1 - i % len(xs), len(xs) - 1 - j % len(xs)
        x, y = xs[i], xs[j]
        overlap = name in WRITES and i != j and memory[i] == memory[j]
        if overlap or not fits(y.shape, x.shape[1:] if name == "set row" else x.shape):
            y = 1.5
        try:
            with nullcontext() if recorded else no_grad():
                new = STEPS[name](x, y)
        except failures:
            return k, xs
        if name in NEW:
            xs.append(new)
            memory.append(memory[i] if name in VIEWS else len(xs))
    return None, xs


def fits(small: Sequence[int], large: Sequence[int]) -> bool:
    """Does one shape broadcast to the other?"""
    return len(small) <= len(large) and all(m in (1, n) for m, n in zip(reversed(small), reversed(large), strict=False))


def run_library(t: Any, program: Sequence[Step]) -> Outcome:
    """The program on pullback or PyTorch, and backward from a weighted sum of all tensors."""
    a = t.tensor(START, requires_grad=True)
    failed_at, xs = run([a, t.tensor(CONSTANT), t.tensor(CONSTANT).clone(), a * 1.0], program, t.no_grad, RuntimeError)
    values = [x.detach().numpy().copy() for x in xs]
    if failed_at is not None:
        return Outcome(failed_at, values, None)
    try:
        total = a.sum() * 0.0
        for k, x in enumerate(xs):
            total = total + x.sum() * np.cos(k).item()
        total.backward()
    except RuntimeError:
        return Outcome(len(program), values, None)
    return Outcome(None, values, a.grad.numpy())


def run_dual(program: Sequence[Step]) -> Outcome:
    """The program on NumPy arrays with their derivatives."""
    a = Dual(START.copy(), np.eye(START.size).reshape(*START.shape, -1))
    constants = [Dual(CONSTANT.copy()), Dual(CONSTANT.copy())]
    _, xs = run([a, *constants, a * 1.0], program, unrecorded, ())
    grad = sum(np.cos(k) * x.d.reshape(-1, START.size).sum(0) for k, x in enumerate(xs))
    return Outcome(None, [x.v for x in xs], np.reshape(grad, START.shape))
