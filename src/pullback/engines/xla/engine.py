"""A Program under jax.jit. State stays on the device between calls and is updated in place: its buffers are donated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...devices import named, place_of
from ...errors import PullbackError, fail
from ...program.program import Instruction, Program, Value, contiguous
from . import forms
from .array import DeviceArray, Memory, adopt, device_of
from .weak import Weak

Known = dict[Value, Any]


class Written:
    """What a piece of state becomes. It goes into a memory that there is already."""

    __slots__ = ("array",)

    def __init__(self, array: jax.Array) -> None:
        self.array = array

    memory = property(lambda self: self)
    __array__ = lambda self, dtype=None, copy=None: np.array(self.array, dtype)  # noqa: E731

    def read(self) -> jax.Array:
        return self.array


class Executable:
    """A Program, compiled by XLA at its first run."""

    def __init__(self, program: Program, device: Any = None) -> None:
        self.program = program
        self.device = None if device is None else named(device)
        self.places: list[str] = []  # where the user sees the first of the results; the rest, where the step runs
        # State that the Program gives new content: its old buffer becomes the new one.
        self.kept = [
            write.input is not None
            and write.value.shape == program.inputs[write.input].value.shape
            and write.value is not program.inputs[write.input].value
            for write in program.writes
        ]
        donated = {w.input for w, kept in zip(program.writes, self.kept, strict=True) if kept}
        read_out = set(program.outputs)
        given = sorted(i for i in donated if i is not None)
        self.donated = [i for i in given if program.inputs[i].value not in read_out]
        self.others = [i for i in range(len(program.inputs)) if i not in set(self.donated)]
        # JAX gives each donated buffer to the next result of its shape: results come in the order of what is donated.
        new = {write.input: len(program.outputs) + k for k, write in enumerate(program.writes)}
        self.order = [new[i] for i in self.donated]
        self.order += [k for k in range(len(program.results)) if k not in set(self.order)]
        self.found = [self.order.index(k) for k in range(len(self.order))]
        self.state = [i for i, given in enumerate(program.inputs) if given.kind == "state"]
        self.numbers = [i for i, given in enumerate(program.inputs) if given.kind == "number"]
        self.known: list[Any] = [None] * len(self.numbers)  # each as it last was, and on the device
        self.strides = [contiguous(value.shape, value.dtype.itemsize) for value in program.outputs]
        self.compiled: Any = None
        self.where: Any = None  # JAX's device
        self._x64 = jax.enable_x64

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        """The outputs, then the writes, as arrays on the device."""
        with self._x64(True):
            arrays = [
                x if type(x) is not DeviceArray else x._array if x._seen == x.base.version else x.read() for x in inputs
            ]
            if self.compiled is None:
                seen = the_one([*self.places, *map(place_of, inputs)], self.program)
                self.where = device_of(self.device or seen)
                self.places = [*self.places, *[seen] * (len(self.program.results) - len(self.places))]
                self.compiled = self.compile()
            self.place_numbers(arrays)
            try:
                results = self.run(arrays)
            except ValueError as error:
                if "incompatible devices" not in str(error):
                    raise
                results = self.run([jax.device_put(x, self.where) if isinstance(x, jax.Array) else x for x in arrays])
        results = [results[k] for k in self.found]
        made = zip(results, self.places, self.strides, strict=False)
        outputs: list[Any] = [DeviceArray(Memory(array, place), array, (), strides) for array, place, strides in made]
        return outputs + [Written(array) for array in results[len(outputs) :]]

    def place_numbers(self, arrays: list[Any]) -> None:
        """Numbers go to the device only when they change, which most never do."""
        for k, i in enumerate(self.numbers):
            x = arrays[i]
            if self.known[k] is None or self.known[k][0] is not x:
                self.known[k] = x, jax.device_put(x, self.where)
            arrays[i] = self.known[k][1]

    def run(self, arrays: Sequence[Any]) -> Any:
        """What is still in the host's memory goes where the rest is, or to the device."""
        given = [arrays[i] for i in self.donated], [arrays[i] for i in self.others]
        if self.numbers or any(isinstance(x, jax.Array) for x in arrays):
            return self.compiled(*given)
        with jax.default_device(self.where):
            return self.compiled(*given)

    def adopt(self, storages: Sequence[Any], places: Sequence[str]) -> None:
        """Take the state to where it is computed with; `places` is where the user sees the outputs."""
        self.places = list(places)
        adopt(storages, self.device or the_one([*[place_of(s.array) for s in storages], *places], self.program))

    def compile(self) -> Any:
        """The jitted function: (donated inputs, other inputs) -> results."""

        def step(donated: Sequence[Any], others: Sequence[Any]) -> list[Any]:
            inputs = dict(zip(self.donated, donated, strict=True)) | dict(zip(self.others, others, strict=True))
            results = replay(self.program, [inputs[i] for i in range(len(self.program.inputs))])
            return [results[k] for k in self.order]

        step.__name__ = "".join(c if c.isalnum() else "_" for c in self.program.name)
        # Wherever inputs lie at a call, it is one function: else JAX would compile it anew for state from the host.
        where = None if self.where is None else jax.sharding.SingleDeviceSharding(self.where)
        return jax.jit(step, donate_argnums=(0,), in_shardings=where)

    def text(self) -> str:
        """What XLA is given, as StableHLO."""
        with self._x64(True):
            specs = [jax.ShapeDtypeStruct(x.value.shape, x.value.dtype) for x in self.program.inputs]
            compiled = self.compile()
            lowered = compiled.lower([specs[i] for i in self.donated], [specs[i] for i in self.others])
            return str(lowered.as_text())


