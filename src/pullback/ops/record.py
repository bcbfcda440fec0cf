"""An op is one record: all that the system knows about it stands in one place.

    mul = op("mul", "x * y", inputs="x y", torch="torch.mul(x, y)",
             numpy=np.multiply, infer=elementwise, dtypes=promoting, flops=per_element(1),
             vjp={"x": lambda g, y: mul(g, y),          # d(xy) = y dx + x dy
                  "y": lambda g, x: mul(g, x)},
             samples=pairs)

A pullback rule takes the cotangent `g` and then whatever it names: an input (`x`), the result (`out`, or `out0`, `out1`
of several), an input's shape or dtype (`x_shape`, `x_dtype`), a parameter of the op (`dim`), or `needed` (which inputs
want a cotangent); an op of any number of inputs has `*xs`. What an op saves follows from what its needed rules name;
nothing else is kept.

What else a record may say: `vjp_all`, one rule that returns the cotangents of all inputs; `decompose`, the op composed
of others (its pullback too, if there is no rule); `view` or `views`, that results share the input's memory;
`broadcasts`, that inputs may have been broadcast, which the tape then undoes; `ordered`, that results lie in memory in
order whatever the inputs do (those of elementwise ops lie as the inputs do); `in_place`, the same for many rows of
inputs at once, written over the first of them; `zeros=False`, that the rule of an op of several results takes None as
the cotangent of one that nothing was made of.

Rules are written with ops, and ops take Tensors (recorded) or raw arrays (not recorded). So one rule serves a plain
backward pass, higher order derivatives, capture and every engine.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..dtypes import BOOL, F32, F64, FLOATS, HALVES, I64, dtype, get_default_dtype, result_dtype
from ..errors import DTypeError, PullbackError, RangeError, ShapeError, fail
from ..modes import MODES

Array = Any  # an ndarray, a symbol, a jax.Array: whatever class has an implementation
Shape = tuple[int, ...]


class Spec(NamedTuple):
    """What can be known of an array without its values."""

    shape: Shape
    dtype: np.dtype[Any]


class Sample(NamedTuple):
    """One call of an op, used to test it."""

    inputs: tuple[Any, ...]
    params: dict[str, Any] = {}  # noqa: RUF012
    smooth: bool = True  # False: at a kink or tie, or not finite; finite differences mean nothing there
    note: str = ""


class Rule(NamedTuple):
    """A pullback rule and where each of its arguments comes from."""

    call: Callable[..., Any]
    sources: tuple[tuple[str, Any], ...]


class Plan(NamedTuple):
    """For one set of inputs that want gradients: what to save, and which rules to run on which of it."""

    held: tuple[int, ...]  # arrays to save, as places in (*inputs, *results)
    facts: tuple[
        Callable[[Sequence[Any], dict[str, Any]], Any], ...
    ]  # shapes, parameters ...: (arrays, params) -> value
    calls: tuple[tuple[int, Callable[..., Any], tuple[int, ...]], ...]  # (input, rule, places in what was saved)


OPS: dict[str, Op] = {}

# The class of the arrays chooses the implementation: class -> call(op, inputs, params). NumPy's stands in Op.__call__;
# Tensor (the tape) and symbolic arrays put themselves in here.
IMPLEMENTATIONS: dict[type, Callable[[Op, Sequence[Any], dict[str, Any]], Any]] = {}
WATCHERS: list[
    Callable[[Op, Sequence[Any], dict[str, Any], Any], None]
] = []  # told of every op that runs, in any thread
# Runs an op on large arrays in NumPy's place, or gives NotImplemented: call(op, arrays, params). See engines/eager.py.
LARGE_ARRAYS: list[Callable[[Op, Sequence[Any], dict[str, Any]], Any]] = []
# The same for updates of many rows in place: gives the rows that are left.
LARGE_UPDATES: list[Callable[[Op, Sequence[Any], dict[str, Any]], Sequence[Any]]] = []
PLAIN = {np.ndarray, float, int, bool, type(None)}


def implementation_for(cls: type) -> Callable[[Op, Sequence[Any], dict[str, Any]], Any] | None:
    """What runs an op on arrays of this class; None is NumPy."""
    if cls in IMPLEMENTATIONS:
        return IMPLEMENTATIONS[cls]
    for base in cls.__mro__:
        if base in IMPLEMENTATIONS:
            IMPLEMENTATIONS[cls] = IMPLEMENTATIONS[base]
            return IMPLEMENTATIONS[base]
    PLAIN.add(cls)
    return None


class Op:
    """A record. Calling it runs it on Tensors, raw arrays, or anything that has registered an implementation."""

    family = ""  # the file the record stands in
    large = 0  # elements of the first input (of an update: in all rows) from which on those are asked; 0: never

    def __init__(self, name: str, formula: str, **fields: Any) -> None:
        self.name, self.formula = name, formula
        names: str = fields.pop("inputs")
        self.variadic = names.startswith("*")
        self.inputs: tuple[str, ...] = tuple(names.removeprefix("*").split())
        self.numpy: Callable[..., Any] = fields.pop("numpy")
        self.is_ufunc = isinstance(self.numpy, np.ufunc)
        self.infer: Callable[..., Any] = fields.pop("infer")
        self.dtypes: Callable[[Op, list[Any]], tuple[list[Any], Any]] = fields.pop("dtypes")
        self.torch: str = fields.pop("torch")
        self.samples: Callable[[], list[Sample]] = fields.pop("samples")
        self.flops: Callable[..., int] = fields.pop("flops", free)
        # Of an op with several views for results: (op, params) for each, that looks at the input the same way.
        self.views: Callable[..., Any] | None = fields.pop("views", None)
        self.view: bool = fields.pop("view", self.views is not None)
        self.broadcasts: bool = fields.pop("broadcasts", self.infer in (elementwise, comparison))
        self.ordered: bool = fields.pop("ordered", not (self.broadcasts or self.view))
        self.zeros: bool = fields.pop("zeros", True)
        self.decompose: Callable[..., Any] | None = fields.pop("decompose", None)
        self.in_place: Callable[..., Any] | None = fields.pop("in_place", None)
        self.writes: int = fields.pop("writes", 0)
        self.defaults = _defaults(self.numpy, len(self.inputs), self.variadic)
        self.vjp: dict[str, Rule] = {k: Rule(f, self._sources(f)) for k, f in fields.pop("vjp", {}).items()}
        self.vjp_all: Rule | None = None
        if (joint := fields.pop("vjp_all", None)) is not None:
            self.vjp_all = Rule(joint, self._sources(joint))
        elif not self.vjp and self.decompose is not None:
            self.vjp_all = replay_rule(self)
        self.differentiable = bool(self.vjp) or self.vjp_all is not None
        self.plans: dict[int, Plan] = {}
        if fields:
            raise TypeError(f"op {name!r} has no field {', '.join(fields)}")

    def __repr__(self) -> str:
        return f"<op {self.name}: {self.formula}>"

    def __reduce__(self) -> Any:
        return OPS.__getitem__, (self.name,)

    # -- running ---------------------------------------------------------------------------------------------------

    def __call__(self, *inputs: Any, **params: Any) -> Any:
        """Run on whatever class the inputs are."""
        common = None
        for x in inputs:  # the usual case: NumPy arrays of one full-precision type, and numbers
            if type(x) is np.ndarray:
                d = x.dtype
                if d is common:
                    continue
                if common is None and (d is F32 or d is F64):
                    common = d
                    continue
            elif type(x) is float or type(x) is int:
                continue
            elsewhere = IMPLEMENTATIONS.get(type(x))
            return self.run(inputs, params) if elsewhere is None else elsewhere(self, inputs, params)
        if common is None:
            return self.run(inputs, params)
        return self.compute(inputs, params, inputs)

    def run(self, inputs: Sequence[Any], params: dict[str, Any]) -> Any:
        """Let the class of the inputs choose who computes; NumPy's arrays in the dtypes that PyTorch would have."""
        for x in inputs:
            if type(x) not in PLAIN and (elsewhere := implementation_for(type(x))) is not None:
                return elsewhere(self, inputs, params)
        try:
            arrays, restore = self.dtypes(self, inputs)  # type: ignore[arg-type]
        except PullbackError:
            raise
        except (ValueError, IndexError, TypeError, OverflowError) as error:
            explain(self, inputs, params, error)
        return _finish(self.compute(arrays, params, inputs), restore)

    def compute(self, arrays: Sequence[Any], params: dict[str, Any], given: Sequence[Any]) -> Any:
        """Call the NumPy implementation; `given` is what the user gave, for the error message."""
        if self.large and type(first := arrays[0]) is np.ndarray and first.size >= self.large:
            out = LARGE_ARRAYS[0](self, arrays, params)
            if out is not NotImplemented:
                for watch in WATCHERS:
                    watch(self, arrays, params, out)
                return out
        try:
            out = MODES.quietly(self.numpy, *arrays, **params) if params else MODES.quietly(self.numpy, *arrays)
        except PullbackError:
            raise
        except (ValueError, IndexError, TypeError, OverflowError) as error:
            explain(self, given, params, error)
        if type(out) is not np.ndarray:
            out = _finish(out, None)
            if self.ordered and type(out) is tuple:
                out = tuple([np.ascontiguousarray(x) if x.ndim else x for x in out])
        elif self.ordered and not out.flags.c_contiguous:
            out = np.ascontiguousarray(out)
        for watch in WATCHERS:
            watch(self, arrays, params, out)
        return out

    def into(self, out: np.ndarray[Any, Any], *arrays: Any) -> None:
        """Run an elementwise op and write its result over `out`."""
        d = out.dtype
        if self.is_ufunc and (d is F32 or d is F64):
            for a in arrays:
                if type(a) is not np.ndarray or a.dtype is not d:
                    break
            else:
                MODES.quietly(self.numpy, *arrays, out)
                for watch in WATCHERS:
                    watch(self, arrays, {}, out)
                return
        out[...] = self(*arrays)

    def overwrite(self, rows: Sequence[tuple[Any, ...]], params: dict[str, Any], skip: Any = None) -> None:
        """Run on many rows of NumPy arrays, writing the results over the first of each; if `skip` is not 0, do not."""
        assert self.in_place is not None
        if skip is not None and skip.any():
            return
        if left := LARGE_UPDATES[0](self, rows, params) if self.large else rows:
            MODES.quietly(self.in_place, left, **params)
        for watch in WATCHERS:
            for row in rows:
                watch(self, row, params, row)

    # -- pulling back ----------------------------------------------------------------------------------------------

    def _sources(self, rule: Callable[..., Any]) -> tuple[tuple[str, Any], ...]:
        """Where each argument of a rule, after the cotangent, comes from."""
        code = rule.__code__  # inspect.signature would take a tenth of a second for all ops
        names = code.co_varnames[1 : code.co_argcount]
        rest = (("inputs", None),) if code.co_flags & inspect.CO_VARARGS else ()
        return (*[self._source(name) for name in names], *rest)

    def _source(self, name: str) -> tuple[str, Any]:
        stem, _, what = name.rpartition("_")
        if self.variadic and stem == self.inputs[0] and what == "shapes":
            return "shapes", None
        if name in self.inputs:
            return "input", self.inputs.index(name)
        if stem in self.inputs and what in ("shape", "dtype"):
            return what, self.inputs.index(stem)
        if name == "out":
            return "output", 0
        if name.startswith("out") and name[3:].isdigit():
            return "output", int(name[3:])
        if name == "needed":
            return "needed", None
        return "param", name

    def plan(self, needed: int) -> Plan:
        """What to save and what to run when just these inputs want a cotangent; kept in `plans`.

        `needed` is 1 followed by a bit for each input: 0b110 is the first of two.
        """
        plan = self.plans[needed] = self._make_plan(tuple(bit == "1" for bit in f"{needed:b}"[1:]))
        return plan

    def _make_plan(self, needed: tuple[bool, ...]) -> Plan:
        n = len(needed)
        if self.vjp_all is not None:
            rules = [(-1, self.vjp_all)]
        else:
            rules = [
                (i, self.vjp[name]) for i, name in enumerate(self.inputs) if i < n and needed[i] and name in self.vjp
            ]

        def expanded(rule: Rule) -> list[tuple[str, Any]]:  # `*xs` is every input
            return [e for s in rule.sources for e in ([("input", i) for i in range(n)] if s[0] == "inputs" else [s])]

        sources = list(dict.fromkeys(source for _, rule in rules for source in expanded(rule)))
        arrays = [s for s in sources if s[0] in ("input", "output") and (s[0] == "output" or s[1] < n)]
        others = [s for s in sources if s not in arrays]
        place = {source: k for k, source in enumerate(arrays + others)}
        return Plan(
            tuple(which if kind == "input" else n + which for kind, which in arrays),
            tuple(self._fact(kind, which, needed) for kind, which in others),
            tuple((i, rule.call, tuple(place[s] for s in expanded(rule))) for i, rule in rules),
        )

    def pull_view(self, g: Any, shape: Shape, params: dict[str, Any]) -> Any:
        """A view op's rule by itself: g of the view, laid into zeros of the shape looked at."""
        rule = self.vjp[self.inputs[0]]
        given = {**self.defaults, **params}
        facts = [shape if kind == "shape" else given.get(which) for kind, which in rule.sources]
        return rule.call(g, *facts)

    def _fact(self, kind: str, which: Any, needed: tuple[bool, ...]) -> Callable[[Sequence[Any], dict[str, Any]], Any]:
        """How to read something that is not an array off a call."""
        if kind == "shape":
            return lambda arrays, params: getattr(arrays[which], "shape", ())
        if kind == "dtype":
            return lambda arrays, params: arrays[which].dtype
        if kind == "shapes":
            return lambda arrays, params: tuple(a.shape for a in arrays)
        if kind == "needed":
            return lambda arrays, params: needed
        if kind == "input":  # left out by the caller
            return lambda arrays, params: None
        default = self.defaults.get(which)
        return lambda arrays, params: params.get(which, default)


