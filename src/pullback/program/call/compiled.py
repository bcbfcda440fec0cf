"""compile(): a function that is captured once and then run as a Program.

    step = pullback.compile(step)      # or @pullback.compile
    loss = step(x, y)                  # captured, optimised, built for an engine, run
    loss = step(x, y)                  # run

What the captured run took for granted (shapes, flags, plain values that the code reads) is checked before each call. If
something else holds now, the function is captured again; the warning that comes after many times says what differs.
"""

from __future__ import annotations

import functools
import importlib
import os
import threading
from collections.abc import Callable
from typing import Any

from ...errors import PullbackError, fail, warn
from ...modes import MODES
from ..capture.gradient import Ways
from ..capture.session import capture
from ..passes import optimize
from ..program import Program
from .bind import Entry

ENGINES = {"native": "pullback.engines.native", "numpy": "pullback.engines.interpreter", "xla": "pullback.engines.xla"}
ENGINES_OF_THE_CPU = ("native", "numpy")
LOCK = threading.RLock()  # during a capture state holds symbols; random generators are state of all threads
KEPT = 64  # captures of one function that are kept: a step that is captured at each call must not fill the memory
PYTORCHS = {"backend", "dynamic", "fullgraph", "mode", "options"}  # of torch.compile
MANY = 8  # captures of one function, after which we say so


class Compiled:
    """A function, and the Programs it has been captured as."""

    _is_compiled = True

    def __init__(
        self,
        function: Callable[..., Any],
        engine: str | None = None,
        verify_every: int = 0,
        keep_grads: bool = True,
        **options: Any,
    ) -> None:
        self._function, self._asked = function, engine if engine is None else engine_named(engine)
        self._chosen = self._asked  # or, where none was asked for, what suits the last capture
        self._verify_every, self._keep_grads, self._options = verify_every, keep_grads, options
        self._entries: list[Entry] = []
        self._calls = self._captures = 0
        self._failed: dict[str, int] = {}  # how often each condition did not hold ...
        self._last: dict[str, str] = {}  # ... and how, the last time
        functools.update_wrapper(self, function, updated=())
        self._module = hasattr(function, "_modules")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if MODES.capture is not None:  # a part of a step that is being captured itself
            return self._function(*args, **kwargs)
        with LOCK:
            entry, inputs = self._entry(args, kwargs)
        kept = entry.keep(inputs)
        if self._verify_every:
            self._calls += 1
            if self._calls % self._verify_every == 0:
                from ..verify import verified_call

                return verified_call(self, entry, args, kwargs, inputs)
        results = entry.run(inputs)
        with LOCK:
            return entry.finish(args, kwargs, results, kept)

    def _entry(self, args: Any, kwargs: Any) -> tuple[Entry, list[Any]]:
        """The captured step for this call, and its inputs."""
        for entry in self._entries:  # all of them the short way first: they may take turns
            if (inputs := entry.quick.gather(args, kwargs)) is not None:
                break
        else:
            entry, inputs = self._looked_for(args, kwargs)
        if entry is not self._entries[0]:
            self._entries.remove(entry)
            self._entries.insert(0, entry)
        return entry, inputs

    def _looked_for(self, args: Any, kwargs: Any) -> tuple[Entry, list[Any]]:
        """The one whose conditions hold, or a new one."""
        for entry in self._entries:
            if (inputs := entry.inputs(args, kwargs)) is not None:
                return entry, inputs
        entry = self._capture(args, kwargs)
        inputs = entry.inputs(args, kwargs)
        if inputs is None:
            fail(
                PullbackError,
                f"a condition of the step does not hold right after its capture: {entry.why(args, kwargs)}",
                "the step changes what it depends on each time it runs; compute it outside",
            )
        return entry, inputs

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """As a decorator of a method."""
        return self if instance is None else functools.partial(self, instance)

    # A compiled module passes for the module: what is asked of it or changed in it is the module's.

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self._function) if vars(self).get("_module") else Compiled

    @property
    def _orig_mod(self) -> Any:
        """The module itself, under PyTorch's name."""
        return self._function

    def __getattr__(self, name: str) -> Any:  # of the function or module itself
        function = self.__dict__["_function"]
        found = getattr(function, name)
        if not self.__dict__.get("_module") or getattr(found, "__self__", None) is not function:
            return found

        @functools.wraps(found)
        def method(*args: Any, **kwargs: Any) -> Any:
            result = found(*args, **kwargs)
            return self if result is function else result  # model = model.eval() stays compiled

        return method

    def __setattr__(self, name: str, value: Any) -> None:
        if vars(self).get("_module") and name not in vars(self):
            setattr(self._function, name, value)
        else:
            object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        if vars(self).get("_module"):
            delattr(self._function, name)
        else:
            object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return sorted({*dir(self._function), *object.__dir__(self)} if self._module else object.__dir__(self))

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__reduce__()

    def __reduce__(self) -> Any:
        """A copy is of the function; it is captured anew."""
        make = functools.partial(Compiled, **self._options)
        return make, (self._function, self._asked, self._verify_every, self._keep_grads)

    def _capture(self, args: Any, kwargs: Any) -> Entry:
        """Capture for these arguments, and build the Program."""
        if self._entries:
            reason = self._entries[0].why(args, kwargs)
            what = reason.partition(":")[0]
            self._failed[what] = self._failed.get(what, 0) + 1
            self._last[what] = reason
        captured = capture(self._function, args, kwargs, self._keep_grads)
        captured.raw = captured.program
        captured.program = optimize(captured.raw)
        state = [r.tensor for r in captured.session.regions if r.source in captured.sources and r.kind == "state"]
        self._choose([r.tensor._array.device for r in captured.session.regions])
        run = self._build(captured.program)
        if hasattr(run, "adopt"):  # state lives where the engine computes
            run.adopt([x._storage for x in state], captured.places)
        entry = Entry(captured, args, kwargs)
        entry.run = run
        if captured.graph is not None:
            entry.ways = Ways(captured.graph.pair, self._build)
        self._entries.insert(0, entry)
        del self._entries[KEPT:]
        self._captures += 1
        if self._captures == MANY + 1:
            often = self._last[max(self._failed, key=lambda what: self._failed[what])]
            warn(
                f"{captured.program.name} has been captured {self._captures} times; what differed most often: {often}\n"
                "  pass what changes from call to call as a tensor, keep it out of the step, or pad to a few shapes"
            )
        return entry

    @property
    def _engine(self) -> str:
        self._chosen = self._chosen or engine_named(None)
        return self._chosen

    def _build(self, program: Program) -> Any:
        try:
            return importlib.import_module(ENGINES[self._engine]).build(program, **self._options)
        except PullbackError as error:
            if self._asked is not None or self._engine != "native":
                raise
            warn(f"{program.name} is run by NumPy, which is slower, as it could not be built: {error}")
            self._chosen = "numpy"
            return self._build(program)

    def _choose(self, devices: list[str]) -> None:
        """The engine for tensors that lie there."""
        away = next((where for where in devices if where != "cpu"), None)
        if self._asked is None:
            self._chosen = "xla" if away is not None else engine_named(None)
        elif self._asked in ENGINES_OF_THE_CPU and away is not None:
            fail(PullbackError, f"the {self._asked} engine computes on the CPU, but the step's tensors lie on {away}",
                 'leave out engine=, or move them with .to("cpu")')  # fmt: skip

    # -- looking at it -------------------------------------------------------------------------------------------------

    @property
    def program(self) -> Program:
        """The Program of the last call."""
        if not self._entries:
            fail(PullbackError, "the step has not been captured yet", "call it once, or use .capture(*args)")
        return self._entries[0].captured.program

    @property
    def programs(self) -> list[Program]:
        """All Programs it has been captured as."""
        return [entry.captured.program for entry in self._entries]

    def capture(self, *args: Any, **kwargs: Any) -> Program:
        """The Program for these arguments; nothing is run."""
        for entry in self._entries:
            if entry.inputs(args, kwargs) is not None:
                return entry.captured.program
        return self._capture(args, kwargs).captured.program

    def inputs(self, *args: Any, **kwargs: Any) -> list[Any]:
        """What the Program would be run on now, for these arguments: for an Interpreter to step through."""
        self.capture(*args, **kwargs)
        inputs = self._entries[0].inputs(args, kwargs)
        assert inputs is not None
        return inputs

    def source(self) -> str:
        """The C that the native engine runs for the last call, with the lines that it comes from as comments."""
        run = self._native("source")
        return str(run.source.text)

    def compile_report(self) -> str:
        """What became of the instructions: which loops and calls they are, and which NumPy runs, and why."""
        return str(self._native("report").report())

    def _native(self, what: str) -> Any:
        """What the native engine has built for the last call."""
        name = self.program.name
        run = self._entries[0].run
        if not hasattr(run, what):
            fail(PullbackError, f"{name} is run by the {self._engine} engine, which makes no C of it",
                 'use engine="native"; .program shows what any engine runs')  # fmt: skip
        return run

    def __repr__(self) -> str:
        name = getattr(self._function, "__name__", type(self._function).__name__)
        return f"<compiled {name}, {self._engine} engine, captured {self._captures} times>"


