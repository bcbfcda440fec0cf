"""The gradient of a step's results, which a second Program gives: asked for with random cotangents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...gradients import grad
from ...modes import Switch
from ...tensor import Tensor, wrap
from ..program import Input, Instruction, Program, Value, renamed


class WayBack:
    """From results of a step back to what it read."""

    def __init__(self, captured: Any, raw: Program, arguments: Sequence[Any]) -> None:
        graph = captured.graph
        self.pair, self.residuals, self.results = graph.pair, graph.residuals, graph.results
        wanted = [(i, k) for i, k in zip(graph.wanted, graph.pair.gives, strict=True) if k is not None]
        self.leaves: list[Tensor] = [captured.sources[i].find(arguments) for i, _ in wanted]
        self.names = [f"gradient of {raw.inputs[i].name}" for i, _ in wanted]
        random, outs = np.random.default_rng(11), [raw.outputs[i] for i in graph.results]
        self.cotangents = [np.asarray(random.standard_normal(v.shape)).astype(v.dtype) for v in outs]
        self.given = [Value(-1 - k, v.shape, v.dtype) for k, v in enumerate(outs)]
        self.twins: dict[Value, Any] = {}  # values of the way back, as they are called in `whole`
        self.whole = self.there_and_back(raw)
        self.gradients = [self.twins[self.pair.backward.outputs[k]] for _, k in wanted]

    def there_and_back(self, raw: Program) -> Program:
        """Both Programs as one, which also reads the cotangents."""
        backward = self.pair.backward
        parts = {
            "input": [given.value for given in raw.inputs],
            "residual": [raw.outputs[i] for i in self.residuals],
            "cotangent": self.given,
        }
        self.twins = {
            given.value: parts[kind][which]
            for given, (kind, which) in zip(backward.inputs, self.pair.sources, strict=True)
        }
        instructions: list[Instruction] = list(raw.instructions)
        for i in backward.instructions:
            outputs = [Value(v.id, v.shape, v.dtype, v.strides, v.weak) for v in i.outputs]
            instructions.append(i.changed(inputs=renamed(i.inputs, self.twins), outputs=outputs))
            self.twins.update(zip(i.outputs, outputs, strict=True))
        self.twins.update({value: value for value in backward.constants})
        return raw.replaced(
            inputs=[*raw.inputs, *[Input(v, "argument", f"cotangent {k}") for k, v in enumerate(self.given)]],
            constants={**raw.constants, **backward.constants},
            instructions=instructions,
        )

    def pull(self, outs: Sequence[Tensor]) -> list[Any]:
        """What the tape says, whatever is on it."""
        with Switch(grad=True, watch=None):
            gs = grad(list(outs), self.leaves, [wrap(g) for g in self.cotangents], allow_unused=True)
        return [np.zeros(x.shape, x.npdtype) if g is None else g._array for x, g in zip(self.leaves, gs, strict=True)]

    def operands(self, inputs: Sequence[Any], results: Sequence[Any]) -> list[Any]:
        """What the way back is to be run on, given the results of the way there."""
        return list(self.pair.operands(inputs, [results[i] for i in self.residuals], self.cotangents))


__all__ = ["WayBack"]