def op(name: str, formula: str, **fields: Any) -> Op:
    """Make an op's record and enter it in the table."""
    if name in OPS:
        raise ValueError(f"there are two ops called {name!r}")
    OPS[name] = record = Op(name, formula, **fields)
    record.family = sys._getframe(1).f_globals["__name__"].rpartition(".")[2]
    return record


def replay_rule(self: Op) -> Rule:
    """The pullback of an op that only says what it is composed of: run the composition and walk back through it."""

    def rule(g: Any, *saved: Any) -> Any:
        *values, needed = saved
        params = dict(zip(self.defaults, values[n:], strict=True))
        return REPLAY[0](self.decompose, values[:n], params, needed, g)

    n = len(self.inputs)
    return Rule(rule, (*[("input", i) for i in range(n)], *[("param", p) for p in self.defaults], ("needed", None)))


REPLAY: list[Callable[..., Any]] = []  # the tape's vjp-of-a-function, put here by the tape


def _defaults(function: Callable[..., Any], inputs: int, variadic: bool) -> dict[str, Any]:
    """The op's parameters and their defaults, read off its NumPy implementation."""
    if isinstance(function, np.ufunc):
        return {}
    code: Any = getattr(function, "__code__", None)
    if code is None:
        return {}
    names = code.co_varnames[: code.co_argcount]
    keywords = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    given: Any = function
    last = given.__defaults__ or ()
    defaults = {**dict(zip(names[len(names) - len(last) :], last, strict=True)), **(given.__kwdefaults__ or {})}
    return {name: defaults.get(name) for name in (() if variadic else names[inputs:]) + keywords}


