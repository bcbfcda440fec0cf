"""Symbols: arrays that stand for what is not known yet.

A Symbol behaves as an ndarray does for the core: it is a place in memory, seen through views. Its buffer holds the
Value that the memory has at the moment; a write gives the buffer a new Value, and other views of the memory look at
that one when they are next used. So programs that write in place mean the same captured as they do eagerly, and what is
recorded has no writes at all.

A Number stands for a Python number that may differ from call to call, such as a learning rate. It computes as a number
does; whoever asks what it is (`if lr > 0`) gets today's answer, and the answer becomes a condition of the capture.
"""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...devices import common
from ...dtypes import F32
from ...errors import PullbackError, fail
from ...functions.elementwise import DIRECT
from ...modes import MODES
from ...ops.record import IMPLEMENTATIONS, PLAIN, Op, Spec, explain
from ...ops.shape import put_view
from ...tensor import check_writable
from ..program import Shape, Value, contiguous
from .layout import view_strides

Look = tuple[Op, dict[str, Any]]  # a view op and its parameters

LARGEST = 1 << 20  # bytes: results known during capture that are larger than this are computed by the Program


class Buffer:
    """The memory of symbols: what it holds now, and how often it was written."""

    __slots__ = ("device", "owner", "value", "version", "writeable")

    def __init__(self, value: Value, device: str = "cpu", writeable: bool = True) -> None:
        self.value, self.version, self.device, self.writeable = value, 0, device, writeable
        self.owner = MODES.capture  # the recorder that made the value


class Part(Buffer):
    """The memory at a place of another symbol that a tensor names: `take` reads it, `put` gives the other with it."""

    __slots__ = ("_at", "_value", "put", "take", "whole")

    def __init__(
        self, whole: Symbol, take: Callable[[Symbol], Symbol], put: Callable[[Symbol, Symbol], Symbol]
    ) -> None:
        self.whole, self.take, self.put, self.device = whole, take, put, whole.buffer.device
        self.writeable = whole.buffer.writeable
        self._at = -1

    @property
    def version(self) -> int:
        return self.whole.buffer.version

    @version.setter
    def version(self, version: int) -> None:
        """The other's has been raised."""

    @property
    def owner(self) -> Any:
        return self.whole.buffer.owner

    @property
    def value(self) -> Value:
        if self._at != self.version:
            self._value, self._at = self.take(self.whole).value(), self.version
        return self._value

    @value.setter
    def value(self, new: Value) -> None:
        self.whole.write(self.put(self.whole, Symbol(Buffer(new), new)))


class Flags:
    """What ndarray.flags tells, of a symbol."""

    __slots__ = ("c_contiguous", "writeable")

    def __init__(self, c_contiguous: bool, writeable: bool = True) -> None:
        self.c_contiguous, self.writeable = c_contiguous, writeable


