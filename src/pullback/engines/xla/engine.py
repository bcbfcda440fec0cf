"""A Program under jax.jit. State stays on the device between calls and is updated in place: its buffers are donated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...errors import PullbackError, fail
from ...program.program import Instruction, Program, Value
from .array import DeviceArray, Memory, adopt, device_of, name_of
from .weak import Weak

Known = dict[Value, Any]


class Executable:
    """A Program, compiled by XLA at its first run."""

    def __init__(self, program: Program, device: str | None = None) -> None:
        self.program, self.device = program, device
        # State that the Program gives new content: its old buffer becomes the new one.
        self.kept = [
            write.input is not None
            and write.value.shape == program.inputs[write.input].value.shape
            and write.value is not program.inputs[write.input].value
            for write in program.writes
        ]
        donated = {w.input for w, kept in zip(program.writes, self.kept, strict=True) if kept}
        read_out = {value for value in program.outputs}
        self.donated = [i for i in sorted(x for x in donated if x is not None) if program.inputs[i].value not in read_out]
        self.others = [i for i in range(len(program.inputs)) if i not in set(self.donated)]
        self.state = [i for i, given in enumerate(program.inputs) if given.kind == "state"]
        self.compiled: Any = None
        self._x64 = jax.enable_x64

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        """The outputs, then the writes, as arrays on the device."""
        with self._x64(True):
            arrays = [x.read() if type(x) is DeviceArray else x for x in inputs]
            if self.compiled is None:
                self.compiled = self.compile(arrays)
            results = self.compiled([arrays[i] for i in self.donated], [arrays[i] for i in self.others])
        return [DeviceArray(Memory(array)) for array in results]

    def adopt(self, storages: Sequence[Any]) -> None:
        """Take the state to where it is computed with."""
        adopt(storages, self.device or "cpu")

    def compile(self, arrays: Sequence[Any]) -> Any:
        """The jitted function: (donated inputs, other inputs) -> results."""
        check_places(arrays, self.program)

        def step(donated: Sequence[Any], others: Sequence[Any]) -> list[Any]:
            inputs = dict(zip(self.donated, donated, strict=True)) | dict(zip(self.others, others, strict=True))
            return replay(self.program, [inputs[i] for i in range(len(self.program.inputs))])

        step.__name__ = "".join(c if c.isalnum() else "_" for c in self.program.name)
        return jax.jit(step, donate_argnums=(0,))

    def text(self) -> str:
        """What XLA is given, as StableHLO."""
        with self._x64(True):
            specs = [jax.ShapeDtypeStruct(x.value.shape, x.value.dtype) for x in self.program.inputs]
            compiled = self.compile(specs)
            return compiled.lower([specs[i] for i in self.donated], [specs[i] for i in self.others]).as_text()


def check_places(arrays: Sequence[Any], program: Program) -> None:
    """All that a step reads must lie on one device."""
    devices = {name_of(d) for x in arrays if isinstance(x, jax.Array) for d in x.devices()}
    if len(devices) > 1:
        fail(
            PullbackError,
            f"{program.name}: its arguments and state lie on several devices: {', '.join(sorted(devices))}",
            "move all of them to one with .to(device)",
        )


def replay(program: Program, inputs: Sequence[Any]) -> list[Any]:
    """Run a Program's ops on what jax.jit traces with."""
    known: Known = {value: jnp.asarray(array) for value, array in program.constants.items()}
    for given, x in zip(program.inputs, inputs, strict=True):
        known[given.value] = Weak(jnp.asarray(x)) if given.value.weak else x
    fences: dict[tuple[int, Value], Any] = {}
    regions = {v: i.region for i in program.instructions for v in i.outputs if i.region}
    for instruction in program.instructions:
        operands = [known[x] if type(x) is Value else x for x in instruction.inputs]
        if instruction.region:
            operands = fenced(instruction, operands, regions, fences)
        out = instruction.op(*operands, **instruction.params)
        outs = out if type(out) is tuple else (out,)
        for value, array in zip(instruction.outputs, outs, strict=True):
            known[value] = array.astype(value.dtype) if array.dtype != value.dtype else array
    return [result(known[value], value) for value in program.results]


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


def device_for(name: str | None) -> Any:
    return None if name is None else device_of(name)


__all__ = ["Executable", "device_for", "np", "replay"]