def _finish(out: Any, restore: Any) -> Any:
    """NumPy's scalars become 0-d arrays; results computed in float32 for a half type go back to it."""
    if type(out) is tuple:
        return tuple(_finish(o, restore) for o in out)
    if type(out) is not np.ndarray:
        out = np.asarray(out)
    return out.astype(restore) if restore is not None and out.dtype == F32 else out


# -- dtype rules: arrays -> (arrays to compute on, half type to give back or None) --------------------------------


def promoting(op: Op, arrays: Sequence[Any]) -> tuple[Sequence[Any], Any]:
    """PyTorch's promotion: all inputs in their common type; Python numbers are weak."""
    common: np.dtype[Any] | None = None  # the quick way: arrays of one float type, and numbers
    for a in arrays:
        cls = type(a)
        if cls is np.ndarray:
            if (d := a.dtype) is not common:
                if common is not None or not (d is F32 or d is F64):
                    break
                common = d
        elif cls is not float and cls is not int:
            break
    else:
        if common is not None:
            return arrays, None
    return _convert(arrays, result_dtype(arrays))  # type: ignore[arg-type]


def floating(op: Op, arrays: Sequence[Any]) -> tuple[Sequence[Any], Any]:
    """As `promoting`, and integers become the default float type."""
    first = arrays[0]
    if len(arrays) == 1 and type(first) is np.ndarray and (first.dtype is F32 or first.dtype is F64):
        return arrays, None
    promoted, restore = promoting(op, arrays)
    first = promoted[0]  # a number where the rest is floating point already
    if hasattr(first, "dtype") and first.dtype not in FLOATS:
        return _convert(arrays, get_default_dtype().numpy)
    return promoted, restore