class Symbol:
    """An array of known shape, strides and dtype, and unknown values."""

    __slots__ = ("__weakref__", "_seen", "_value", "buffer", "dtype", "looks", "shape", "strides")

    def __init__(self, buffer: Buffer, value: Value, looks: tuple[Look, ...] = ()) -> None:
        self.buffer, self.looks = buffer, looks
        self.shape, self.dtype, self.strides = value.shape, value.dtype, value.strides
        self._value, self._seen = value, buffer.version

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def device(self) -> str:
        """The name of the device that the array will lie on."""
        return self.buffer.device

    @property
    def base(self) -> Buffer:
        """The memory that views share."""
        return self.buffer

    @property
    def flags(self) -> Flags:
        return Flags(lies_in_order(self.shape, self.strides, self.dtype.itemsize), self.buffer.writeable)

    def value(self) -> Value:
        """What is at this place now."""
        recorder = MODES.capture
        if recorder is not None and self.buffer.owner is not recorder:
            recorder.adopt(self.buffer)
        if self._seen != self.buffer.version:
            value = self.buffer.value
            for op, params in self.looks:
                value = look(op, value, params)
            self._value, self._seen = value, self.buffer.version
        return self._value

    def known(self) -> np.ndarray[Any, Any] | None:
        """The values, if they depend on nothing but constants."""
        array = MODES.capture.constants.get(self.buffer.value)
        if array is None or not self.looks:
            return array
        for op, params in self.looks:
            array = op(array, **params)
        return array

    def write(self, new: Any) -> None:
        """Put `new` here, broadcast and cast."""
        check_writable(self)
        recorder = MODES.capture
        if self.buffer.owner is not recorder:
            recorder.adopt(self.buffer)
        value = recorder.operand(new if hasattr(new, "dtype") else np.asarray(new))
        if value.dtype != self.dtype:
            value = recorder.emit(CAST, (value,), {"dtype": self.dtype}, [Spec(value.shape, self.dtype)])[0]
        if self.looks:
            path = tuple((op.name, params) for op, params in self.looks)
            old = self.buffer.value
            value = recorder.emit(put_view, (old, value), {"path": path}, [Spec(old.shape, old.dtype)])[0]
        elif value.shape != self.shape:
            value = look(EXPAND, value, {"shape": self.shape})
        self.buffer.value = value
        self.buffer.version += 1

    def part(self, take: Callable[[Symbol], Symbol], put: Callable[[Symbol, Symbol], Symbol]) -> Symbol:
        """A view of what `take` reads and `put` replaces."""
        buffer = Part(self, take, put)
        return Symbol(buffer, buffer.value)

    def copy(self) -> Symbol:
        """The same values in memory of their own."""
        value = self.value()
        if value.strides != contiguous(value.shape, self.itemsize):
            return _clone(self)
        return Symbol(Buffer(value, self.device), value)

    def moved(self, where: str) -> Symbol:
        """A copy on another device. A Program runs on one, so that this is all there is to it."""
        twin = self.copy()
        twin.buffer.device = where
        return twin

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        """For dtype rules, which look at nothing but shape and dtype."""
        return Outline(self.shape, np.dtype(dtype))

    def _unknown(self, *args: Any, **kwargs: Any) -> Any:
        known = self.known()
        if known is not None:
            return known
        fail(
            PullbackError,
            "this needs a tensor's values, which are not known while a step is being captured",
            "keep the value as a tensor: where() or cond() instead of `if`, while_loop() instead of `while`; or move "
            "this out of the step",
        )

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
        return np.array(self._unknown(), dtype=dtype)

    def __bool__(self) -> bool:
        return bool(self._unknown())

    def __float__(self) -> float:
        return float(self._unknown())

    def __int__(self) -> int:
        return int(self._unknown())

    def __index__(self) -> int:
        return operator.index(self._unknown())

    def __getitem__(self, key: Any) -> Any:
        return self._unknown()[key]

    def __iter__(self) -> Any:
        return iter(self._unknown())

    def __len__(self) -> int:
        return self.shape[0]

    def tolist(self) -> Any:
        return self._unknown().tolist()

    def item(self) -> Any:
        return self._unknown().item()

    def __repr__(self) -> str:
        return f"<symbol {self.dtype}{list(self.shape)}>"


class Outline:
    """Shape and dtype, for dtype and shape rules."""

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: Shape, dtype: Any) -> None:
        self.shape, self.dtype = shape, dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def astype(self, dtype: Any, copy: bool = True) -> Outline:
        return Outline(self.shape, np.dtype(dtype))


def lies_in_order(shape: Shape, strides: Shape, itemsize: int) -> bool:
    """Is it C-contiguous, as NumPy sees it?"""
    step = itemsize
    for n, stride in zip(reversed(shape), reversed(strides), strict=True):
        if n == 0:
            return True
        if n != 1 and stride != step:
            return False
        step *= n
    return True


# -- ops on symbols --------------------------------------------------------------------------------------------------


def record(op: Op, inputs: Sequence[Any], params: dict[str, Any]) -> Any:
    """Run an op on symbols: find what its results look like, and note the instruction."""
    recorder = MODES.capture
    if recorder is None:
        fail(
            PullbackError,
            "a tensor of a captured step is used outside of the step: it has no values",
            "return it from the step instead of keeping it",
        )
    if any(type(v) is Number for v in params.values()):
        params = {k: v.fixed() if type(v) is Number else v for k, v in params.items()}
    where = common(op, inputs)
    specs = infer(op, inputs, params)
    if (folded := fold(recorder, op, inputs, params, specs)) is not None:
        return placed(folded, where)
    if any(None in spec.shape for spec in ([specs] if isinstance(specs, Spec) else specs)):
        fail(
            PullbackError,
            f"{op.name}: the shape of its result depends on values, which are not known while a step is being captured",
            "use something of fixed shape: where() or masked_fill() instead of x[mask], topk() or sort() instead of "
            "nonzero() and unique(), a size given as a number; or move this out of the step",
        )
    if op.view and type(inputs[0]) is Symbol:
        return views(recorder, op, inputs[0], params, specs)
    operands = [recorder.operand(x) for x in inputs]
    several = not isinstance(specs, Spec)
    values = recorder.emit(op, operands, params, specs if several else [specs])
    symbols = tuple([Symbol(Buffer(value, where), value) for value in values])
    return symbols if several else symbols[0]


