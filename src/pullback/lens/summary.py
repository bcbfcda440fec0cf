"""`pullback.summary(model, shape)`: a model's layers, with what each puts out, holds and costs."""

from __future__ import annotations

import copy
from bisect import bisect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ..dtypes import as_dtype, get_default_dtype
from ..errors import ArgumentError, fail
from ..functions.creation import ones_like, zeros
from ..functions.random import randn
from ..gradients import seeds_of
from ..modes import MODES, Switch
from ..nn.module import Module
from ..random import fork_rng
from ..tape import Node, send
from ..tensor import Tensor, tick
from ..trees import tensors
from .flops import FlopCounterMode
from .steps import arrivals

TITLES = ("layer", "output", "parameters", "forward FLOPs", "backward FLOPs")


@dataclass
class Row:
    """One module. What it holds and costs includes the modules inside it."""

    name: str
    kind: str
    level: int
    outputs: list[tuple[int, ...]] = field(default_factory=list)  # shapes, of the last call
    calls: int = 0
    parameters: int = 0
    forward: int = 0
    backward: int = 0

    def cells(self) -> tuple[str, ...]:
        """As the table shows it."""
        label = f"{self.name}: {self.kind}" if self.name else self.kind
        label = "  " * self.level + label + (f" x{self.calls}" if self.calls > 1 else "")
        shapes = ", ".join(str(list(shape)) for shape in self.outputs[:3]) + (", ..." if len(self.outputs) > 3 else "")
        return label, shapes or "-", *(f"{n:,}" if n else "-" for n in (self.parameters, self.forward, self.backward))


@dataclass
class Summary:
    """What `summary` found; str() is a table. A parameter or module that is used in several places counts once."""

    rows: list[Row]
    parameters: int
    trainable: int
    parameter_bytes: int
    forward_flops: int
    backward_flops: int

    def __str__(self) -> str:
        table = [TITLES, *(row.cells() for row in self.rows)]
        widths = [max(len(cells[i]) for cells in table) for i in range(len(TITLES))]
        lines = [
            "  ".join([c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))])
            for cells in table
        ]
        rule = "-" * len(lines[0])
        return "\n".join([lines[0], rule, *(line.rstrip() for line in lines[1:]), rule, *self.totals()])

    __repr__ = __str__

    def totals(self) -> Iterator[str]:
        """The lines below the table."""
        yield f"parameters  {self.parameters:,} ({self.trainable:,} trainable), {memory(self.parameter_bytes)}"
        both = self.forward_flops + self.backward_flops
        yield f"FLOPs       {self.forward_flops:,} forward + {self.backward_flops:,} backward = {both:,}"


def memory(size: float) -> str:
    """`1.5 MiB`"""
    units = iter(("bytes", "KiB", "MiB", "GiB"))
    unit = next(units)
    while size >= 1024 and unit != "GiB":
        size, unit = size / 1024, next(units)
    return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"


class ByModule(FlopCounterMode):
    """Counts operations by the modules that run. A node of the tape belongs to those that ran when it was made."""

    def __init__(self, rows: dict[Module, Row]) -> None:
        super().__init__(display=False)
        self.rows = rows
        self.running: tuple[Row, ...] = ()  # the modules that are, the innermost last
        self.times = [0]  # ticks of the tape's clock ...
        self.then: list[tuple[Row, ...]] = [()]  # ... and what was running from then on
        self.pending = 0  # of backward, since the last node
        self.handles: list[Any] = []

    def __enter__(self) -> ByModule:
        for module in self.rows:
            self.handles.append(module.register_forward_pre_hook(self.begin, prepend=True))
            self.handles.append(module.register_forward_hook(self.end))
        super().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        for handle in self.handles:
            handle.remove()

    def run(self, rows: tuple[Row, ...]) -> None:
        """From now on, these are running."""
        self.running = rows
        self.times.append(tick())
        self.then.append(rows)

    def begin(self, module: Module, args: Any) -> None:
        if not MODES.backward:  # there, a checkpoint computes again what has been counted
            self.run((*self.running, self.rows[module]))

    def end(self, module: Module, args: Any, out: Any) -> None:
        if not MODES.backward:
            row = self.rows[module]
            row.outputs, row.calls = [tuple(t.shape) for t in tensors(out)], row.calls + 1
            self.run(self.running[:-1])

    def add(self, name: str, flops: int) -> None:
        super().add(name, flops)
        if MODES.backward:
            self.pending += flops
        for row in () if MODES.backward else set_of(self.running):
            row.forward += flops

    def done(self, node: Node) -> None:
        """The rules of a node have run, and what they gave has been sent on."""
        for row in set_of(self.then[bisect(self.times, node._id) - 1]):
            row.backward += self.pending
        self.pending = 0