def the_one(places: Sequence[str], program: Program) -> str:
    """The device of a step; what lies on the CPU goes along."""
    devices: list[str] = sorted({place for place in places if place != "cpu"})
    if len(devices) > 1:
        fail(
            PullbackError,
            f"{program.name}: its arguments and state lie on several devices: {', '.join(devices)}",
            "move all of them to one with .to(device)",
        )
    return devices[0] if devices else "cpu"


def replay(program: Program, inputs: Sequence[Any]) -> list[Any]:
    """Run a Program's ops on what jax.jit traces with."""
    known: Known = {value: jnp.asarray(array) for value, array in program.constants.items()}
    for given, x in zip(program.inputs, inputs, strict=True):
        known[given.value] = Weak(jnp.asarray(x)) if given.value.weak else x
    fences: dict[tuple[int, Value], Any] = {}
    regions = {v: i.region for i in program.instructions for v in i.outputs if i.region}
    more = hints(program, known)
    for instruction in program.instructions:
        operands = [known[x] if type(x) is Value else x for x in instruction.inputs]
        if instruction.region:
            operands = fenced(instruction, operands, regions, fences)
        params = instruction.params
        if instruction in more:
            params = params | more[instruction]
        out = instruction.op(*operands, **params)
        outs = out if type(out) is tuple else (out,)
        for value, array in zip(instruction.outputs, outs, strict=True):
            known[value] = array.astype(value.dtype) if array.dtype != value.dtype else array
    return [result(known[value], value) for value in program.results]


def hints(program: Program, known: Known) -> dict[Instruction, dict[str, Any]]:
    """What forms are told beside their parameters: nothing that changes a result, but shorter ways to it."""
    makers = {value: instruction for instruction in program.instructions for value in instruction.outputs}
    more: dict[Instruction, dict[str, Any]] = {}
    for instruction in program.instructions:
        if instruction.op.name in forms.HINTS:
            more[instruction] = forms.HINTS[instruction.op.name]([makers.get(x) for x in instruction.inputs])
    for name, (needs, compute) in forms.AHEAD.items():
        ready = [
            instruction
            for instruction in program.instructions
            if instruction.op.name == name
            and all(type(x) is not Value or x in known for x in map(instruction.inputs.__getitem__, needs))
        ]
        rows = [[known.get(x, x) for x in map(instruction.inputs.__getitem__, needs)] for instruction in ready]
        more.update(zip(ready, compute(rows), strict=True))
    return more


def fenced(
    instruction: Instruction, operands: list[Any], regions: dict[Value, int], fences: dict[tuple[int, Value], Any]
) -> list[Any]:
    """What enters a region that is computed again passes a barrier, or XLA would merge it with the first run."""
    region = instruction.region
    for k, x in enumerate(instruction.inputs):
        if type(x) is Value and regions.get(x) != region and not isinstance(operands[k], Weak):
            if (region, x) not in fences:
                fences[region, x] = jax.lax.optimization_barrier(operands[k])
            operands[k] = fences[region, x]
    return operands


def result(x: Any, value: Value) -> Any:
    return jnp.asarray(x.array if type(x) is Weak else x, value.dtype)


__all__ = ["Executable", "replay"]
