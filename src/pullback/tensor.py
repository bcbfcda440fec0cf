"""Tensor and Storage: an array, its gradient, and its place on the tape.

A Tensor is a view of a Storage. Several Tensors may view one Storage; every write goes through it and raises its
version, so that a value needed by backward cannot be overwritten unnoticed. What Tensors can do (operators, methods) is
put on the class by `pullback.functions`; how gradients flow through them is in `pullback.tape`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from . import devices, errors
from .dtypes import FLOATS, dtype
from .errors import GradientError, PullbackError, ShapeError, fail, warn
from .modes import CHANGES, MODES

if TYPE_CHECKING:
    from .tape import Node


tick = itertools.count(1).__next__  # one clock for nodes and writes


class Storage:
    """Memory that tensors view. The one place through which it is written."""

    version = 0  # how often it was written
    written = 0  # when it was written last, by the clock that also numbers the nodes of the tape
    writer: errors.Position | None = None  # at which line

    def __init__(self, array: Any) -> None:
        self.array = array

    def data_ptr(self) -> int:
        """The address of the memory."""
        array = self.array
        return int(array.__array_interface__["data"][0] if type(array) is np.ndarray else array.data_ptr())

    def nbytes(self) -> int:
        """How much memory it is."""
        return int(self.array.nbytes)

    def size(self) -> int:
        """How many elements there are in it."""
        return int(self.array.size)

    def wrote(self) -> None:
        """Note that the memory has changed, and who changed it."""
        self.version += 1
        self.written = tick()
        self.writer = errors.here()

    def write(self, tensor: Tensor, value: Any) -> None:
        """Put `value` (already of the right dtype, broadcastable) where `tensor` looks."""
        target = tensor._array
        if type(target) is np.ndarray:
            check_writable(target)
            np.copyto(target, value, casting="unsafe")  # a symbol refuses: see its __array__
        else:  # symbols, and arrays on devices
            target.write(value)
        self.wrote()


def wrote(storages: Iterable[Storage]) -> None:
    """Note that all these have changed at once."""
    now, line = tick(), errors.here()
    for storage in storages:
        storage.version += 1
        storage.written, storage.writer = now, line


def check_writable(array: Any) -> None:
    """Refuse to write where one memory cell stands for several elements, or where memory is read-only."""
    if (
        0 in array.strides
        and array.size
        and any(s == 0 and n > 1 for s, n in zip(array.strides, array.shape, strict=True))
    ):
        fail(
            PullbackError,
            "unsupported operation: more than one element of the written-to tensor refers to a single memory location",
            "clone() the expanded tensor before writing to it",
        )
    if not array.flags.writeable:
        fail(
            PullbackError,
            "the tensor's memory is read-only (it was made from a read-only NumPy array)",
            "clone() it first",
        )


MOVED = (
    "the tensor that this is a view of has been given another shape or other memory in place, and one of them has been "
    "written since: how gradients flow from here to there is not known any more",
    "make the view anew after t_(), squeeze_(), x.data = y and the like",
)


class Size(tuple[int, ...]):
    """A shape."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"torch.Size({list(self)})"

    def numel(self) -> int:
        n = 1
        for size in self:
            n *= size
        return n

    def __getitem__(self, key: Any) -> Any:
        item = super().__getitem__(key)
        return Size(item) if isinstance(key, slice) else item

    def __add__(self, other: Any) -> Size:
        return Size(super().__add__(tuple(other)))

    def __radd__(self, other: tuple[int, ...]) -> Size:
        return Size((*other, *self))

    def __reduce__(self) -> Any:
        return Size, (tuple(self),)


class device:  # noqa: N801 (PyTorch's name)
    """Where a tensor lives. As a context manager: where tensors are made inside."""

    __slots__ = ("index", "type")

    type: str
    index: int | None

    def __init__(self, type: Any = "cpu", index: int | None = None) -> None:
        self.type, number = devices.parsed(type)
        self.index = index if number is None else number

    def __repr__(self) -> str:
        return f"device(type={self.type!r}" + (f", index={self.index})" if self.index is not None else ")")

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and (self.type, self.index or 0) == (other.type, other.index or 0)

    def __hash__(self) -> int:
        return hash((self.type, self.index or 0))

    def __reduce__(self) -> Any:
        return device, (self.type, self.index)

    def __enter__(self) -> device:
        MODES.devices.append(MODES.device)
        MODES.device = devices.named(self)
        return self

    def __exit__(self, *error: object) -> None:
        MODES.device = MODES.devices.pop()


CPU = device("cpu")


def check_device(where: Any) -> str | None:
    """The full name of a device; refused if it is not here."""
    return None if where is None else "cpu" if where is CPU or where == "cpu" else devices.named(where)


