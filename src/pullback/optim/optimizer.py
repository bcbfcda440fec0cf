"""Optimizer: parameters in groups, each with its options; the state of each parameter; saving and loading of both."""

from __future__ import annotations

import functools
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

from ..dtypes import F32, F64, float64, get_default_dtype
from ..errors import ArgumentError, DTypeError, PullbackError, fail
from ..functions.creation import as_tensor
from ..hooks import SHARED, Handle
from ..modes import Watched, enable_grad, no_grad
from ..ops.create import full_like
from ..tensor import Tensor

Group = dict[str, Any]
StateDict = dict[str, Any]

KINDS = "step_pre", "step_post", "state_dict_pre", "state_dict_post", "load_pre", "load_post"
EVERYWHERE: dict[str, OrderedDict[int, Any]] = {"step_pre": OrderedDict(), "step_post": OrderedDict()}
SHARED.append((EVERYWHERE, "hooks of all optimizers"))


class Required:
    """Stands in `defaults` for an option that each group must give."""

    def __repr__(self) -> str:
        return "<required parameter>"


required = Required()


class Optimizer:
    """The base of all optimizers. A subclass gives `defaults` for its options to __init__ and defines `step`."""

    defaults: dict[str, Any]
    param_groups: list[Group]
    state: defaultdict[Any, Any]
    _hooks: dict[str, OrderedDict[int, Any]]
    _stepping: bool  # inside step()
    _opt_called = False  # was there a step? schedules ask
    _captured = True  # may step() be a part of a captured step?

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        self.__setstate__({"defaults": defaults, "state": defaultdict(dict), "param_groups": []})
        if isinstance(params, Tensor) or hasattr(params, "named_parameters"):
            fail(
                DTypeError,
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got "
                f"{type(params).__name__}",
                "pass model.parameters(), or a list: [tensor]",
            )
        groups = list(params)
        if not groups:
            fail(ArgumentError, "optimizer got an empty parameter list", "an iterator may have been used up before")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "step" in vars(cls):
            setattr(cls, "step", with_hooks(vars(cls)["step"]))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters from their gradients, which `closure`, if given, computes first, with the loss."""
        raise NotImplementedError(f"{type(self).__name__} must define step(self, closure=None)")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or set them to zero."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                if set_to_none:
                    p.grad = None
                else:
                    p.grad = p.grad.detach()
                    p.grad.zero_()

    # -- groups ----------------------------------------------------------------------------------------------------

    def add_param_group(self, param_group: Group) -> None:
        """Add parameters, and options that differ from the defaults: {"params": ..., "lr": 0.1}."""
        if not isinstance(param_group, dict):
            fail(DTypeError, f"param_group must be a dict, but got {type(param_group)}", 'write {"params": [...]}')
        params = param_group["params"]
        if isinstance(params, (set, frozenset)):
            fail(
                DTypeError,
                "optimizer parameters need to be organized in ordered collections, but the order of a set changes "
                "between runs",
                "use a list instead",
            )
        params = [params] if isinstance(params, Tensor) else list(params)
        names = [p[0] for p in params if isinstance(p, tuple)]
        if names and len(names) != len(params):
            fail(
                ArgumentError,
                "all optimizer params should be with/without names. Some param names are missing",
                "pass model.named_parameters() or model.parameters()",
            )
        param_group["params"] = params = [p[1] if isinstance(p, tuple) else p for p in params]
        if names:
            param_group["param_names"] = names
        for p in params:
            self._check_parameter(p)
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                fail(ArgumentError, f"parameter group didn't specify a value of required optimization parameter {name}")
            param_group.setdefault(name, default)
        if len(params) != len(set(params)):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; each will be updated that many times",
                stacklevel=3,
            )
        for group in self.param_groups:
            if ("param_names" in group) != ("param_names" in param_group):
                fail(
                    ArgumentError,
                    "all optimizer param groups should be with/without names. cannot add param group "
                    f"{'with' if names else 'without'} names to the optimizer",
                )
            if not set(group["params"]).isdisjoint(params):
                fail(
                    ArgumentError,
                    "some parameters appear in more than one parameter group",
                    "give each parameter to one group only",
                )
        self.param_groups.append(param_group)

    def _check_parameter(self, p: Any) -> None:
        if not isinstance(p, Tensor):
            fail(
                DTypeError,
                f"optimizer can only optimize Tensors, but one of the params is {type(p).__name__}",
                "pass tensors, (name, tensor) pairs, or dicts with them under 'params'",
            )
        if not self.defaults.get("differentiable") and not (p.is_leaf or p.retains_grad):
            fail(
                ArgumentError,
                "can't optimize a non-leaf Tensor",
                "optimize the tensors it was computed from, or a new leaf: x.detach().requires_grad_()",
                made=None if p._node is None else p._node.position,
            )

    # -- saving and loading ----------------------------------------------------------------------------------------

    def state_dict(self) -> StateDict:
        """{"state", "param_groups"}, in which parameters are numbered in the order of the groups."""
        for hook in self._hooks["state_dict_pre"].values():
            hook(self)
        number: dict[int, int] = {}
        for group in self.param_groups:
            for p in group["params"]:
                number.setdefault(id(p), len(number))
        saved: StateDict = {
            "state": {number[id(k)] if isinstance(k, Tensor) else k: plain(v) for k, v in self.state.items()},
            "param_groups": [
                {**_without(group, "params"), "params": [number[id(p)] for p in group["params"]]}
                for group in self.param_groups
            ],
        }
        for hook in self._hooks["state_dict_post"].values():
            saved = _or(hook(self, saved), saved)
        return saved

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Take over what `state_dict` gave, here or in PyTorch: copies of the state, and all options."""
        state_dict = state_dict.copy()
        for hook in self._hooks["load_pre"].values():
            state_dict = _or(hook(self, state_dict), state_dict)
        groups = [{**deepcopy(_without(g, "params")), "params": list(g["params"])} for g in state_dict["param_groups"]]
        if len(groups) != len(self.param_groups):
            fail(
                ArgumentError,
                f"loaded state dict has a different number of parameter groups: {len(groups)}, and the optimizer "
                f"{len(self.param_groups)}",
                "make the groups as when it was saved",
            )
        parameters: dict[Any, Tensor] = {}
        for i, (group, saved) in enumerate(zip(self.param_groups, groups, strict=True)):
            if len(group["params"]) != len(saved["params"]):
                fail(
                    ArgumentError,
                    "loaded state dict contains a parameter group that doesn't match the size of optimizer's group: "
                    f"{len(saved['params'])} parameters in group {i}, where the optimizer has {len(group['params'])}",
                    "load it into an optimizer of the same model",
                )
            parameters.update(zip(saved["params"], group["params"], strict=True))
            saved["params"] = group["params"]
            if "param_names" in group:
                saved.setdefault("param_names", group["param_names"])
        state: defaultdict[Any, Any] = defaultdict(dict)
        for key, value in state_dict["state"].items():
            p = parameters.get(key)
            state[key if p is None else p] = value if p is None else taken(value, p)
        self.__setstate__({"state": state, "param_groups": groups})
        for hook in self._hooks["load_post"].values():
            hook(self)

    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "_hooks" not in self.__dict__:
            self._hooks = {kind: OrderedDict() for kind in KINDS}
            self._stepping = False

    # -- hooks -----------------------------------------------------------------------------------------------------

    def _hook(self, kind: str, hook: Any, prepend: bool = False) -> Handle:
        handle = Handle(self._hooks[kind], hook)
        if prepend:
            self._hooks[kind].move_to_end(handle.key, last=False)
        return handle

    def register_step_pre_hook(self, hook: Any) -> Handle:
        """Before each step, `hook(optimizer, args, kwargs)` may return other (args, kwargs)."""
        return self._hook("step_pre", hook)

    def register_step_post_hook(self, hook: Any) -> Handle:
        """After each step, `hook(optimizer, args, kwargs)` is called."""
        return self._hook("step_post", hook)

    def register_state_dict_pre_hook(self, hook: Any, prepend: bool = False) -> Handle:
        """Before state_dict(), `hook(optimizer)` is called."""
        return self._hook("state_dict_pre", hook, prepend)

    def register_state_dict_post_hook(self, hook: Any, prepend: bool = False) -> Handle:
        """After state_dict(), `hook(optimizer, state_dict)` may return another one."""
        return self._hook("state_dict_post", hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Any, prepend: bool = False) -> Handle:
        """Before loading, `hook(optimizer, state_dict)` may return another state_dict."""
        return self._hook("load_pre", hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Any, prepend: bool = False) -> Handle:
        """After loading, `hook(optimizer)` is called."""
        return self._hook("load_post", hook, prepend)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join(lines) + "\n)"


