"""RuleOptimizer: an optimizer given by a rule, which says what a parameter and its state become."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from ..dtypes import HALVES
from ..errors import ArgumentError, fail
from ..functions.compare import where
from ..modes import MODES, Watched, begun
from ..ops.record import PLAIN, Op
from ..tensor import Tensor, check_writable, wrote
from ..views import write
from .optimizer import Group, Optimizer, evaluated, scalar

State = dict[str, Tensor]
Live = tuple[Tensor, Tensor, State]  # a parameter, its gradient and its state


class RuleOptimizer(Optimizer):
    """Define `rule`, and `begin` if there is state; `step` does the rest.

    GradScaler sets `grad_scale`, by which gradients are divided, and `found_inf`: where that is not 0, parameters and
    state stay as they are.
    """

    _step_supports_amp_scaling: ClassVar[bool] = True
    found_inf: Tensor | None = None
    grad_scale: Tensor | None = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for p, kept in self.state.items():
            if isinstance(p, Tensor) and isinstance(kept.get("step"), (int, float)):  # old files have plain numbers
                kept["step"] = scalar(float(kept["step"]), p)

    def begin(self, p: Tensor, group: Group) -> State:
        """The state of a parameter before its first step."""
        return {}

    def rule(self, p: Tensor, g: Tensor, s: State, o: Group) -> tuple[Tensor, State]:
        """The new parameter and its new state, given the gradient, the state and the options; writes nothing."""
        raise NotImplementedError(f"{type(self).__name__} must define rule(self, p, g, s, o), or step(self)")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient."""
        loss = evaluated(closure)
        before, MODES.grad = MODES.grad, bool(self.defaults.get("differentiable"))
        try:
            for group in self.param_groups:
                live = [(p, self.gradient(p), self.state_of(p, group)) for p in group["params"] if p._grad is not None]
                if live:
                    self.update(live, {**group, "lr": scalar_of(group["lr"])} if "lr" in group else group)
        finally:
            MODES.grad = before
        return loss

    def gradient(self, p: Tensor) -> Tensor:
        """p.grad, as if the loss had not been scaled."""
        g = p._grad
        assert g is not None
        return g if self.grad_scale is None else g / self.grad_scale.reshape(())

    def state_of(self, p: Tensor, group: Group) -> State:
        """The state of a parameter, begun if need be."""
        state: State = self.state.get(p) or begun(self.state, p, lambda: Watched(self.begin(p, group)))
        return state

    def update(self, live: Sequence[Live], o: Group) -> None:
        """Apply the rule to each parameter of a group."""
        for p, g, s in live:
            x, g, old = own(p), own(g), {name: own(value) for name, value in s.items()}
            new, after = self.rule(x, -g if o.get("maximize") else g, old, o)
            if not after.keys() <= s.keys():
                fail(
                    ArgumentError,
                    f"{type(self).__name__}.rule returned state that there was not before: "
                    f"{', '.join(after.keys() - s.keys())}",
                    "begin(p, group) must return all of the state",
                )
            memory = {id(t._storage) for t in (p, *s.values())}  # written below, while it is still to be read
            pairs = [(p, new), *((s[name], value) for name, value in after.items())]
            pairs = [(t, value.clone() if id(value._storage) in memory else value) for t, value in pairs]
            for t, value in pairs:
                self.commit(t, value)

    def apply(self, op: Op, rows: Sequence[tuple[Any, ...]], **flags: Any) -> None:
        """Run an op that gives the new values of the first tensors of each row, and write them."""
        arrays = [tuple([x._array if isinstance(x, Tensor) else x for x in row]) for row in rows]
        if not MODES.grad and all(type(a) in PLAIN for row in arrays for a in row):
            for row in arrays:
                check_writable(row[0])
            op.overwrite(arrays, flags, None if self.found_inf is None else self.found_inf._array)
            wrote([x._storage for row in rows for x in row[: op.writes] if x is not None])
            return
        run: Any = op.decompose if MODES.grad else op  # what the op would save is about to be written
        for row in rows:
            new = run(*[own(x) for x in row], **flags)
            for old, value in zip(row, new if isinstance(new, tuple) else (new,), strict=False):
                self.commit(old, value)

    def commit(self, old: Tensor, new: Tensor) -> None:
        """`old` becomes `new`, unless found_inf: all that a rule changes passes through here."""
        if self.found_inf is not None:
            new = where(self.found_inf.reshape(()) != 0, old, new)
        write(old, new if new.npdtype == old.npdtype else new.to(old.dtype), derived=True)


def own(x: Any) -> Any:
    """x to compute with: half types in float32; a copy if gradients flow through the step, since x will be written."""
    if not isinstance(x, Tensor):
        return x
    if x.npdtype in HALVES:
        return x.float()
    return x.clone() if MODES.grad else x


def scalar_of(x: Any) -> Any:
    """A learning rate may be a tensor of one element, whatever its shape."""
    return x.reshape(()) if isinstance(x, Tensor) else x


def decayed(p: Tensor, g: Tensor, o: Group) -> Tensor:
    """g + weight_decay p: the gradient with that of weight_decay/2 |p|^2"""
    decay = o["weight_decay"]
    return g if not isinstance(decay, Tensor) and decay == 0 else g + decay * p


def shrunk(p: Tensor, o: Group) -> Tensor:
    """p (1 - lr weight_decay): weight decay apart from the gradient"""
    return p * (1 - o["lr"] * o["weight_decay"])