def floats_only(op: Op, arrays: Sequence[Any]) -> tuple[Sequence[Any], Any]:
    """As `promoting`, for ops that have no meaning for integers."""
    promoted, restore = promoting(op, arrays)
    for a in promoted:
        if hasattr(a, "dtype") and a.dtype not in FLOATS:
            fail(
                DTypeError,
                f"{op.name} is defined for floating point tensors, but got {dtype.by_numpy[a.dtype].name}",
                "convert it first: x.float()",
            )
    return promoted, restore


def summing(op: Op, arrays: Sequence[Any]) -> tuple[Sequence[Any], Any]:
    """Integers and booleans add up in int64."""
    first = arrays[0]
    if first.dtype is F32 or first.dtype is F64:
        return arrays, None
    return _convert(arrays, first.dtype if first.dtype in FLOATS else I64)


def matching(op: Op, arrays: Sequence[Any]) -> tuple[Sequence[Any], Any]:
    """All arrays must have one type already (matmul and its kin)."""
    present = [a for a in arrays if a is not None]
    common = present[0].dtype
    for a in present:
        if a.dtype is not common and a.dtype != common:
            names = ", ".join(dtype.by_numpy[p.dtype].name for p in present)
            fail(DTypeError, f"{op.name}: expected one dtype, but got {names}", "convert one of them with .to(dtype)")
    if common in HALVES:
        return _convert(arrays, common)
    return arrays, None