def engine_named(name: str | None) -> str:
    """The engine to use: the one asked for, the one that PULLBACK_ENGINE names, or the best there is for the CPU."""
    name = name or os.environ.get("PULLBACK_ENGINE") or None
    if name is None:
        return "native" if importlib.import_module("pullback.engines.native").available() else "numpy"
    if name not in ENGINES:
        fail(PullbackError, f"there is no engine {name!r}", f"use one of: {', '.join(ENGINES)}")
    return name


def compile(
    model: Callable[..., Any] | None = None,
    *,
    engine: str | None = None,
    verify_every: int = 0,
    keep_grads: bool = True,
    disable: bool = False,
    **options: Any,
) -> Any:
    """`function`, captured as a Program and run by an engine; as a call or a decorator.

    The engine is "native" on the CPU if there is a C compiler, else "numpy", unless PULLBACK_ENGINE names another; for
    tensors on devices it is "xla".
    `verify_every=n` compares every n-th call with running the function eagerly. With `keep_grads=False` a step that
    computes gradients does not leave them in `.grad`. `device=` says where the xla engine keeps state. With `disable`
    the function is given back as it is. PyTorch's other options choose among its own compilers, and do nothing here.
    """
    unknown = options.keys() - PYTORCHS - {"device"}
    if unknown:
        raise TypeError(f"compile() got an unexpected keyword argument {min(unknown)!r}")
    options = {name: value for name, value in options.items() if name not in PYTORCHS}
    if options and engine is None:
        engine = "xla"
    if options and engine in ENGINES_OF_THE_CPU:
        fail(PullbackError, f"the {engine} engine computes on the CPU", "leave out device=, or use the xla engine")
    if model is None:
        return functools.partial(
            compile, engine=engine, verify_every=verify_every, keep_grads=keep_grads, disable=disable, **options
        )
    if not callable(model):
        fail(PullbackError, f"compile() takes a function or a module, not {type(model).__name__}")
    if disable:
        return model
    return Compiled(model, engine, verify_every, keep_grads, **options)