def placed(out: Any, where: str) -> Any:
    """Results of an op whose inputs lie on a device."""
    if where != "cpu":
        for symbol in out if type(out) is tuple else (out,):
            symbol.buffer.device = where
    return out


def infer(op: Op, inputs: Sequence[Any], params: dict[str, Any]) -> Any:
    """Shapes and dtypes of the results: the dtype rule, then the shape rule."""
    outlines = [
        x.now if type(x) is Number else Outline(x.shape, x.dtype) if isinstance(x, np.ndarray) else x for x in inputs
    ]
    try:
        arrays, restore = op.dtypes(op, outlines)
        specs = op.infer(*arrays, **params)
    except PullbackError:
        raise
    except (ValueError, IndexError, TypeError, OverflowError) as error:
        explain(op, outlines, params, error)
    if isinstance(specs, Spec):
        return _spec(specs, restore)
    return [_spec(spec, restore) for spec in specs]


def _spec(spec: Spec, restore: Any) -> Spec:
    shape, dtype = spec
    if type(shape) is not tuple:
        shape = tuple(shape)
    return Spec(shape, restore if restore is not None and dtype == F32 else dtype)


def fold(recorder: Any, op: Op, inputs: Sequence[Any], params: dict[str, Any], specs: Any) -> Any:
    """What depends on constants alone is computed now, if it is not large."""
    arrays = []
    for x in inputs:
        if type(x) is Symbol:
            known = x.known()
            if known is None:
                return None
            arrays.append(known)
        elif type(x) is Number:
            return None
        elif hasattr(x, "known"):  # on a device
            recorder.check(x)
            arrays.append(x.known())
        else:
            arrays.append(x)
    if op.view and type(inputs[0]) is Symbol:
        return None  # it must stay a view of the same memory
    for spec in [specs] if isinstance(specs, Spec) else specs:
        if None not in spec.shape and math.prod(spec.shape) * spec.dtype.itemsize > LARGEST:
            return None
    out = op(*arrays, **params)
    several = tuple([recorder.symbol_of(array) for array in (out if type(out) is tuple else (out,))])
    return several if type(out) is tuple else several[0]


def look(op: Op, value: Value, params: dict[str, Any], place: Any = None) -> Value:
    """A view of a value, as a value; it lies in memory as the view of `place`, if that is where the value is."""
    recorder = MODES.capture
    spec = op.infer(value, **params)
    strides = view_strides(op, value if place is None else place, params, spec.shape)
    return recorder.emit(op, (value,), params, [spec], [strides])[0]


def views(recorder: Any, op: Op, x: Symbol, params: dict[str, Any], specs: Any) -> Any:
    """Views share x's memory, as far as its layout allows (reshape copies where it must)."""
    value = x.value()
    if op.views is not None:
        looks = op.views(value, **params)
        return tuple([_seen(x, one, given, look(one, value, given, x)) for one, given in looks])
    strides = view_strides(op, x, params, specs.shape)  # the memory's, whatever was last written there
    (new,) = recorder.emit(op, (value,), params, [specs], [strides])
    return Symbol(Buffer(new, x.device), new) if strides is None else _seen(x, op, params, new)


def _seen(x: Symbol, op: Op, params: dict[str, Any], value: Value) -> Symbol:
    return Symbol(x.buffer, value, (*x.looks, (op, params)))


def _clone(x: Symbol) -> Symbol:
    return CLONE(x)


# -- numbers ---------------------------------------------------------------------------------------------------------