class Tensor:
    """An n-dimensional array that can be differentiated through."""

    # Defaults stand on the class, so that making a tensor sets just what differs.
    _node: Node | None = None  # the op that made it
    _requires_grad = False  # set by the user: a leaf that wants its gradient
    _grad: Tensor | None = None
    _base: Tensor | None = None  # the tensor this one is a view of ...
    _path: (
        tuple[tuple[Any, dict[str, Any]], ...] | None
    ) = ()  # ... by these view ops; None: made where nothing was recorded
    _seen = 0  # storage version at which _node was right, for views
    _moved = 0  # when other memory or another layout last took its place: views from before have lost their way
    _hooks: dict[int, Any] | None = None
    _after_hooks: dict[int, Any] | None = None
    _retained: Any = None  # the hook that fills .grad, if this is not a leaf and retain_grad() was called
    _id = 0  # when it was first used as a leaf, by the clock of the tape
    _lent: Any = None  # of a parameter: the compiled step that fills its gradient, and may use the same Tensor again
    _clipped: Any = None  # of a gradient: its version when it was clipped, and where that was
    _cut: Any = None  # how and where the graph was cut here, for why_grad()
    _array: Any
    _storage: Storage

    __array_priority__ = 1000  # NumPy's operators give way to ours

    if TYPE_CHECKING:  # methods are put on by pullback.functions

        def __getattr__(self, name: str) -> Any: ...
        def __add__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __or__(self, other: Any) -> Tensor: ...
        def __and__(self, other: Any) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __getitem__(self, key: Any) -> Tensor: ...
        def __setitem__(self, key: Any, value: Any) -> None: ...
        def __len__(self) -> int: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __iter__(self) -> Any: ...
        def __float__(self) -> float: ...
        def __int__(self) -> int: ...

    def __new__(cls, *data: Any, **options: Any) -> Tensor:
        """`Tensor([1, 2])` or `Tensor(2, 3)`: PyTorch's older constructor."""
        self = super().__new__(cls)
        if data and isinstance(data[0], Tensor):
            self._array, self._storage = data[0]._array, data[0]._storage
        elif len(data) == 1 and not isinstance(data[0], int):
            _fill(self, np.array(data[0], dtype=dtype.by_name["float32"].numpy))
        else:
            _fill(self, np.zeros(data or (0,), dtype=dtype.by_name["float32"].numpy))
        return self

    __hash__ = object.__hash__

    # -- what it is -----------------------------------------------------------------------------------------------

    @property
    def shape(self) -> Size:
        return Size(self._array.shape)

    @property
    def dtype(self) -> dtype:
        return dtype.by_numpy[self._array.dtype]

    @property
    def npdtype(self) -> np.dtype[Any]:
        """NumPy's name for the dtype; the tape and the ops speak it."""
        return self._array.dtype

    @property
    def device(self) -> device:
        array = self._array
        return CPU if type(array) is np.ndarray or array.device == "cpu" else device(array.device)

    @property
    def ndim(self) -> int:
        return self._array.ndim

    # -- its place on the tape ------------------------------------------------------------------------------------

    @property
    def requires_grad(self) -> bool:
        return (
            self._requires_grad
            or self._node is not None
            or (self._base is not None and self._base.requires_grad and bool(self._path))
        )

    @requires_grad.setter
    def requires_grad(self, on: bool) -> None:
        if not on and self._node is not None:
            fail(
                GradientError,
                "you can only change requires_grad flags of leaf variables; this tensor was computed",
                "use y = x.detach() to get a tensor that is cut from the graph",
                made=self._node.position,
            )
        if on and self._array.dtype not in FLOATS:
            fail(
                GradientError,
                f"only Tensors of floating point dtype can require gradients; this one is {self.dtype}",
                "convert it first: x.float().requires_grad_()",
            )
        if self._node is None:
            self._requires_grad = bool(on)
            CHANGES.count += 1

    @property
    def is_leaf(self) -> bool:
        return not self.requires_grad or (self._requires_grad and self._node is None)

    @property
    def grad(self) -> Tensor | None:
        if self._lent is not None:  # from here on it may be held by somebody
            self._lent.seen = True
        if self._grad is None and self._node is not None and self._retained is None:
            warn(
                "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed: backward() does not fill "
                "it; call .retain_grad() on it before backward()"
            )
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                fail(
                    PullbackError,
                    f"assigned grad expected to be a Tensor or None but got {type(value).__name__}",
                    "wrap it: pullback.tensor(value)",
                )
            if value.shape != self.shape:
                fail(
                    ShapeError,
                    f"assigned grad has data of a different size: {list(value.shape)}, not {list(self.shape)}",
                )
            if value.npdtype != self.npdtype:
                fail(
                    PullbackError,
                    f"assigned grad has data of a different type: {value.dtype}, but the tensor is {self.dtype}",
                )
            if type(value._array) is not type(self._array) and value.device != self.device:
                fail(
                    PullbackError,
                    f"assigned grad has data located on a different device: {value.device}, not {self.device}",
                    "move it with .to(device)",
                )
            if value is self:
                fail(PullbackError, "can't assign a Variable as its own grad")
        self._grad = value

    @grad.deleter
    def grad(self) -> None:
        self._grad = None

    @property
    def _version(self) -> int:
        """How many times the memory has been written in place."""
        return self._storage.version


def _fill(tensor: Tensor, array: Any) -> None:
    tensor._array = array
    tensor._storage = Storage(array)


_new = object.__new__


def wrap(array: Any) -> Tensor:
    """A new tensor that owns `array`."""
    tensor = _new(Tensor)
    tensor._array = array
    tensor._storage = storage = _new(Storage)  # half the time of Storage(array)
    storage.array = array
    return tensor


def alias(x: Tensor, array: Any) -> Tensor:
    """A new tensor over the same storage as `x`, not a part of its graph."""
    tensor = _new(Tensor)
    tensor._array = array
    tensor._storage = x._storage
    return tensor


def shares(array: Any, x: Tensor) -> bool:
    """Did a view op really give a view? (reshape copies where it must)"""
    source = x._array
    if type(array) is not np.ndarray:  # symbols and arrays on devices say whose memory it is
        return getattr(array, "base", None) is getattr(source, "base", None)
    base = array.base
    return array is source or (
        base is not None and (base is source or base is source.base or np.may_share_memory(array, source))
    )


def look_through(x: Tensor, view: Tensor, op: Any, params: dict[str, Any]) -> None:
    """Make `view` share x's storage, and remember how it looks at the tensor that owns it."""
    view._storage, view._seen = x._storage, x._storage.version
    view._base = base = x if x._base is None else x._base
    if base._moved:
        view._moved = base._moved
    view._path = None if x._path is None or not MODES.grad else (*x._path, (op, params))