def per_input(op: Op, arrays: Sequence[Any]) -> tuple[Sequence[Any], Any]:
    """Each array keeps its own type; the op moves data and does no arithmetic."""
    return arrays, None


def arithmetic(op: Op, arrays: Sequence[Any]) -> tuple[Sequence[Any], Any]:
    """Each array keeps its own type; half types are computed in float32 and given back as the first array's type."""
    first = arrays[0]
    if first.dtype not in HALVES:
        return arrays, None
    return [a.astype(F32) if getattr(a, "dtype", None) in HALVES else a for a in arrays], first.dtype


def _convert(arrays: Sequence[Any], common: np.dtype[Any]) -> tuple[Sequence[Any], Any]:
    compute = F32 if common in HALVES else common
    converted = [
        a
        if a is None
        else np.asarray(a).astype(compute)
        if type(a) in (float, int, bool)
        else a.astype(compute, copy=False)
        for a in arrays
    ]
    return converted, (common if common in HALVES else None)


# -- shape rules -----------------------------------------------------------------------------------------------------


def elementwise(*xs: Any, **params: Any) -> Spec:
    """Inputs broadcast against each other."""
    return Spec(broadcast(*xs), next(x.dtype for x in xs if hasattr(x, "dtype")))


def comparison(*xs: Any, **params: Any) -> Spec:
    """As elementwise, with a boolean result."""
    return Spec(broadcast(*xs), BOOL)


def same(x: Any, *others: Any, **params: Any) -> Spec:
    """The first input's shape and type."""
    return Spec(x.shape, x.dtype)


