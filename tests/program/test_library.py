"""The whole library inside of compiled functions: each op, each layer, keys, random numbers, distributions.

The same bits as eagerly, on the numpy engine; or, where that cannot be, a clear refusal at the user's line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from tests.nn.layers.harness import FAMILIES, MODES, OURS, Values, filled, numbered, tensors
from tests.nn.layers.harness import Case as LayerCase
from tests.nn.layers.harness import made as made_layer
from tests.ops.harness import Case, cases_of, cotangents_of, inputs_of, leaves_of, listed, on_tape, pulled, random

import pullback as torch
import pullback.nn.functional as F
from pullback import distributions, gradients, nn
from pullback.ops import OPS
from pullback.ops.record import Op
from pullback.tensor import Tensor, wrap

from .twins import Bits, refused, same, together

FULL = (torch.float32, torch.float64)
UNKNOWN_SHAPE = {"nonzero", "spread"}  # ops whose results have as many elements as values say
each_op = pytest.mark.parametrize("op", OPS.values(), ids=OPS)

# -- ops ---------------------------------------------------------------------------------------------------------------


def all_samples(op: Op, arguments: Sequence[Sequence[Any]], function: Any) -> list[Any]:
    """function(case, inputs) for every sample of an op, as one step."""
    return [function(case, inputs) for case, inputs in zip(cases_of(op.name), arguments, strict=True)]


def eagerly_and_compiled(op: Op, function: Any, inputs: Any) -> None:
    def step(arguments: Any) -> Any:
        return all_samples(op, arguments, function)

    given = [[inputs(case) for case in cases_of(op.name)] for _ in range(2)]
    eager, compiled = step(given[0]), torch.compile(step, engine="numpy")(given[1])
    for case, xs, ys in zip(cases_of(op.name), eager, compiled, strict=True):
        assert len(xs) == len(ys), case.id
        for x, y in zip(xs, ys, strict=True):
            assert (x is None) == (y is None), case.id
            assert x is None or Bits(x._array) == Bits(y._array), (case.id, x, y)


def tensors_of(case: Case) -> list[Any]:
    return [wrap(x) if isinstance(x, np.ndarray) else x for x in inputs_of(case)]


def results(case: Case, inputs: Sequence[Any]) -> list[Any]:
    return listed(case.op(*inputs, **case.sample.params))


def slopes(case: Case, inputs: Sequence[Any]) -> list[Any]:
    outs = listed(case.op(*inputs, **case.sample.params))
    gs = [None if g is None else wrap(g) for g in cotangents_of(case, [y._array for y in outs])]
    return pulled(outs, leaves_of(inputs), gs)


@each_op
def test_each_op_gives_the_same_bits(op: Op) -> None:
    if op.name in UNKNOWN_SHAPE:
        case = cases_of(op.name)[0]
        refused(lambda *xs: op(*xs, **case.sample.params), *tensors_of(case), match="shape of its result depends")
    else:
        eagerly_and_compiled(op, results, tensors_of)


@pytest.mark.slow
@pytest.mark.parametrize("op", [op for op in OPS.values() if op.differentiable], ids=lambda op: op.name)
def test_each_pullback_gives_the_same_bits(op: Op) -> None:
    eagerly_and_compiled(op, slopes, lambda case: on_tape(inputs_of(case)))


# -- layers ------------------------------------------------------------------------------------------------------------

LAYERS = [(key, case, mode) for name in FAMILIES for key, case in numbered(name) for mode in MODES]
# Which class falls into which cluster decides what is computed.
VALUE_DEPENDENT = ("AdaptiveLogSoftmaxWithLoss",)


def layer(case: LayerCase, mode: str) -> tuple[Any, Any, Any]:
    """(state, step, inputs): a step returns outputs and gradients."""
    m = filled(made_layer(case, OURS), OURS)
    m.train(MODES[mode])
    names = Values(OURS, requires_grad=False).names()
    inputs = tuple(eval(text, names) for text in case.inputs)
    inputs = tuple(x.requires_grad_() if isinstance(x, Tensor) and x.is_floating_point() else x for x in inputs)
    call = compile(case.call, "<call>", "eval")

    def step(*xs: Any) -> Any:
        outs = list(tensors(eval(call, {**names, "m": m, "xs": xs}), Tensor))
        leaves = [*(x for x in xs if isinstance(x, Tensor) and x.requires_grad), *m.parameters()]
        leaves = [x for x in leaves if x.requires_grad]
        pairs = [(y, torch.tensor(random(f"cotangent {i}", y.shape))) for i, y in enumerate(outs) if y.requires_grad]
        if not pairs or not leaves:
            return outs, None
        return outs, gradients.grad([y for y, _ in pairs], leaves, [g.to(y.dtype) for y, g in pairs], allow_unused=True)

    return m, step, inputs


def check_layer(case: LayerCase, mode: str) -> None:
    inputs = layer(case, mode)[2]
    together(lambda: layer(case, mode)[:2], [inputs] * 2)


def first_cases() -> list[Any]:
    """One of each class, in training."""
    seen: dict[str, Any] = {}
    for key, case, mode in LAYERS:
        if mode == "train":
            seen.setdefault(key.partition("/")[0], (key, case, mode))
    return [(name, *rest) for name, (_, *rest) in seen.items() if name not in VALUE_DEPENDENT]


@pytest.mark.parametrize(("name", "case", "mode"), first_cases(), ids=lambda x: x if isinstance(x, str) else "")
def test_each_layer(name: str, case: LayerCase, mode: str) -> None:
    check_layer(case, mode)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "case", "mode"),
    [x for x in LAYERS if not x[0].startswith((*VALUE_DEPENDENT, "CTCLoss/1"))][::3],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_cases_of_layers(key: str, case: LayerCase, mode: str) -> None:
    """Every third, which still is several of each class."""
    check_layer(case, mode)


def test_layers_that_depend_on_values_are_refused() -> None:
    m = nn.AdaptiveLogSoftmaxWithLoss(16, 20, [5, 12])
    refused(lambda x, y: m(x, y).loss, torch.randn(4, 16), torch.randint(0, 20, (4,)), match="depends on values")
    rows = [torch.randn(5, 2, 4).log_softmax(2), torch.tensor([1, 2, 3]), torch.tensor([5, 5]), torch.tensor([1, 2])]
    refused(lambda *xs: F.ctc_loss(*xs), *rows, match="pad the targets")


# -- keys --------------------------------------------------------------------------------------------------------------

READS = [
    "x[i]", "x[:, i]", "x[..., i]", "x[i, j]", "x[i, :, j]", "x[i, idx]", "x[:, idx, i]", "x[i, ..., idx]",
    "x[None, i]", "x[0, i]", "x[i, 1:]", "x[:, j, None]", "x[i][1]", "x[i][:, 1]", "x[[0, 1], i]", "x.select(1, i)",
    "x[i.int()]", "x[:, i].sum()", "x[idx[0]]", "x[:, idx]", "x[torch.tensor(1)]", "x[:, torch.tensor(-1)]",
    "x[torch.tensor([True, False])]",
]  # fmt: skip
WRITES = [
    "x[i]=5", "x[i]=v[0]", "x[:, i]=v[:, 0]", "x[..., i]=1", "x[i, j]=v[0, 0]", "x[i, :, j]=2", "x[i, idx]=3",
    "x[:, idx, i]=v[:, :, 0]*2", "x[i]+=1", "x[i, j]*=2", "x[i].add_(1)", "x[i][1].mul_(2)", "x[i][:, j]=9", "x[m]=0",
    "x[m]=torch.tensor(3.0)", "x[rows]=7", "x[rows]=v[0]", "x[rows]=v[:1]", "x[:, m[0]]=1", "x[0, m[0]]=1",
    "x[:, m[0, :, 0]]=v[:1, :1]", "x[..., m[0, 0]]=1", "x[b]=1", "x[b]=v", "x[0][m[0]]=2", "x[i, None]=1",
    "x[m.byte()]=1", "x.masked_fill_(m, 1)", "x[idx]=v[[0, 1, 1]]", "x[:, 1:][m[:, 1:]]=0",
]  # fmt: skip
x, v = torch.arange(24.0).reshape(2, 3, 4) - 7, torch.arange(24.0).reshape(2, 3, 4) * -2
KEYS = {
    "i": torch.tensor(1), "j": torch.tensor(-1), "idx": torch.tensor([0, 1, 1]), "m": x > 0,
    "rows": torch.tensor([True, False]), "b": torch.tensor(True), "v": v,
}  # fmt: skip


@pytest.mark.parametrize("text", READS)
def test_reading_by_tensors(text: str) -> None:
    code = compile(text, "<key>", "eval")
    same(lambda x, keys: eval(code, {"x": x, "torch": torch, **keys}), x, KEYS)


@pytest.mark.parametrize("text", WRITES)
def test_writing_by_tensors(text: str) -> None:
    """What is written into a view of an index that nobody knows is seen in the whole, and the other way round."""
    code = compile(text, "<key>", "exec")

    def step(x: Tensor, keys: Any) -> Any:
        view = x[0]
        exec(code, {"x": x, "torch": torch, **keys})
        return view, x * 1

    same(step, x, KEYS)


def test_views_at_an_unknown_index_are_views() -> None:
    def swapped_badly(x: Tensor, i: Tensor) -> Any:
        row = x[i]
        x[0] = x[1]
        x[1] = row
        return row

    def the_index_moves(x: Tensor, i: Tensor) -> Any:
        row = x[i]
        i += 1
        row.add_(1)
        x[i] = 0
        return row, i

    same(swapped_badly, x, torch.tensor(0))
    same(the_index_moves, x, torch.tensor(0))


def test_gradients_through_unknown_indices() -> None:
    def read(p: Tensor, i: Tensor) -> Any:
        ((p[i] * p[0]).sum() + (p[:, i] ** 2).sum()).backward()
        return p.grad

    def written(p: Tensor, i: Tensor) -> Any:
        y = p * 2
        y[:, i] = p[:, 0] * 3
        y[p > 3] = 0
        (y * y).sum().backward()
        return p.grad

    for step in (read, written):
        same(step, x.clone().requires_grad_(), KEYS["i"])


def test_refused_keys() -> None:
    m = KEYS["m"]
    refused(lambda x: x[x > 0], x, match=r"x\[mask\] has as many elements")
    refused(lambda x, m, v: x.__setitem__(m, v[m]), x, m, v, match="has as many elements")
    refused(lambda x, m, v: x.__setitem__(m, v), x, m, torch.arange(int(m.sum())), match="one value for each")
    refused(lambda x, i: x[:, i:], x, KEYS["i"], match="not known while a step is being captured")
    refused(lambda x, r, i: x.__setitem__((r, i), 1.0), x, KEYS["rows"], KEYS["i"], match="how many elements the mask")


# -- values that are asked for -----------------------------------------------------------------------------------------

ASKING = [
    "x.sum().item()", "x.tolist()", "float(x.sum())", "int(i)", "bool(x.any())", "x * (1 if x.sum() > 0 else 2)",
    "torch.allclose(x, x)", "torch.equal(x, x)", "f'{x.sum():.2f}'", "range(i)", "torch.arange(i)", "x.unique()",
    "x.nonzero()", "torch.where(x>0)", "torch.bincount(n)", "F.one_hot(n)", "torch.repeat_interleave(n, n)",
    "torch.linspace(0, i, 3)", "x.numpy()", "2 in x", "x.masked_select(x>0)", "x.tensor_split(n[:2], 1)",
    "n.unique_consecutive()",
]  # fmt: skip


@pytest.mark.parametrize("text", ASKING)
def test_asking_for_values_is_refused(text: str) -> None:
    code = compile(text, "<ask>", "eval")
    names = {"torch": torch, "F": F}
    refused(
        lambda x, i, n: eval(code, {**names, "x": x, "i": i, "n": n}), x.flatten(1), torch.tensor(2),
        torch.tensor([0, 2, 1]), match="while a step is being captured",
    )  # fmt: skip


GIVING = [
    "torch.tensor(x)", "torch.tensor([x.sum(), 1])", "torch.tensor([x.sum(), n.sum()])",
    "torch.tensor([[x.sum(), 2.5], [1, d.sum()]])", "torch.tensor([n[0], n[1]])", "torch.tensor([(x>0)[0, 0], True])",
    "torch.tensor(x.sum(), dtype=torch.float64)", "torch.tensor([x[0], x[1]])", "torch.as_tensor([x.sum(), 3])",
    "torch.full((2, 3), x.sum())", "torch.full((2, ), n.sum())", "torch.full((2, ), d.sum())",
    "torch.full((2, ), (x>0).any())", "torch.full((), x.sum(), dtype=torch.float16)",
    "torch.full_like(n, x.sum()*10)", "torch.full_like(x, n.sum())", "torch.tensor([x.half().sum(), 1.0])",
    "x.new_tensor([x.sum(), 1])", "x.new_full((2, ), x.sum())", "x.clone().fill_(x.sum())", "x.quantile(0.3)",
    "x.quantile(x.mean().sigmoid())", "x.quantile(torch.tensor([0.2, 0.9]))", "F.one_hot(n, 4)",
    "torch.bincount(torch.tensor([0, 2]))", "n[torch.tensor([2, 0])[0]]", "torch.histc(x, 4)",
    "x if torch.tensor([1, 2])[1] > 5 else n", "torch.tensor([3, 1, 2]).argmax().item()*x",
]  # fmt: skip


@pytest.mark.parametrize("text", GIVING)
def test_making_tensors_of_tensors(text: str) -> None:
    code = compile(text, "<give>", "eval")
    given = x.flatten(1), torch.tensor([0, 2, 1]), x[0, 0].double() / 3
    same(lambda x, n, d: eval(code, {"torch": torch, "F": F, "x": x, "n": n, "d": d}), *given)


# -- random numbers ----------------------------------------------------------------------------------------------------

DRAWS = [
    "x.uniform_(-1.3, 2.7)", "x.normal_(0.3, 1.7)", "x.bernoulli_(0.3)", "x.bernoulli_(p[0])", "x.exponential_(1.3)",
    "x.geometric_(0.3)", "x.cauchy_(0.1, 2.0)", "x.log_normal_(0.1, 0.3)", "x.random_()", "x.random_(5)",
    "torch.rand(3)", "torch.multinomial(p, 5, True)", "torch.multinomial(p, 4)", "torch.multinomial(p[0], 1)",
    "torch.bernoulli(p)", "torch.normal(x, p)", "torch.normal(x, 2.0)", "torch.randn_like(x)",
    "torch.randint(0, 9, (3, ))", "torch.randperm(6)", "torch.poisson(p*3)", "F.dropout(x, 0.4)",
    "F.alpha_dropout(x, 0.4, True)", "F.feature_alpha_dropout(x, 0.4, True)", "F.dropout1d(x, 0.4)",
    "F.rrelu(x, training=True)", "F.gumbel_softmax(x)", "F.gumbel_softmax(x, hard=True)", "nn.init.trunc_normal_(x)",
    "nn.init.orthogonal_(x)", "nn.init.kaiming_uniform_(x)", "nn.init.xavier_normal_(x)", "nn.init.sparse_(x, 0.5)",
    "torch.randn(4, generator=g)", "x.uniform_(generator=g)", "torch.multinomial(p, 2, generator=g)",
]  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_random_numbers(dtype: Any) -> None:
    """All of them in one step, twice: results, and where the generators stand."""
    codes = [compile(text, "<draw>", "eval") for text in DRAWS if dtype in FULL or "orthogonal" not in text]
    names = {"torch": torch, "F": F, "nn": nn}

    def make() -> Any:
        g = torch.Generator().manual_seed(4)
        return g, lambda x, p: [eval(code, {**names, "g": g, "x": x.clone(), "p": p}) for code in codes]

    p = torch.rand(3, 4, generator=torch.Generator().manual_seed(1))
    together(make, [(x[0].to(dtype), p.to(dtype))] * 2, captures=1)


def test_states_of_generators() -> None:
    def make() -> Any:
        def step() -> Any:
            torch.rand(3)
            before = torch.get_rng_state()
            with torch.random.fork_rng():
                torch.manual_seed(5)
                inner = torch.rand(3)
            first = torch.rand(2)
            torch.set_rng_state(before)
            return inner, first, torch.rand(2)

        return None, step

    together(make, [()] * 3, captures=1)


def test_sampling_a_sequence() -> None:
    def make() -> Any:
        embedding = nn.Embedding(6, 6)

        @torch.no_grad()
        def decode(token: Tensor) -> Tensor:
            tokens = []
            for _ in range(5):
                token = torch.multinomial(embedding(token).softmax(-1), 1).squeeze(-1)
                tokens.append(token)
            return torch.stack(tokens, 1)

        return embedding, decode

    together(make, [(torch.tensor([0, 1, 2]),)] * 4, captures=1)


# -- distributions -----------------------------------------------------------------------------------------------------

FAMILY = [
    "Normal(a, b)", "Uniform(a*0, b+1)", "Exponential(a)", "Bernoulli(b)", "Bernoulli(logits=b)",
    "Categorical(logits=a)", "Categorical(b)", "OneHotCategorical(logits=a)", "Gamma(a, b)", "Beta(a, b)",
    "Dirichlet(a)", "Geometric(b)", "Laplace(a, b)", "Cauchy(a, b)", "Gumbel(a, b)", "LogNormal(a, b)",
    "StudentT(a+1)", "MultivariateNormal(a[0], torch.eye(4))", "Independent(Normal(a, b), 1)", "Chi2(a)",
]  # fmt: skip


@pytest.mark.parametrize("text", FAMILY)
def test_distributions(text: str) -> None:
    """Their arguments are not checked where nobody knows them."""
    code = compile(text, "<distribution>", "eval")

    def step(a: Tensor, b: Tensor) -> Any:
        q = eval(code, {**vars(distributions), "torch": torch, "a": a, "b": b})
        drawn = q.sample((2,))
        return drawn, q.log_prob(drawn), q.entropy()

    torch.manual_seed(3)
    a, b = torch.rand(3, 4) + 0.1, (torch.rand(3, 4) * 0.8 + 0.1).softmax(-1)
    same(step, a, b)


def test_gradients_of_samples() -> None:
    def step(a: Tensor, b: Tensor) -> Any:
        q = distributions.Normal(a, b)
        divergence = distributions.kl_divergence(q, distributions.Normal(0.0, 1.0)).sum()
        drawn = distributions.Gamma(a, b).rsample()
        (q.rsample().square().sum() + divergence + drawn.sum()).backward()
        return a.grad

    same(step, (torch.arange(4.0) + 1).requires_grad_(), torch.arange(4.0) + 0.5)
