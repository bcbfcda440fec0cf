"""verify(): is what the engines compute what the program means?

    report = pullback.verify(step, x, y)
    print(report)                       # each result, how far eager and each engine are from float64
    report.ok, report.first             # is all well? the first instruction that is not

One step is run by Python as it stands (eagerly), by every engine, and once in float64, each time from the same state
and the same random numbers; afterwards all state is what it was. A result fails if it is further from float64 than 4
times what eager is (or what rounding makes of it, see `verify_replay`), plus a floor: `FLOOR` of its dtype times its
largest element. Integers and booleans must be eager's. Pullback rules, which eager and engines share, are compared with
differences of values (`verify_rules`).
"""

from __future__ import annotations

import functools
import importlib
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import trees
from ...errors import PullbackError, fail, here
from ...modes import MODES, Switch
from ...ops.record import WATCHERS, Op
from ...tensor import Tensor
from .. import passes
from ..call import compiled as compiling
from ..call.bind import Entry
from ..call.conditions import different, memory_of
from ..capture.captured import Constant, Fresh, Nest, Record, Same
from ..capture.gradient import Ways
from ..capture.places import PLAIN_TYPES
from ..capture.session import capture
from ..capture.symbol import Number
from ..program import Instruction, Line, Program, Value
from .gradient import WayBack
from .replay import FLOOR, Truth, begin, replay, run, widened
from .rules import Rules, Wrong
from .state import State, same, unlike

CHUNK = 256  # so many intermediate values an engine is asked for at once

Values = dict[Value, Any]


class First(NamedTuple):
    """The first instruction whose value is not right."""

    instruction: Instruction
    engine: str  # empty, if already what was captured is not what eager does
    change: str  # the pass that broke it, if one did
    error: float = math.inf  # relative
    tolerance: float = 0.0
    note: str = ""

    @property
    def op(self) -> str:
        return self.instruction.op.name

    @property
    def line(self) -> Line | None:
        return self.instruction.line

    @property
    def module(self) -> str:
        return self.instruction.module

    @property
    def phase(self) -> str:
        return self.instruction.phase

    def __str__(self) -> str:
        at = f" at {self.line}: {self.line.text}" if self.line else ""
        inside = f", in {self.module}" if self.module else ""
        by = f"the pass `{self.change}`" if self.change else f"the {self.engine} engine" if self.engine else "capture"
        how = self.note or f"off by {self.error:.2g}, where {self.tolerance:.2g} is allowed"
        return f"{self.op} ({self.phase}){at}{inside}: {how}, because of {by}"


class Row(NamedTuple):
    """One result: how far eager and each engine are from float64, relative to its largest element."""

    name: str
    dtype: str
    eager: float
    errors: dict[str, float]
    allowed: float

    @property
    def failed(self) -> list[str]:
        """Who is too far off."""
        errors = {"eager": self.eager, **self.errors}
        return [name for name, error in errors.items() if not error <= self.allowed]