def register_optimizer_step_pre_hook(hook: Any) -> Handle:
    """As `register_step_pre_hook`, for all optimizers."""
    return Handle(EVERYWHERE["step_pre"], hook)


def register_optimizer_step_post_hook(hook: Any) -> Handle:
    """As `register_step_post_hook`, for all optimizers."""
    return Handle(EVERYWHERE["step_post"], hook)


def with_hooks(step: Callable[..., Any]) -> Callable[..., Any]:
    """`step` between its hooks; a subclass's step that calls its parent's is still one step."""

    @functools.wraps(step)
    def stepped(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        if self._stepping:
            return step(self, *args, **kwargs)
        given: Any = args, kwargs
        self._stepping = True
        try:
            for hook in [*EVERYWHERE["step_pre"].values(), *self._hooks["step_pre"].values()]:
                given = _or(hook(self, (self, *given[0]), given[1]), given, self)
            loss = step(self, *given[0], **given[1])
            for hook in [*self._hooks["step_post"].values(), *EVERYWHERE["step_post"].values()]:
                hook(self, (self, *given[0]), given[1])
        finally:
            self._stepping = False
        self._opt_called = True
        return loss

    return stepped


def evaluated(closure: Callable[[], Any] | None) -> Any:
    """The loss that a closure computes, with gradients."""
    if closure is None:
        return None
    with enable_grad():
        return closure()


def scalar(value: float, p: Tensor) -> Tensor:
    """A number that is state of p, such as the count of steps."""
    made: Tensor = full_like(p, value=value, shape=(), dtype=F64 if get_default_dtype() is float64 else F32)
    return made


def plain(state: Any) -> Any:
    """A parameter's state as a dict like others."""
    return dict(state) if isinstance(state, Watched) else state


def taken(value: Any, p: Tensor) -> Any:
    """A copy of a saved value for parameter p: in its dtype, but for numbers such as the count of steps."""
    if isinstance(value, dict):
        return Watched((k, taken(v, p)) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return type(value)(taken(v, p) for v in value)
    if not isinstance(value, Tensor) and not hasattr(value, "__array__"):
        return value
    with no_grad():
        copy: Tensor = as_tensor(value, device=p.device).detach().clone()
        return copy.to(p.dtype) if copy.ndim and p.dtype.is_floating_point else copy


def check_options(**options: Any) -> None:
    """Refuse options that no optimizer can mean: negative ones, and betas outside 0 ... 1."""
    for name, value in options.items():
        if isinstance(value, Tensor) and value.numel() != 1:
            fail(ArgumentError, f"Tensor {name} must be 1-element, but has shape {list(value.shape)}")
        if name == "betas":
            for i, beta in enumerate(value):
                if not 0.0 <= beta < 1.0:
                    fail(ArgumentError, f"Invalid beta parameter at index {i}: {beta}", "it must lie in 0 <= beta < 1")
        elif not value >= 0.0:
            said = {"lr": "learning rate", "eps": "epsilon value"}.get(name, f"{name} value")
            fail(ArgumentError, f"Invalid {said}: {value}", "it must not be negative")


def _without(group: Group, key: str) -> Group:
    return {k: v for k, v in group.items() if k != key}


def _or(returned: Any, given: Any, self: Any = None) -> Any:
    """What a hook returned, or what it was given if it returned nothing."""
    if returned is None:
        return given
    if self is not None:  # (args, kwargs) of step, the optimizer first among args
        if not isinstance(returned, tuple) or len(returned) != 2:
            fail(
                PullbackError,
                f"a step hook must return None or a tuple of (new_args, new_kwargs), but got {returned!r}",
            )
        args, kwargs = returned
        return (tuple(args)[1:] if args and args[0] is self else tuple(args)), kwargs
    return returned


Params = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]
