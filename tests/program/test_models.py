"""Training steps of all kinds, compiled: parameters, gradients, buffers, optimizers and generators agree after each."""

from __future__ import annotations

import collections
import copy
import dataclasses
import importlib
import types
from collections.abc import Callable
from typing import Any

import pytest

import pullback as torch
import pullback.nn.functional as F
from pullback import func, nn, optim
from pullback.optim import swa_utils
from pullback.tensor import Tensor
from pullback.utils.checkpoint import checkpoint, checkpoint_sequential

from .twins import refused, together

Make = Callable[[], tuple[Any, Callable[..., Any]]]

STEPS = 6


def calls(*shapes: Any, steps: int = STEPS) -> list[tuple[Tensor, ...]]:
    """Batches: normal numbers of a shape, or with (classes, shape) class numbers."""
    torch.manual_seed(3)
    return [
        tuple([torch.randint(0, *s) if isinstance(s[-1], tuple) else torch.randn(*s) for s in shapes])
        for _ in range(steps)
    ]


XY = calls((4, 5), (4, 3))


def training(
    network: Callable[[], Any],
    optimizer: Callable[[Any], Any] = lambda ps: optim.Adam(ps, lr=0.01),
    loss: Callable[..., Any] = F.mse_loss,
) -> Make:
    """A model, an optimizer, and the usual step."""

    def make() -> Any:
        net = network()
        opt = optimizer([p for p in net.parameters() if p.requires_grad])

        def step(x: Any, y: Any) -> Any:
            opt.zero_grad()
            value = loss(net(x), y)
            value.backward()
            opt.step()
            return value

        return (net, opt), step

    return make


def mlp() -> Any:
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 3))


def tiny() -> Any:
    return nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 3))


# -- models ------------------------------------------------------------------------------------------------------------


class Recurrent(nn.Module):
    """Its state goes from call to call: backpropagation through time is truncated."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.rnn = getattr(nn, kind)(5, 6, num_layers=2, batch_first=True, dropout=0.2)
        self.out, self.state = nn.Linear(6, 3), None

    def forward(self, x: Tensor) -> Tensor:
        y, state = self.rnn(x.unsqueeze(1).repeat(1, 3, 1), self.state)
        self.state = tuple(t.detach() for t in state) if isinstance(state, tuple) else state.detach()
        return self.out(y[:, -1])


class Translator(nn.Module):
    """With the weights of the embedding and of the last layer tied."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(7, 8, padding_idx=0), nn.Linear(8, 7)
        self.out.weight = self.embed.weight
        self.body = nn.Transformer(8, 2, 1, 1, 16, dropout=0.1, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        e = self.embed(x)
        return self.out(self.body(e, e, tgt_mask=mask, src_key_padding_mask=x == 0)).flatten(0, 1)


def convolutional() -> Any:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout2d(0.2),
        nn.Conv2d(4, 6, 3, groups=2), nn.GroupNorm(2, 6), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(6, 3),
    )  # fmt: skip


def images() -> Any:
    return calls((4, 1, 8, 8), (3, (4,)))


def words() -> Any:
    return [(x := t.clamp(min=1), x.flatten()) for (t,) in calls((7, (2, 5)))]


