"""Layer cases: a module, its inputs, and what either library makes of them.

Each family of layers has a file beside this one with `CASES`, and with `LARGE`: one large layer of each class that has
parameters, whose initial values are compared with PyTorch's in distribution. Goldens:
`python tests/goldens/make.py layers_FAMILY`.
"""

from __future__ import annotations

import hashlib
import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tests.ops.harness import Array, Result, random

import pullback
from pullback import gradients
from pullback.tensor import wrap

MODES = {"train": True, "eval": False}


class Case:
    """`make` is evaluated to a module `m`, the inputs to `xs`, then `call`, with `torch`, `nn` and the names of Values.

    `both=False` leaves training mode out: for layers that are random there. `near`: a relative error that is allowed
    because PyTorch's result is no better.
    """

    def __init__(
        self, make: str, *inputs: str, call: str = "m(*xs)", both: bool = True, note: str = "", near: float = 0.0
    ) -> None:
        self.make, self.inputs, self.call, self.both, self.note, self.near = make, inputs, call, both, note, near

    @property
    def modes(self) -> list[str]:
        return ["train", "eval"] if self.both else ["eval"]

    @property
    def stamp(self) -> str:
        """Changes when the case does."""
        return hashlib.sha256(repr((self.make, self.inputs, self.call)).encode()).hexdigest()[:16]


class Library(NamedTuple):
    """PyTorch, or pullback in its place."""

    torch: Any
    tensor: Callable[[Array], Any]
    array: Callable[[Any], Array]
    grad: Callable[..., Any]


class Values:
    """The names with which cases make inputs: fixed, and different at each use within a case."""

    def __init__(self, library: Library, requires_grad: bool) -> None:
        self.library, self.requires_grad, self.used = library, requires_grad, 0
        self.leaves: list[Any] = []

    def _random(self, shape: tuple[int, ...], seed: int) -> Array:
        self.used += 1
        return random(f"{shape}/{seed}/{self.used}", shape)

    def _leaf(self, array: Array) -> Any:
        t = self.library.tensor(array)
        if self.requires_grad:
            self.leaves.append(t.requires_grad_())
        return t

    def x(self, *shape: int, seed: int = 0) -> Any:
        """Normal numbers."""
        return self._leaf(self._random(shape, seed))

    def positive(self, *shape: int, seed: int = 0) -> Any:
        """Numbers above 0.1."""
        return self._leaf(np.asarray(np.abs(self._random(shape, seed)) + 0.1))

    def probs(self, *shape: int, seed: int = 0) -> Any:
        """Positive numbers whose sum along the last dimension is 1."""
        e = np.exp(self._random(shape, seed))
        return self._leaf(np.asarray(e / e.sum(-1, keepdims=True)))

    def unit(self, *shape: int, seed: int = 0) -> Any:
        """Numbers between 0 and 1."""
        return self._leaf(np.asarray(1 / (1 + np.exp(-self._random(shape, seed)))))

    def ints(self, high: int, *shape: int, seed: int = 0) -> Any:
        """Whole numbers from 0 to high - 1."""
        spread = np.abs(self._random(shape, seed)) * 1e6
        return self.library.tensor(np.asarray(spread.astype(np.int64) % high))

    def signs(self, *shape: int, seed: int = 0) -> Any:
        """1 and -1."""
        return self.library.tensor(np.asarray(np.where(self._random(shape, seed) > 0, 1.0, -1.0)))

    def names(self) -> dict[str, Any]:
        helpers = {name: getattr(self, name) for name in ("x", "positive", "probs", "unit", "ints", "signs")}
        return {"torch": self.library.torch, "nn": self.library.torch.nn, **helpers}


# -- running a case ----------------------------------------------------------------------------------------------------


def made(case: Case, library: Library) -> Any:
    """The module as it is constructed."""
    return eval(case.make, Values(library, requires_grad=False).names())


def filled(module: Any, library: Library) -> Any:
    """In float64, with parameters and running statistics that depend on their names alone."""
    module.double()
    with library.torch.no_grad():
        for name, t in [*module.named_parameters(), *module.named_buffers()]:
            if isinstance(t, library.torch.nn.Parameter) or "running_" in name:
                value = random(name, t.shape)
                t.copy_(library.tensor(np.asarray(np.abs(value) + 0.5 if "running_var" in name else value)))
    return module


def run(case: Case, mode: str, library: Library, module: Any = None) -> Result:
    """Outputs and buffers; gradients of inputs and parameters under fixed cotangents."""
    m = filled(made(case, library), library) if module is None else module
    m.train(MODES[mode])
    values = Values(library, requires_grad=True)
    names = values.names()
    xs = [eval(text, names) for text in case.inputs]
    outs = list(tensors(eval(case.call, {**names, "m": m, "xs": xs}), library.torch.Tensor))
    leaves = [*values.leaves, *(p for p in m.parameters() if p.requires_grad)]
    pairs = [(y, library.tensor(random(f"cotangent {i}", y.shape))) for i, y in enumerate(outs) if y.requires_grad]
    grads = [None] * len(leaves)
    if pairs and leaves:
        grads = library.grad([y for y, _ in pairs], leaves, [g.to(y.dtype) for y, g in pairs], allow_unused=True)
    return Result(
        [library.array(y) for y in [*outs, *m.buffers()]],
        [y.requires_grad for y in outs],
        [None if g is None else library.array(g) for g in grads],
    )


def tensors(nest: Any, kind: type) -> Iterator[Any]:
    """The tensors in tuples, lists and dicts."""
    if isinstance(nest, kind):
        yield nest
    elif isinstance(nest, (tuple, list)):
        for part in nest:
            yield from tensors(part, kind)
    elif isinstance(nest, Mapping):
        yield from tensors(list(nest.values()), kind)


OURS = Library(
    pullback,
    tensor=lambda a: wrap(a.copy()),
    array=lambda t: t._array,
    grad=gradients.grad,
)


# -- all cases ---------------------------------------------------------------------------------------------------------

HELPERS = ("harness", "pytorch")
FAMILIES = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in HELPERS)


def family(name: str) -> Any:
    """The file of a family's cases."""
    return importlib.import_module(f"tests.nn.layers.{name}")


def numbered(name: str) -> Iterator[tuple[str, Case]]:
    """`BatchNorm2d/3` and so on, with its case."""
    count: dict[str, int] = {}
    for case in family(name).CASES:
        layer = class_name(case.make)
        count[layer] = count.get(layer, -1) + 1
        yield f"{layer}/{count[layer]}", case


def class_name(make: str) -> str:
    """`Linear`, of `nn.Linear(3, 4)`."""
    found = re.match(r"nn\.(\w+)", make)
    assert found, f"{make!r} does not begin with a class of nn"
    return found[1]