class Report:
    """What verify() found; true if all is well."""

    def __init__(self, name: str, engines: Sequence[str]) -> None:
        self.name, self.engines = name, list(engines)
        self.rows: list[Row] = []
        self.differences: list[str] = []  # of Python's values, and of what should not have been written
        self.raised: dict[str, str] = {}  # engines that failed
        self.refused: dict[str, str] = {}  # engines that do not run such a step, and say so
        self.first: First | None = None
        self.wrong_rules: list[Wrong] = []
        self.rules = 0  # how many pullbacks were compared with differences

    @property
    def ok(self) -> bool:
        """Is everything right?"""
        return not (self.differences or self.raised or self.wrong_rules or any(row.failed for row in self.rows))

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        head = ["result", "dtype", "eager", *self.engines, "allowed", "verdict"]
        lines = [head]
        for row in self.rows:
            errors = [f"{row.errors[e]:.1e}" if e in row.errors else "-" for e in self.engines]
            verdict = f"WRONG: {', '.join(row.failed)}" if row.failed else "ok"
            lines.append([row.name, row.dtype, f"{row.eager:.1e}", *errors, f"{row.allowed:.1e}", verdict])
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        verdict = "verified" if self.ok else "NOT what it should be"
        text = [f"{self.name}: {verdict}; errors are relative to a replay in float64"]
        text += ["  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines]
        text += [f"different: {difference}" for difference in self.differences]
        text += [f"{engine} failed: {reason}" for engine, reason in self.raised.items()]
        text += [f"{engine} does not run this step: {reason}" for engine, reason in self.refused.items()]
        if self.rules:
            text.append(f"{self.rules} pullbacks compared with differences of values, {len(self.wrong_rules)} wrong")
        text += [f"wrong rule: {wrong}" for wrong in self.wrong_rules]
        if self.first is not None:
            text.append(f"first: {self.first}")
        return "\n".join(text)

    __repr__ = __str__


# -- entry points ------------------------------------------------------------------------------------------------------


@Switch(plain=True)  # an engine's kernels are not to be compared with themselves
def verify(
    step: Callable[..., Any],
    *batch: Any,
    finite_differences: bool = True,
    engines: Iterable[str] | None = None,
    **kwargs: Any,
) -> Report:
    """Run a step, compiled or not, on every engine and compare; all state stays as it is."""
    if MODES.capture is not None:
        fail(PullbackError, "verify() inside of a step that is being captured", "call it from outside")
    whole: Any = step
    if isinstance(whole, functools.partial):  # a compiled method
        whole, batch, kwargs = whole.func, (*whole.args, *batch), {**whole.keywords, **kwargs}
    compiled = whole if isinstance(whole, compiling.Compiled) else compiling.Compiled(whole)
    function, names = compiled._function, list(available() if engines is None else engines)
    for name in names:
        compiling.engine_named(name)
    before = State(function, batch, kwargs)
    try:
        trial = Trial(compiled, entry_for(compiled, batch, kwargs), batch, kwargs)
        report = trial.report(names)
        if finite_differences:
            rules = Rules()
            replay(trial.raw, trial.inputs(), (), rules.visit)
            for view in trial.views:
                rules.visit(view, [widened(x) for x in view.inputs], view.params)
            report.wrong_rules, report.rules = rules.wrong, rules.checked
        return report
    finally:
        before.restore()


@Switch(plain=True)
def verified_call(compiled: compiling.Compiled, entry: Entry, args: Any, kwargs: Any, inputs: Sequence[Any]) -> Any:
    """A call of a compiled step that is compared with running the function; raises if they differ."""
    trial = Trial(compiled, entry, args, kwargs, gradients=False)
    eager = trial.eager()
    try:
        results = entry.run(trial.inputs())
        found, returned = trial.finished(results)
        problems = [*eager.problems, *trial.unlike(found, eager)]
        pairs = zip(found.arrays, eager.arrays, strict=True)
        if not problems and trial.on_host and all(b.dtype == object or same(a, b) for a, b in pairs):
            return returned
        trial.state.restore()
        truths, wrong, lost = trial.truths(), [], []
        for name, truth, x, y in zip(trial.names, truths, found.arrays, eager.arrays, strict=True):
            wrong.append(not truth.holds(x))
            lost.append(y.dtype != object and not truth.holds(y))
            allowed = relative(truth.tolerance, truth)
            for who, array, bad in ((compiled._engine, x, wrong[-1]), ("eager", y, lost[-1])):
                if bad:
                    off = relative(truth.error(array), truth)
                    problems.append(f"{name}: {who} is off by {off:.2g}, where {allowed:.2g} is allowed")
        if problems:
            first = trial.first(compiled._engine, wrong, lost)
            fail(
                PullbackError,
                f"{trial.raw.name}: the {compiled._engine} engine does not give what eager gives"
                + "".join(f"\n  {text}" for text in problems)
                + (f"\n  first: {first}" if first else ""),
                f"run it eagerly, or with another engine; pullback.verify({trial.raw.name}, ...) tells more",
            )
        return trial.finished(results)[1]
    except BaseException:
        trial.state.restore()
        raise


def available() -> list[str]:
    """The engines that can be used here."""
    found = []
    for name, path in compiling.ENGINES.items():
        try:
            module = importlib.import_module(path)
            if hasattr(module, "build") and getattr(module, "available", lambda: True)():
                found.append(name)
        except (ImportError, PullbackError):
            continue
    return found


def entry_for(compiled: compiling.Compiled, args: Any, kwargs: Any) -> Entry:
    """The step as it has been captured for such arguments; or captured now, which `compiled` does not keep."""
    for entry in compiled._entries:
        if entry.inputs(args, kwargs) is not None:
            return entry
    captured = capture(compiled._function, args, kwargs, compiled._keep_grads)
    captured.raw = captured.program
    captured.program = passes.optimize(captured.raw)
    return Entry(captured, args, kwargs)


# -- trying it out -----------------------------------------------------------------------------------------------------


class Reading(NamedTuple):
    """What a run left behind."""

    arrays: list[Any]  # in the order of the Program's results
    python: dict[str, list[str]]
    problems: list[str]


class Target:
    """Memory that the Program gives new content."""

    def __init__(self, content: Any, arguments: Sequence[Any]) -> None:
        self.index, self.source = content.index, content.source
        self.tensor = content.source.find(arguments)
        self.storage = self.tensor._storage
        self.array = memory_of(self.tensor, self.source)

    def now(self) -> Any:
        """What lies there; an engine may have moved it elsewhere."""
        if self.source.argument is None or self.source.place is not None:
            return self.storage.array
        return self.tensor._array if self.tensor._storage is self.storage else self.array


class Trial:
    """Runs of one step from one state."""

    def __init__(
        self, compiled: compiling.Compiled, entry: Entry, args: Any, kwargs: Any, gradients: bool = True
    ) -> None:
        self.compiled, self.entry, self.args, self.kwargs = compiled, entry, args, kwargs
        self.captured = entry.captured
        self.raw: Program = self.captured.raw
        if self.captured.graph is not None:  # without what was noted for the way back, which is a Program of its own
            self.raw = passes.prune(self.raw)
        self.program: Program = self.captured.program
        self.arguments = list(trees.leaves((args, kwargs)))
        self.state = State(compiled._function, args, kwargs)
        self.targets = [Target(content, self.arguments) for content in self.captured.contents]
        sources = [self.raw_source(source) for source in self.captured.sources]
        self.on_host = all(type(x) is np.ndarray for x in (*sources, *[t.array for t in self.targets]))
        self.views: list[Instruction] = []
        self.back: WayBack | None = None
        self.kept: Sequence[Any] = ()  # of the last inputs
        if gradients and self.captured.graph is not None and MODES.grad:
            self.back = WayBack(self.captured, self.raw, self.arguments)
        self.names = [f"result {i}" for i in range(len(self.raw.outputs))] + [w.name for w in self.raw.writes]
        for k, i in enumerate(self.captured.graph.residuals if self.captured.graph else ()):
            self.names[i] = f"kept for the way back, {k}"
        self.names += self.back.names if self.back else []

    def raw_source(self, source: Any) -> Any:
        """The array that an input is read from."""
        return np.zeros(()) if isinstance(source, Number) else memory_of(source.find(self.arguments), source)

    def inputs(self) -> list[Any]:
        """What the Program reads, in this state."""
        inputs = self.entry.inputs(self.args, self.kwargs)
        if inputs is None:
            fail(PullbackError, f"a condition of the step does not hold: {self.entry.why(self.args, self.kwargs)}")
        self.kept = self.entry.keep(inputs)
        return inputs

    def inputs_for(self, engine: str) -> list[Any]:
        """As an engine can read them."""
        return arrays_of(self.inputs()) if engine == "numpy" else self.inputs()

    def eager(self) -> Reading:
        """The function itself, run from this state, which is there again afterwards."""
        WATCHERS.append(self.note)
        try:
            return self.read(self.compiled._function(*self.args, **self.kwargs), {})
        finally:
            WATCHERS.remove(self.note)
            self.state.restore()

    def note(self, op: Op, arrays: Sequence[Any], params: dict[str, Any], out: Any) -> None:
        """An op that gives several views is captured as an op for each; its own rule is only seen here."""
        if op.views is not None and not MODES.backward and type(arrays[0]) is np.ndarray:
            self.views.append(Instruction(op, [arrays[0].copy()], params, (), here()))

    def on(self, engine: str) -> Reading:
        """What an engine makes of this state. Its results are written where they belong, if they can lie there."""
        results = self.run_of(engine)(self.inputs_for(engine))
        if engine != self.compiled._engine and any(type(t.array) is not np.ndarray for t in self.targets):
            return Reading([np.array(x) for x in results], {}, [])
        if self.back is None:
            return self.finished(results)[0]
        before = getattr(self.entry, "ways", None)
        self.entry.ways = Ways(self.back.pair, functools.partial(self.way_back, engine))
        try:
            return self.finished(results)[0]
        finally:
            if before is not None:
                self.entry.ways = before

    def way_back(self, engine: str, program: Program) -> Any:
        """What runs a backward Program."""
        run = self.build(engine, program)
        return lambda xs: run(arrays_of(xs) if engine == "numpy" else xs)

    def finished(self, results: Sequence[Any]) -> tuple[Reading, Any]:
        """An engine's results, written and read back; and what the call returns."""
        if len(results) != len(self.raw.results):
            fail(PullbackError, f"there are {len(results)} results instead of {len(self.raw.results)}")
        by_index = dict(enumerate(results))
        returned = self.entry.finish(self.args, self.kwargs, results, self.kept)
        return self.read(returned, by_index), returned

    def read(self, returned: Any, results: dict[int, Any]) -> Reading:
        """Find the Program's results in what a run returned and left behind; else take those of an engine."""
        finder = Finder(self.arguments)
        finder.find(self.captured.result, returned, "result")
        for change in self.captured.changes:
            place = change.place
            if change.argument is not None:
                place = place._replace(holder=vars(self.arguments[change.argument]))
            finder.find(change.template, place.holder if place.key is None else place.get(), place.name)
        for index, name in finder.names.items():
            self.names[index] = name
        found = {**finder.found, **{target.index: target.now() for target in self.targets}}
        arrays = [np.array(found.get(i, results.get(i))) for i in range(len(self.raw.results))]
        if self.back is not None:
            arrays += map(np.array, self.back.pull([finder.tensors[i] for i in self.back.results]))
        touched = self.state.written({id(target.array) for target in self.targets})
        problems = finder.problems + [f"{name} was written, which the captured step does not know" for name in touched]
        return Reading(arrays, self.state.python(), problems)

    def unlike(self, reading: Reading, eager: Reading) -> list[str]:
        """What is different, other than in results."""
        if not reading.python:
            return []
        ignore = (lambda name: False) if self.compiled._keep_grads else (lambda name: name.endswith(".grad"))
        return [*reading.problems, *unlike(reading.python, eager.python, ignore)]

    def truths(self) -> list[Truth]:
        """What each result is."""
        values = [*self.raw.results, *(self.back.gradients if self.back else [])]
        known = self.replayed(set(values))
        return [known[value] for value in values]

    def replayed(self, wanted: Any) -> dict[Value, Truth]:
        """The truth of values, there and back."""
        if self.back is None:
            return replay(self.raw, self.inputs(), wanted)
        return replay(self.back.whole, [*self.inputs(), *self.back.cotangents], wanted)

    # -- comparing ---------------------------------------------------------------------------------------------------

    def report(self, engines: Sequence[str]) -> Report:
        """Run it on these engines, and compare."""
        report = Report(self.raw.name, engines)
        eager = self.eager()
        report.differences += eager.problems
        truths = self.truths()
        self.state.restore()
        readings: dict[str, Reading] = {}
        for engine in engines:
            try:
                readings[engine] = reading = self.on(engine)
                report.differences += [f"{engine}: {text}" for text in self.unlike(reading, eager)]
            except PullbackError as error:
                kind = report.raised if engine == "numpy" else report.refused
                kind[engine] = str(error).partition("\n")[0]
            except Exception as error:
                report.raised[engine] = f"{type(error).__name__}: {error}"
            finally:
                self.state.restore()
        lost = []  # results that are not what eager gives, before any engine runs
        for i, truth in enumerate(truths):
            there = {engine: reading.arrays[i] for engine, reading in readings.items() if i < len(reading.arrays)}
            errors = {engine: relative(truth.error(x), truth) for engine, x in there.items()}
            array = eager.arrays[i] if eager.arrays[i].dtype != object else truth.eager
            off, allowed = relative(truth.error(array), truth), relative(truth.tolerance, truth)
            report.rows.append(Row(self.names[i], str(truth.eager.dtype), off, errors, allowed))
            lost.append(not truth.holds(array))
        for engine in engines:
            wrong = [engine in row.failed for row in report.rows]
            if report.first is None and (any(wrong) or any(lost) or engine in report.raised):
                report.first = self.first(engine, wrong, lost, engine in report.raised)
        return report

    def run_of(self, engine: str) -> Any:
        """The step on an engine: as it is built already, or built now."""
        if engine == self.compiled._engine and hasattr(self.entry, "run"):
            return self.entry.run
        return self.build(engine, self.program)

    def build(self, engine: str, program: Program) -> Any:
        options = self.compiled._options if engine == self.compiled._engine else {}
        return importlib.import_module(compiling.ENGINES[engine]).build(program, **options)

    # -- finding the first that is wrong -------------------------------------------------------------------------------

    def first(self, engine: str, wrong: Sequence[bool], lost: Sequence[bool], raised: bool = False) -> First | None:
        """The first instruction whose value is not right; `wrong` are the engine's results, `lost` eager's.

        Eager computes with NumPy what was captured, bit for bit, unless its arrays lie on a device.
        """
        makers = self.raw.makers()
        blamed = [makers[v] for v, bad in zip(self.raw.results, wrong, strict=False) if bad and v in makers]
        for value, bad in zip(self.raw.results, lost, strict=False):
            if bad and self.on_host and value in makers:
                return First(makers[value], "", "", note="what was captured is not what eager computes")
        truths = self.replayed(...)
        program = self.raw
        for change in passes.PASSES:
            name = change.__name__
            program = change(program).check()
            if (found := self.by_pass(program, truths, name)) is not None:
                return found
        if raised:
            return self.failing(engine)
        for values in self.chunks(engine, self.program, self.inputs_for(engine)):
            for instruction in self.raw.instructions:
                if (found := judged(instruction, values, truths, engine, "")) is not None:
                    return found
        if self.back is not None:
            twins, program = self.back.twins, self.back.pair.backward
            results = self.build(engine, self.program.replaced(writes=()))(self.inputs_for(engine))
            for values in self.chunks(engine, program, self.back.operands(self.inputs_for(engine), results)):
                known = {twins[value]: array for value, array in values.items()}
                for instruction in self.back.whole.instructions[len(self.raw.instructions) :]:
                    if (found := judged(instruction, known, truths, engine, "")) is not None:
                        return found
        alone = "wrong, though not when the values before it are results, too"
        return First(blamed[0], engine, "", note=alone) if blamed else None

    def by_pass(self, program: Program, truths: dict[Value, Truth], name: str) -> First | None:
        """The first instruction that is not right any more after a pass, run by NumPy."""
        makers = self.raw.makers()
        values = begin(program, self.inputs())
        for instruction in program.instructions:
            try:
                run(instruction, values)
            except Exception as error:
                return First(instruction, "numpy", name, note=str(error).partition("\n")[0])
        for instruction in self.raw.instructions:
            if (found := judged(instruction, values, truths, "numpy", name)) is not None:
                return found
        if len(program.results) != len(self.raw.results):
            lost = next(v for v in self.raw.results if v not in program.results and v in makers)
            return First(makers[lost], "numpy", name, note="its result is lost")
        for old, new in zip(self.raw.results, program.results, strict=True):
            if old in makers and not truths[old].holds(np.asarray(values[new], new.dtype)):
                truth = truths[old]
                off = relative(truth.error(np.asarray(values[new])), truth)
                return First(makers[old], "numpy", name, off, relative(truth.tolerance, truth))
        return None

    def failing(self, engine: str) -> First | None:
        """The first instruction that an engine cannot run."""
        instructions = self.program.instructions

        def reason(n: int) -> str | None:
            """Why the first n instructions cannot be run."""
            some = instructions[:n]
            program = self.program.replaced(instructions=some, outputs=some[-1].outputs, writes=())
            try:
                self.build(engine, program)(self.inputs_for(engine))
            except Exception as error:
                return str(error).partition("\n")[0]
            return None

        good, bad = 0, len(instructions)
        if not bad or (why := reason(bad)) is None:
            return None
        while bad - good > 1:
            middle = (good + bad) // 2
            if (now := reason(middle)) is None:
                good = middle
            else:
                bad, why = middle, now
        return First(instructions[bad - 1], engine, "", note=why)

    def chunks(self, engine: str, program: Program, inputs: Sequence[Any]) -> Iterator[Values]:
        """Intermediate values as an engine computes them, in the order of the Program."""
        made = [v for i in program.instructions for v in i.outputs]
        for start in range(0, len(made), CHUNK):
            wanted = made[start : start + CHUNK]
            some = passes.prune(program.replaced(outputs=wanted, writes=()))
            results = self.build(engine, some)(inputs)
            yield {value: np.asarray(x) for value, x in zip(wanted, results, strict=True)}


def judged(
    instruction: Instruction, values: Values, truths: dict[Value, Truth], engine: str, change: str
) -> First | None:
    """The instruction, if a value that it makes is not right."""
    for value in instruction.outputs:
        if value in values and not (truth := truths[value]).holds(values[value]):
            error = relative(truth.error(values[value]), truth)
            return First(instruction, engine, change, error, relative(truth.tolerance, truth))
    return None


def relative(error: float, truth: Truth) -> float:
    """An error as a part of the largest element; of what is not floating point, the number of wrong elements."""
    return error / truth.scale if truth.eager.dtype in FLOOR and truth.scale > 0 else error


def arrays_of(inputs: Sequence[Any]) -> list[Any]:
    """Inputs in the host's memory."""
    return [np.asarray(x) if hasattr(x, "shape") else x for x in inputs]


class Finder:
    """Finds the results of a Program in what a call has left."""

    def __init__(self, arguments: Sequence[Any]) -> None:
        self.arguments = arguments
        self.found: dict[int, Any] = {}
        self.tensors: dict[int, Tensor] = {}
        self.names: dict[int, str] = {}
        self.problems: list[str] = []

    def find(self, template: Any, x: Any, name: str) -> None:
        """Go through a template and what is there in its place."""
        if isinstance(template, Fresh):
            if isinstance(x, Tensor):
                self.found[template.index], self.tensors[template.index] = x._array, x
                self.names.setdefault(template.index, name)
            else:
                self.problems.append(f"{name}: {x!r} instead of a tensor")
        elif isinstance(template, Nest):
            self.nest(template, x, name)
        elif isinstance(template, Record):
            for key, part in template.parts.items():
                self.find(part, getattr(x, key, None), f"{name}.{key}")
        elif isinstance(template, Same) and template.make(self) is not x:
            self.problems.append(f"{name}: another tensor than it was")
        elif isinstance(template, Constant) and type(template.value) in PLAIN_TYPES and different(x, template.value):
            self.problems.append(f"{name}: {x!r} instead of {template.value!r}")

    def nest(self, template: Nest, x: Any, name: str) -> None:
        keys = list(template.keys) if isinstance(template.like, dict) else list(range(len(template.parts)))
        there = list(x) if isinstance(x, dict) else list(range(len(x))) if isinstance(x, (list, tuple, deque)) else None
        if there != keys:
            self.problems.append(f"{name}: another structure than it was captured with")
            return
        for key, part in zip(keys, template.parts, strict=True):
            self.find(part, x[key], f"{name}[{key!r}]")


__all__ = ["Report", "verified_call", "verify"]