class Number:
    """A Python number that may differ from call to call: `source` is an expression for it, `now` its value today."""

    __slots__ = ("leaves", "now", "source")

    def __init__(self, source: str, now: Any, leaves: dict[str, Any]) -> None:
        self.source, self.now, self.leaves = source, now, leaves  # leaves: name in source -> place it is read from

    def fixed(self) -> Any:
        """Today's value; the capture holds only while it stays."""
        MODES.capture.assume(self, self.now)
        return self.now

    def __bool__(self) -> bool:
        return bool(self._asked(f"bool({self.source})", bool(self.now)))

    def _asked(self, source: str, now: Any, leaves: dict[str, Any] | None = None) -> Any:
        MODES.capture.assume(Number(source, now, leaves or self.leaves), now)
        return now

    __float__: Any = lambda self: float(self.fixed())
    __int__: Any = lambda self: int(self.fixed())
    __index__ = lambda self: operator.index(self.fixed())  # noqa: E731
    __hash__: Any = lambda self: hash(self.fixed())
    __str__: Any = lambda self: str(self.fixed())
    __trunc__ = lambda self: math.trunc(self.fixed())  # noqa: E731
    __floor__ = lambda self: math.floor(self.fixed())  # noqa: E731
    __ceil__ = lambda self: math.ceil(self.fixed())  # noqa: E731
    __round__ = lambda self, *digits: round(self.fixed(), *digits)  # noqa: E731
    __divmod__ = lambda self, y: divmod(self.fixed(), y)  # noqa: E731
    __rdivmod__ = lambda self, x: divmod(x, self.fixed())  # noqa: E731
    __class__ = property(lambda self: type(self.now))  # isinstance(lr, float)

    def __format__(self, spec: str) -> str:
        return format(self.fixed(), spec)

    def __repr__(self) -> str:
        return repr(self.now)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
        return np.array(self.fixed(), dtype=dtype)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.fixed() if hasattr(self.now, name) else self.now, name)


numbers.Real.register(Number)


def _binary(name: str, text: str, compute: Callable[[Any, Any], Any], compares: bool) -> None:
    def forward(x: Number, y: Any) -> Any:
        return _combined(text, compute, x, y, compares)

    def backward(y: Number, x: Any) -> Any:
        return _combined(text, compute, x, y, compares)

    setattr(Number, f"__{name}__", forward)
    if not compares:
        setattr(Number, f"__r{name}__", backward)


def _combined(text: str, compute: Callable[[Any, Any], Any], x: Any, y: Any, compares: bool) -> Any:
    for other in (x, y):
        if type(other) not in (Number, float, int, bool):
            return NotImplemented
    source = text.format(*[v.source if type(v) is Number else literal(v) for v in (x, y)])
    leaves = {k: v for n in (x, y) if type(n) is Number for k, v in n.leaves.items()}
    now = compute(*[v.now if type(v) is Number else v for v in (x, y)])
    number = Number(source, now, leaves)
    return number._asked(source, now) if compares else number


def literal(x: Any) -> str:
    """The source of a plain number."""
    return f"float({str(x)!r})" if isinstance(x, float) and not math.isfinite(x) else repr(x)


for _name, _text in {
    "add": "({} + {})", "sub": "({} - {})", "mul": "({} * {})", "truediv": "({} / {})", "pow": "({} ** {})",
    "floordiv": "({} // {})", "mod": "({} % {})",
}.items():  # fmt: skip
    _binary(_name, _text, getattr(operator, _name), False)
for _name, _text in {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}.items():
    _binary(_name, f"({{}} {_text} {{}})", getattr(operator, _name), True)


def _unary(name: str, text: str, compute: Callable[[Any], Any]) -> None:
    setattr(Number, name, lambda x: Number(text.format(x.source), compute(x.now), x.leaves))


_unary("__neg__", "(-{})", operator.neg)
_unary("__pos__", "{}", operator.pos)
_unary("__abs__", "abs({})", abs)


def register() -> None:
    """Let ops run on symbols and on numbers."""
    IMPLEMENTATIONS[Symbol] = IMPLEMENTATIONS[Number] = record
    PLAIN.discard(Number)
    DIRECT.add(Number)


from ...ops.create import cast as CAST  # noqa: E402
from ...ops.create import clone as CLONE  # noqa: E402
from ...ops.shape import expand as EXPAND  # noqa: E402

register()