def broadcast(*xs: Any) -> Shape:
    """The common shape, or an error that names the dimension."""
    shapes = [x.shape for x in xs if hasattr(x, "shape")]
    rank = max(map(len, shapes))
    out = [1] * rank
    for shape in shapes:
        for i, n in enumerate(shape, rank - len(shape)):
            if out[i] not in (1, n) and n != 1:
                raise ValueError(f"sizes {out[i]} and {n} at dimension {i} do not broadcast")
            if n != 1:
                out[i] = n
    return tuple(out)


def broadcasts_to(small: Shape, large: Shape) -> bool:
    """Does an array of the one shape broadcast to the other?"""
    return len(small) <= len(large) and all(s in (1, n) for s, n in zip(small[::-1], large[::-1], strict=False))


def normal_dims(dim: Any, ndim: int) -> tuple[int, ...]:
    """Dimensions as non-negative numbers; None is all of them."""
    if dim is None:
        return tuple(range(ndim))
    dims = tuple(dim) if isinstance(dim, (tuple, list)) else (dim,)
    normal = tuple(normal_dim(d, ndim) for d in dims)
    if len(set(normal)) != len(normal):
        fail(PullbackError, f"dim {dim} names a dimension twice", "name each dimension once")
    return normal


def normal_dim(dim: int, ndim: int) -> int:
    """One dimension as a non-negative number."""
    n = max(ndim, 1)
    if not -n <= dim < n:
        fail(RangeError, f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {dim})")
    return dim % n


def reduced(x: Any, dim: Any = None, keepdim: bool = False, **params: Any) -> Spec:
    """The shape after a reduction over `dim` (None: all)."""
    dims = normal_dims(dim, len(x.shape))
    shape = tuple(1 if i in dims else n for i, n in enumerate(x.shape) if keepdim or i not in dims)
    return Spec(shape, x.dtype)


# -- FLOPs: (arrays, params, result) -> a count ---------------------------------------------------------------------


def free(arrays: Sequence[Any], params: dict[str, Any], out: Any) -> int:
    """Data movement: no arithmetic."""
    return 0


def per_element(n: int) -> Callable[..., int]:
    """n operations per element of the (first) result."""
    return lambda arrays, params, out: n * math.prod((out[0] if type(out) is tuple else out).shape)


def per_input_element(n: int) -> Callable[..., int]:
    """n operations per element of the first input, as reductions have."""
    return lambda arrays, params, out: n * math.prod(arrays[0].shape)


def bias_flops(arrays: Sequence[Any], out: Any) -> int:
    """An addition for each element, if the third input is a bias."""
    return math.prod(out.shape) if len(arrays) > 2 and arrays[2] is not None else 0


# -- errors ----------------------------------------------------------------------------------------------------------


def explain(op: Op, arrays: Sequence[Any], params: dict[str, Any], error: Exception) -> None:
    """Say which op was called with what, instead of what NumPy noticed."""
    names = op.inputs * len(arrays) if op.variadic else op.inputs
    given = ", ".join(f"{n}: {describe(a)}" for n, a in zip(names, arrays, strict=False) if a is not None)
    options = "".join(f", {k}={v!r}" for k, v in params.items())
    reason = str(error)
    kind: type[PullbackError] = (
        DTypeError if isinstance(error, TypeError) else RangeError if isinstance(error, IndexError) else PullbackError
    )
    todo = "check the arguments against the formula above"
    if kind is RangeError:
        todo = "every index must lie in -size ... size - 1 of the dimension it indexes: print its largest and smallest"
    if isinstance(error, ValueError) and not isinstance(error, PullbackError):
        kind, todo = (
            ShapeError,
            "make the shapes fit: print them before this line, or unsqueeze/expand/transpose one side",
        )
        if op.broadcasts:
            try:
                broadcast(*arrays)
            except ValueError as precise:
                reason = str(precise)
    try:
        fail(kind, f"{op.name}({given}{options}): {reason}\n  {op.name} computes {op.formula}", todo)
    except PullbackError as clear:
        raise clear from error


def describe(x: Any) -> str:
    """`float32[3, 4]` for arrays, the number itself otherwise."""
    if hasattr(x, "shape") and hasattr(x, "dtype"):
        name = dtype.by_numpy[x.dtype].name if x.dtype in dtype.by_numpy else str(x.dtype)
        return f"{name}{list(x.shape)}"
    return repr(x)