def words_loss(logits: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(logits, target, ignore_index=0, label_smoothing=0.1)


def momentum(ps: Any) -> Any:
    return optim.SGD(ps, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3)


MODELS: dict[str, tuple[Make, Any]] = {
    "perceptron": (training(mlp), XY),
    "batch norm of all batches": (
        training(lambda: nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3, momentum=None))),
        XY,
    ),
    "convolutional": (training(convolutional, momentum, F.cross_entropy), images()),
    "transformer, tied": (training(Translator, lambda ps: optim.AdamW(ps), words_loss), words()),
    "encoder": (
        training(
            lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True), 2),
            lambda ps: optim.NAdam(ps),
        ),
        calls((2, 5, 8), (2, 5, 8)),
    ),
    **{kind: (training(lambda kind=kind: Recurrent(kind)), XY) for kind in ("LSTM", "GRU", "RNN")},  # type: ignore[misc]
    "half": (
        training(lambda: nn.Sequential(nn.Linear(5, 8), nn.LayerNorm(8), nn.Linear(8, 3)).bfloat16()),
        [(x.bfloat16(), y.bfloat16()) for x, y in XY],
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_models(name: str) -> None:
    together(*MODELS[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_models_for_twenty_steps(name: str) -> None:
    make, given = MODELS[name]
    together(make, [given[i % len(given)] for i in range(20)])


def example(name: str) -> Any:
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    return importlib.import_module(f"examples.{name}")


def elbo(parts: Any, _: Any) -> Tensor:
    likelihood, divergence = parts
    return (divergence - likelihood).mean()


def on_pairs(model: Any) -> Any:
    """A recommender takes users and items: here, as two columns."""
    inner = model.forward
    model.forward = lambda pairs: inner(pairs[:, 0], pairs[:, 1])
    return model


EXAMPLES: dict[str, tuple[Callable[[Any], Any], Any, Callable[..., Any]]] = {
    "xor": (lambda m: m.hidden_layer(), calls((4, 2), (4, 1)), F.binary_cross_entropy_with_logits),
    "digits_mlp": (lambda m: m.network(), calls((8, 64), (10, (8,))), F.cross_entropy),
    "digits_cnn": (lambda m: m.network(), calls((8, 1, 8, 8), (10, (8,))), F.cross_entropy),
    "depth": (lambda m: m.Net(12, True), calls((8, 64), (10, (8,))), F.cross_entropy),
    "vae": (lambda m: m.VAE(), [(x.abs(), y) for x, y in calls((8, 64), (1, 1))], elbo),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_models_of_the_examples(name: str) -> None:
    module = example(name)
    build, given, loss = EXAMPLES[name]
    together(training(lambda: build(module), loss=loss), given)


def test_the_recommender_of_the_examples() -> None:
    module = example("recommender")
    together(
        training(lambda: on_pairs(module.Factorisation(8, 3.0)), lambda ps: optim.AdamW(ps)), calls((20, (8, 2)), (8,))
    )


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_the_character_model_of_the_examples(cell: str) -> None:
    """Windows within a step, the state cut between them, an update for each."""
    module = example("char_rnn")

    def make() -> Any:
        net = module.CharModel(getattr(nn, cell), 9)
        opt = optim.Adam(net.parameters(), lr=module.LEARNING_RATE)

        def step(text: Tensor) -> Any:
            losses, state = [], None
            for start in (0, 4):
                logits, state = net(text[start : start + 4], state)
                loss = F.cross_entropy(logits.flatten(0, 1), text[start + 1 : start + 5].flatten())
                opt.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                opt.step()
                state = module.detached(state)
                losses.append(loss)
            return losses

        return (net, opt), step

    together(make, calls((9, (9, 2))), captures=1)


# -- ways to train -----------------------------------------------------------------------------------------------------


def averaged() -> Any:
    net = mlp()
    opt = optim.SGD(net.parameters(), lr=0.1)
    ema = swa_utils.AveragedModel(net, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.9), use_buffers=True)
    swa, schedule = swa_utils.AveragedModel(net), swa_utils.SWALR(opt, 0.05, anneal_epochs=3)

    def step(x: Tensor, y: Tensor) -> Any:
        opt.zero_grad()
        loss = F.mse_loss(net(x), y)
        loss.backward()
        opt.step()
        ema.update_parameters(net)
        swa.update_parameters(net)
        schedule.step()
        return loss, ema(x)

    return (net, opt, ema, swa, schedule), step


def adversaries() -> Any:
    make, judge = nn.Linear(3, 5), nn.Sequential(nn.Linear(5, 4), nn.LeakyReLU(0.2), nn.Linear(4, 1))
    makes, judges = optim.Adam(make.parameters(), betas=(0.5, 0.999)), optim.Adam(judge.parameters())
    loss = F.binary_cross_entropy_with_logits

    def step(x: Tensor, z: Tensor) -> Any:
        judges.zero_grad()
        real, false = loss(judge(x), torch.ones(4, 1)), loss(judge(make(z).detach()), torch.zeros(4, 1))
        (real + false).backward()
        judges.step()
        makes.zero_grad()
        fooled = loss(judge(make(torch.randn(4, 3))), torch.ones(4, 1))
        fooled.backward()
        makes.step()
        return real, false, fooled

    return (make, judge, makes, judges), step


def accumulated() -> Any:
    """Two compiled micro-steps make one update."""
    net = tiny()
    opt = optim.AdamW(net.parameters())

    def step(x: Tensor, y: Tensor, last: bool) -> Any:
        loss = F.mse_loss(net(x), y) / 2
        loss.backward()
        if last:
            opt.step()
            opt.zero_grad()
        return loss

    return (net, opt), step


def chunked() -> Any:
    net = tiny()
    opt = optim.RMSprop(net.parameters())

    def step(x: Tensor, y: Tensor) -> None:
        opt.zero_grad()
        for a, b in zip(x.chunk(2), y.chunk(2), strict=True):
            (F.mse_loss(net(a), b) / 2).backward()
        opt.step()

    return (net, opt), step


def frozen() -> Any:
    net = mlp()
    net[0].requires_grad_(False)
    net[1].eval()
    return net


def penalised() -> Any:
    """The gradient's own norm is in the loss."""
    net = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1))
    opt = optim.SGD(net.parameters(), lr=0.1)

    def step(x: Tensor, _: Tensor) -> Any:
        opt.zero_grad()
        x = x.detach().requires_grad_()
        (g,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
        loss = ((g.norm(dim=1) - 1) ** 2).mean()
        loss.backward()
        opt.step()
        return loss

    return (net, opt), step


def attacked() -> Any:
    """An optimizer that each step makes anew, of a tensor that it makes as well."""
    net = tiny()

    def step(x: Tensor, y: Tensor) -> Any:
        delta = torch.zeros_like(x, requires_grad=True)
        opt = optim.Adam([delta], lr=0.1)
        for _ in range(3):
            opt.zero_grad()
            (-F.mse_loss(net(x + delta), y)).backward()
            opt.step()
        return delta.detach()

    return net, step


def made_anew() -> Any:
    """An optimizer of the same parameters, made in each step: its momenta are new as well."""
    net = tiny()

    def step(x: Tensor, y: Tensor) -> Any:
        opt = optim.Adam(net.parameters())
        opt.zero_grad()
        F.mse_loss(net(x), y).backward()
        opt.step()

    return net, step


def targeted() -> Any:
    """A copy that follows slowly, and is now and then set to the same."""
    net = tiny()
    target = copy.deepcopy(net)

    def step(x: Tensor, y: Tensor) -> Any:
        with torch.no_grad():
            for p, q in zip(target.parameters(), net.parameters(), strict=True):
                p.mul_(0.9).add_(q, alpha=0.1)
                p.lerp_(q, 0.1)
                q.data.copy_(q.data * 0.5)
        net.load_state_dict(target.state_dict())
        return target(x), copy.deepcopy(net)(y.repeat(1, 2)[:, :5])

    return (net, target), step


def by_hand() -> Any:
    p = nn.Parameter(torch.randn(5, 3))

    def step(x: Tensor, y: Tensor) -> Any:
        loss = F.mse_loss(x @ p, y)
        p.grad = None
        loss.backward()
        p.data -= 0.1 * p.grad
        p.data = p.data * 0.999
        return loss

    return p, step


def mixed(dtype: Any) -> Make:
    def make() -> Any:
        net = nn.Sequential(nn.Linear(5, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 3))
        opt = optim.AdamW(net.parameters())
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=2)

        def step(x: Tensor, y: Tensor) -> Any:
            opt.zero_grad()
            with torch.autocast("cpu", dtype=dtype):
                loss = F.mse_loss(net(x), y)
            scaler.scale(loss).backward()
            scaler.step(opt)
            scaler.update()
            return loss

        return (net, opt, scaler), step

    return make


def checkpointed(sequential: bool) -> Make:
    def make() -> Any:
        net = nn.Sequential(*[nn.Sequential(nn.Linear(5, 5), nn.Dropout(0.3), nn.Tanh()) for _ in range(4)])
        last = nn.Linear(5, 3)
        opt = optim.SGD([*net.parameters(), *last.parameters()], lr=0.1)

        def step(x: Tensor, y: Tensor) -> Any:
            opt.zero_grad()
            h = checkpoint_sequential(net, 2, x) if sequential else checkpoint(net, x)
            loss = F.mse_loss(last(h), y)
            loss.backward()
            opt.step()
            return loss

        return (net, last, opt), step

    return make


def hooked() -> Any:
    """Hooks of modules and tensors; one notes what it sees in a dict that was empty."""
    net, seen = tiny(), {}
    opt = optim.SGD(net.parameters(), lr=0.1)
    net[0].register_forward_hook(lambda module, inputs, out: seen.update(first=out.detach()))
    net[0].weight.register_hook(lambda g: g * 2)
    net[2].register_full_backward_hook(lambda module, inputs, outputs: (inputs[0] * 0.5,))

    def step(x: Tensor, y: Tensor) -> Any:
        opt.zero_grad()
        hidden = net[0](x)
        hidden.retain_grad()
        loss = F.mse_loss(net[2](hidden.tanh()), y)
        loss.backward()
        opt.step()
        return loss, hidden.grad

    return (net, opt, seen), step


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 2 * x * g


def differentiated() -> Any:
    """Functions of gradients, own functions, hooks on what is saved."""
    net = tiny()

    def step(x: Tensor, y: Tensor) -> Any:
        parameters = {name: p.detach() for name, p in net.named_parameters()}
        grads = func.grad(lambda ps: F.mse_loss(func.functional_call(net, ps, (x,)), y))(parameters)
        jacobian = torch.autograd.functional.jacobian(lambda v: net(v).tanh(), x[0])
        hessian = torch.autograd.functional.hessian(lambda v: net(v).tanh().sum(), x[0])
        net.zero_grad()
        with torch.autograd.graph.saved_tensors_hooks(lambda t: t * 1, lambda t: t):
            loss = Square.apply(net(x)).sum()
        loss.backward()
        return grads, jacobian, hessian, loss

    return net, step


def closed() -> Any:
    net = tiny()
    opt = optim.Adam(net.parameters())

    def step(x: Tensor, y: Tensor) -> Any:
        def closure() -> Tensor:
            opt.zero_grad()
            loss = F.mse_loss(net(x), y)
            loss.backward()
            return loss

        return opt.step(closure)

    return (net, opt), step


def packed() -> Any:
    rnn = nn.LSTM(5, 4, batch_first=True)
    opt = optim.SGD(rnn.parameters(), lr=0.1)

    def step(x: Tensor, _: Tensor) -> Any:
        opt.zero_grad()
        rows = nn.utils.rnn.pack_padded_sequence(x.unsqueeze(1).repeat(1, 3, 1), [3, 3, 2, 1], batch_first=True)
        y, (h, _) = rnn(rows)
        y, lengths = nn.utils.rnn.pad_packed_sequence(y, batch_first=True)
        loss = (y**2).sum() + h.sum()
        loss.backward()
        opt.step()
        return loss, lengths

    return (rnn, opt), step


def cells(kind: str) -> Make:
    def make() -> Any:
        cell = getattr(nn, kind)(5, 3)
        opt = optim.RMSprop(cell.parameters())

        def step(x: Tensor, y: Tensor) -> Any:
            opt.zero_grad()
            state, loss = None, 0.0
            for _ in range(3):
                state = cell(x, state)
                loss = loss + F.mse_loss(state[0] if isinstance(state, tuple) else state, y)
            loss.backward()
            opt.step()
            return loss

        return (cell, opt), step

    return make


WAYS: dict[str, Make] = {
    "averaged": averaged,
    "adversaries": adversaries,
    "chunked": chunked,
    "frozen": training(frozen),
    "penalised": penalised,
    "attacked": attacked,
    "made anew": made_anew,
    "targeted": targeted,
    "by hand": by_hand,
    "mixed bfloat16": mixed(torch.bfloat16),
    "mixed float16": mixed(torch.float16),
    "checkpointed": checkpointed(False),
    "checkpointed in segments": checkpointed(True),
    "hooked": hooked,
    "differentiated": differentiated,
    "closure": closed,
    "packed": packed,
    "LSTMCell": cells("LSTMCell"),
    "GRUCell": cells("GRUCell"),
    "RNNCell": cells("RNNCell"),
}


@pytest.mark.parametrize("name", WAYS)
def test_ways_to_train(name: str) -> None:
    together(WAYS[name], XY)


REPARAMETRISED = {
    "weight_norm": nn.utils.parametrizations.weight_norm,
    "spectral_norm": nn.utils.parametrizations.spectral_norm,
    "orthogonal": nn.utils.parametrizations.orthogonal,
    "cayley": lambda m: nn.utils.parametrizations.orthogonal(m, orthogonal_map="cayley"),
    "householder": lambda m: nn.utils.parametrizations.orthogonal(m, orthogonal_map="householder"),
    "older weight_norm": nn.utils.weight_norm,
    "older spectral_norm": nn.utils.spectral_norm,
}


@pytest.mark.parametrize("name", REPARAMETRISED)
def test_parametrizations(name: str) -> None:
    """Spectral norm iterates: its vectors are buffers."""
    together(training(lambda: nn.Sequential(REPARAMETRISED[name](nn.Linear(5, 5)), nn.Linear(5, 3))), XY)


def test_accumulation_over_two_micro_steps() -> None:
    """One capture for each kind of micro-step, and one for gradients that are not there yet."""
    together(accumulated, [(x, y, i % 2 == 1) for i, (x, y) in enumerate(XY)], captures=3)


def test_layers_that_thaw() -> None:
    def make() -> Any:
        net = tiny()
        opt = momentum(net.parameters())

        def step(x: Tensor, y: Tensor, thawed: bool) -> Any:
            net[0].requires_grad_(thawed)
            opt.zero_grad()
            loss = F.mse_loss(net(x), y)
            loss.backward()
            opt.step()
            return loss

        return (net, opt), step

    together(make, [(x, y, i > 2) for i, (x, y) in enumerate(XY)])


def test_training_and_evaluation_switch_inside() -> None:
    def make() -> Any:
        net = mlp()
        return net, lambda x, training: net.train(training)(x)

    together(make, [(x, i % 2 == 0) for i, (x, _) in enumerate(XY)])


def test_parts_are_chosen_by_name() -> None:
    def make() -> Any:
        parts, shift = nn.ModuleDict({"a": nn.Linear(5, 3), "b": nn.Linear(5, 3)}), nn.ParameterList([torch.randn(3)])
        opt = optim.SGD([*parts.parameters(), *shift.parameters()], lr=0.1)

        def step(x: Tensor, y: Tensor, name: str) -> Any:
            opt.zero_grad()
            loss = F.mse_loss(parts[name](x) + shift[0], y)
            loss.backward()
            opt.step()
            return loss

        return (parts, shift, opt), step

    together(make, [(x, y, "ab"[i % 2]) for i, (x, y) in enumerate(XY)])


@pytest.mark.parametrize("kind", [float, torch.tensor], ids=["a number", "a tensor"])
def test_learning_rates_that_are_set_inside(kind: Any) -> None:
    def make() -> Any:
        net = tiny()
        opt = optim.SGD(net.parameters(), lr=0.1)

        def step(x: Tensor, y: Tensor, lr: Any) -> Any:
            for group in opt.param_groups:
                group["lr"] = lr
            opt.zero_grad()
            loss = F.mse_loss(net(x), y)
            loss.backward()
            opt.step()
            opt.param_groups[0]["lr"] = opt.param_groups[0]["lr"] * 0.9
            return loss

        return (net, opt), step

    together(make, [(x, y, kind(0.1 / (i + 1))) for i, (x, y) in enumerate(XY)])


# -- caches ------------------------------------------------------------------------------------------------------------


class Cache(nn.Module):
    """Keys of what came before, written at a place that is a tensor, or at a number."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("keys", torch.zeros(2, 6, 3))
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))
        self.project = nn.Linear(3, 3)

    @torch.no_grad()
    def forward(self, x: Tensor, start: int | None = None) -> Tensor:
        if start is None:
            self.keys[:, self.place] = self.project(x)
            self.keys[:, self.place].mul_(0.5)
        else:
            self.keys[:, start : start + 1] = self.project(x)[:, None]
        self.place += 1
        seen = torch.arange(6) < self.place
        scores = (self.keys @ x[:, :, None]).squeeze(-1)
        return scores.masked_fill(~seen, -torch.inf).softmax(-1)


def test_a_cache_written_at_a_tensor() -> None:
    def make() -> Any:
        net = Cache()
        return net, lambda x: net(x)

    together(make, calls((2, 3)), captures=1)


def test_a_cache_written_at_a_number_is_captured_for_each() -> None:
    def make() -> Any:
        net = Cache()
        return net, net.forward

    together(make, [(x, i) for i, (x,) in enumerate(calls((2, 3), steps=4))], captures=4)


# -- state in Python's containers --------------------------------------------------------------------------------------


class Meter:
    def __init__(self) -> None:
        self.total, self.best = torch.zeros(()), torch.tensor(torch.inf)

    def note(self, loss: Tensor) -> None:
        self.total = self.total + loss
        self.best = torch.minimum(self.best, loss)


@dataclasses.dataclass
class Last:
    loss: Any = None


HOLDERS: dict[str, tuple[Callable[[], Any], Callable[[Any, Tensor], Any]]] = {
    "dict in a dict": (dict, lambda h, loss: h.update(a={"b": [loss]})),
    "list": (list, lambda h, loss: h.append(loss)),
    "deque": (lambda: collections.deque(maxlen=3), lambda h, loss: h.append(loss)),
    "defaultdict": (lambda: collections.defaultdict(list), lambda h, loss: h["k"].append(loss)),
    "sum": (lambda: {"sum": torch.zeros(())}, lambda h, loss: h.update(sum=h["sum"] + loss)),
    "meter": (Meter, lambda h, loss: h.note(loss)),
    "dataclass": (Last, lambda h, loss: setattr(h, "loss", loss)),
    "namespace": (lambda: types.SimpleNamespace(n=0), lambda h, loss: setattr(h, "n", h.n + loss)),
}


@pytest.mark.parametrize("name", HOLDERS)
def test_what_a_step_keeps(name: str) -> None:
    begin, keep = HOLDERS[name]

    def make() -> Any:
        (net, opt), train = training(tiny)()
        state = {"kept": begin()}

        def step(x: Tensor, y: Tensor) -> Any:
            loss = train(x, y)
            keep(state["kept"], loss.detach())
            return loss

        return (net, opt, state), step

    together(make, XY)


def test_a_container_stays_the_same_object() -> None:
    inner: dict[str, Any] = {"loss": None}
    state = {"inner": inner, "n": [torch.zeros(())]}

    @torch.compile(engine="numpy")
    def step(x: Tensor) -> Any:
        state["inner"]["loss"] = x.sum()
        state["n"][0] = state["n"][0] + 1
        return state["inner"]

    for i in range(3):
        returned = step(torch.ones(2) * i)
        assert returned is inner is state["inner"]
        assert float(inner["loss"]) == 2 * i and float(state["n"][0]) == i + 1


def test_results_of_all_kinds() -> None:
    Pair = collections.namedtuple("Pair", "a b")

    def make() -> Any:
        net, base = tiny(), torch.zeros(4, 5)

        def step(x: Tensor, y: Tensor) -> Any:
            out = net(x)
            row, turned = base[1], base.t()
            row += x[0]
            turned[0] = 1
            return {"last": Last(out.sum()), "pair": Pair(out, [out, (row, 3, "s", None)])}, turned

        return (net, base), step

    together(make, XY, captures=1)


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_refused() -> None:
    net = tiny()
    lbfgs = optim.LBFGS(net.parameters(), max_iter=2)

    def line_search(x: Tensor, y: Tensor) -> Any:
        def closure() -> Tensor:
            lbfgs.zero_grad()
            loss = F.mse_loss(net(x), y)
            loss.backward()
            return loss

        return lbfgs.step(closure)

    def checked(x: Tensor, y: Tensor) -> Any:
        net.zero_grad()
        F.mse_loss(net(x), y).backward()
        return nn.utils.clip_grad_norm_(net.parameters(), 1.0, error_if_nonfinite=True)

    names: set[str] = set()

    def counted(x: Tensor, y: Tensor) -> Any:
        names.add(f"batch {len(names)}")
        return x + y[:, :1]

    refused(line_search, *XY[0], match="how often it calls the closure depends on the losses")
    refused(checked, *XY[0], match="error_if_nonfinite")
    refused(counted, *XY[0], match="changes the set names")
    assert names == {"batch 0"}


def test_the_closure_of_lbfgs_can_be_compiled() -> None:
    """Which is what the refusal says to do."""
    losses = []
    for compiled in (False, True):
        torch.manual_seed(2)
        net = tiny()
        opt = optim.LBFGS(net.parameters(), max_iter=4, line_search_fn="strong_wolfe")
        (x, y), *_ = XY

        def closure(net: Any = net, x: Any = x, y: Any = y) -> Tensor:
            net.zero_grad()
            loss = F.mse_loss(net(x), y)
            loss.backward()
            return loss

        run = torch.compile(closure, engine="numpy") if compiled else closure
        losses.append([opt.step(run).item() for _ in range(5)])
    assert losses[0] == losses[1]