def set_of(rows: Iterable[Row]) -> list[Row]:
    """Each row once, though its module may have called itself."""
    return list({id(row): row for row in rows}.values())


def summary(model: Module, input_shape: Any, dtypes: Any = None, depth: int | None = None) -> Summary:
    """Run a copy of the model forward and backward once, and tell what each layer puts out, holds and costs.

    `input_shape`: a shape, batch included, or a tensor, or a list of them for several inputs; inputs that are not given
    are random in the dtype of the model, or zeros where `dtypes` says integers. `depth`: how many levels to show.
    """
    with fork_rng(), Switch(grad=True, inference=False, pack=None):
        twin = copy.deepcopy(model)
        rows = {module: row_of(path, module) for path, module in twin.named_modules()}
        counter = ByModule(rows)
        inputs = inputs_of(twin, input_shape, dtypes)
        with counter:
            out = twin(*inputs)
            ys = [y for y in tensors(out) if y.requires_grad]
            with Switch(grad=False, backward=True, autocast=None):
                for node, g, arrived in arrivals(seeds_of(ys, [ones_like(y) for y in ys], False)):
                    if isinstance(node, Node):
                        send(arrived, node, g, False, None, None)
                        counter.done(node)
    for module, row in reversed(rows.items()):
        row.parameters = sum(p.numel() for p in module.parameters())
        if row.calls == 0:  # a list of modules, say, which others call
            below = [rows[child] for child in module.children()]
            row.forward, row.backward = (sum(getattr(r, way) for r in below) for way in ("forward", "backward"))
    parameters = list(twin.parameters())
    return Summary(
        [row for row in rows.values() if depth is None or row.level <= depth],
        sum(p.numel() for p in parameters),
        sum(p.numel() for p in parameters if p.requires_grad),
        sum(p.numel() * p.element_size() for p in parameters),
        sum(counter.forward.values()),
        sum(counter.backward.values()),
    )


def row_of(path: str, module: Module) -> Row:
    """The row of a module, still to be filled."""
    return Row(path.rpartition(".")[2], module._get_name(), path.count(".") + 1 if path else 0)


def inputs_of(model: Module, given: Any, dtypes: Any) -> list[Tensor]:
    """The tensors to call the model with."""
    if isinstance(given, Tensor) or all(isinstance(n, int) for n in given):
        given = [given]
    own = next((p.dtype for p in model.parameters() if p.dtype.is_floating_point), get_default_dtype())
    wanted = list(dtypes) if isinstance(dtypes, (tuple, list)) else [dtypes] * len(given)
    if len(wanted) != len(given):
        fail(ArgumentError, f"{len(wanted)} dtypes were given for {len(given)} inputs", "give one for each input")
    return [one_input(x, own if d is None else as_dtype(d)) for x, d in zip(given, wanted, strict=True)]


def one_input(given: Any, dtype: Any) -> Tensor:
    """A copy of the tensor that was given, or a new one of the shape that was."""
    if isinstance(given, Tensor):
        return given.detach().clone()
    return randn(*given, dtype=dtype) if dtype.is_floating_point else zeros(*given, dtype=dtype)
