"""Generation: what is generated, that batches, engines and streams agree on it, and what is captured for it."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from importlib import import_module

import numpy as np
import pytest

import pullback as torch
from pullback.engines.native import available
from pullback.errors import ArgumentError, KindError, PullbackError, RangeError, ShapeError
from pullback.lm.config import Config
from pullback.lm.generate import generate, piece, rounded, stream
from pullback.lm.model import LanguageModel
from pullback.lm.sampling import Sampling, drawn, likeliest, nucleus, penalised

SMALL = Config(
    vocab_size=61,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=40,
    max_position_embeddings=96,
)
GENERATE = import_module("pullback.lm.generate")  # the package has a function of this name
PROMPTS = [[5, 17, 3], [9, 2, 41, 33, 8, 7, 60], [12]]
ENGINES = ["numpy", *(["native"] if available() else [])]
DRAWN = {"do_sample": True, "temperature": 0.8, "top_k": 20, "top_p": 0.9, "repetition_penalty": 1.2}


def made(config=SMALL, spread=8.0):
    """A model whose next tokens are far from even."""
    torch.manual_seed(1)
    model = LanguageModel(config).eval()
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim > 1:
                p.mul_(spread)
    return model


@pytest.fixture(scope="module")
def model():
    return made()


def full_forward(model, prompt, count, stop=()):
    """Greedy, with the whole text going through the model for each token."""
    tokens = list(prompt)
    with torch.no_grad():
        for _ in range(count):
            tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
            if tokens[-1] in stop:
                break
    return tokens


# -- greedy ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", [*ENGINES, None])
def test_greedy_is_repeated_full_forward(model, engine):
    options = {"compile": False} if engine is None else {"engine": engine}
    for prompt in PROMPTS:
        assert model.generate(torch.tensor([prompt]), 12, **options).tolist() == [full_forward(model, prompt, 12)]


@pytest.mark.parametrize(
    "changes",
    [
        {
            "positions": "learned",
            "norm": "layer",
            "feed_forward": "gelu",
            "qkv_bias": True,
            "tie_word_embeddings": False,
        },
        {"num_experts": 4, "num_experts_per_tok": 2, "num_shared_experts": 1, "qk_norm": True},
    ],
)
def test_other_models_too(changes):
    model = made(SMALL.but(**changes))
    given = model.generate(PROMPTS, 6)
    for row, prompt in zip(given.tolist(), PROMPTS, strict=True):
        assert row[7 - len(prompt) :] == full_forward(model, prompt, 6)


@pytest.mark.parametrize("options", [{}, {"compile": False}], ids=["compiled", "eager"])
def test_rows_of_a_batch_are_what_they_are_alone(model, options):
    given = model.generate(PROMPTS, 10, pad_token_id=4, **options)
    assert given.dtype == torch.int64 and given.shape == (3, 17)
    for row, prompt in zip(given.tolist(), PROMPTS, strict=True):
        assert row[: 7 - len(prompt)] == [4] * (7 - len(prompt))
        assert row[7 - len(prompt) :] == model.generate([prompt], 10, **options)[0].tolist()


def test_a_long_prompt_goes_through_in_pieces(monkeypatch):
    monkeypatch.setattr(GENERATE, "LONGEST", 16)
    model, prompt = made(), [i * 7 % 61 for i in range(40)]
    for options in ({}, {"repetition_penalty": 1.5}):
        several = model.generate([prompt, prompt[:9]], 8, **options).tolist()
        monkeypatch.setattr(GENERATE, "LONGEST", 64)
        assert several[0] == model.generate([prompt], 8, compile=False, **options)[0].tolist()
        assert several[1][31:] == model.generate([prompt[:9]], 8, compile=False, **options)[0].tolist()
        monkeypatch.setattr(GENERATE, "LONGEST", 16)


def test_generation_goes_to_the_last_position(model):
    prompt = list(range(20))
    assert model.generate([prompt], 76)[0].tolist() == full_forward(model, prompt, 76)


def test_sizes():
    assert [rounded(n, 16) for n in (1, 16, 17, 64, 65, 512, 513, 1025)] == [16, 16, 32, 64, 128, 512, 1024, 1536]
    assert [piece(n, 100) for n in (3, 60, 90)] == [16, 64, 100]
    assert [piece(n, 4096) for n in (300, 513, 2000)] == [512, 512, 512]


# -- stopping and streaming --------------------------------------------------------------------------------------------


def test_a_row_ends_with_its_stop_token_and_is_filled_up(model):
    free = [full_forward(model, prompt, 12) for prompt in PROMPTS]
    stop = free[0][3 + 4]  # the fifth token of the first row
    ends = [full_forward(model, prompt, 12, {stop}) for prompt in PROMPTS]
    given = model.generate(PROMPTS, 12, stop=stop)
    longest = max(len(row) - len(prompt) for row, prompt in zip(ends, PROMPTS, strict=True))
    assert given.shape == (3, 7 + longest)
    for row, prompt, end in zip(given.tolist(), PROMPTS, ends, strict=True):
        wanted = [stop] * (7 - len(prompt)) + end
        assert row == wanted + [stop] * (7 + longest - len(wanted))
    alone = model.generate(PROMPTS[:1], 12, stop=[60, stop], pad_token_id=2)
    assert alone[0].tolist() == full_forward(model, PROMPTS[0], 12, {60, stop})


def test_a_stream_is_what_generate_gives(model):
    wanted = model.generate([PROMPTS[1]], 9, seed=3, **DRAWN)[0].tolist()
    assert list(stream(model, PROMPTS[1], 9, seed=3, **DRAWN)) == wanted[7:]
    assert list(stream(model, torch.tensor(PROMPTS[1]), 9, seed=3, **DRAWN)) == wanted[7:]
    heard = []
    model.generate(PROMPTS, 4, streamer=heard.append)
    assert np.array(heard).T.tolist() == model.generate(PROMPTS, 4)[:, 7:].tolist()


def test_two_streams_take_turns(model):
    one, two = (stream(model, prompt, 8) for prompt in PROMPTS[:2])
    pairs = [(next(one), next(two)) for _ in range(8)]
    assert [a for a, _ in pairs] == full_forward(model, PROMPTS[0], 8)[3:]
    assert [b for _, b in pairs] == full_forward(model, PROMPTS[1], 8)[7:]


def test_prompts_of_all_kinds(model):
    wanted = model.generate([[5, 6], [7, 8]], 3).tolist()
    for prompts in (
        torch.tensor([[5, 6], [7, 8]]),
        np.array([[5, 6], [7, 8]]),
        [np.array([5, 6]), torch.tensor([7, 8])],
    ):
        assert model.generate(prompts, 3).tolist() == wanted
    for prompt in ([5, 6], (5, 6), torch.tensor([5, 6]), [np.int64(5), 6]):
        assert model.generate(prompt, 3).tolist() == wanted[:1]


def test_a_model_in_bfloat16():
    model = made().to(torch.bfloat16)
    given = model.generate(PROMPTS, 6)
    assert given.tolist() == model.generate(PROMPTS, 6, compile=False).tolist()
    ((_, decoder),) = list(model._decoders.items())[:1]
    assert decoder.cache.keys[0].dtype == torch.bfloat16


def test_no_new_tokens(model):
    assert model.generate(torch.tensor([[1, 2]]), 0).tolist() == [[1, 2]]
    assert list(stream(model, [1, 2], 0)) == []


# -- the warpers, in NumPy ---------------------------------------------------------------------------------------------

SCORES = np.random.default_rng(0).standard_normal((3, 40)).astype(np.float32) * 2


def probabilities(scores):
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_repetition_penalty():
    seen = np.zeros((3, 40), bool)
    seen[0, [1, 5]] = seen[2, 7] = True
    wanted = SCORES.copy()
    for row, token in zip(*np.nonzero(seen), strict=True):
        wanted[row, token] *= 1.5 if wanted[row, token] < 0 else 1 / 1.5
    np.testing.assert_allclose(penalised(torch.tensor(SCORES), torch.tensor(seen), 1.5).numpy(), wanted, rtol=1e-6)


@pytest.mark.parametrize("k", [1, 7, 40, 100])
def test_top_k(k):
    given = likeliest(torch.tensor(SCORES), k).numpy()
    for row, scores in zip(given, SCORES, strict=True):
        assert set(np.flatnonzero(row > -np.inf)) == set(np.argsort(-scores)[:k])
        assert (row[row > -np.inf] == scores[row > -np.inf]).all()


def test_top_k_keeps_what_is_equal_to_the_last():
    given = likeliest(torch.tensor([[1.0, 2.0, 2.0, 0.0]]), 1)
    assert given.tolist() == [[-float("inf"), 2.0, 2.0, -float("inf")]]


@pytest.mark.parametrize("p", [0.0, 0.3, 0.9, 0.999])
def test_top_p(p):
    given = nucleus(torch.tensor(SCORES), 1 - p).numpy()
    for row, scores in zip(given, SCORES, strict=True):
        order = np.argsort(-scores)
        before = np.cumsum(probabilities(scores)[order]) - probabilities(scores)[order]
        kept = order[before < p] if p else order[:1]  # until the likeliest make up p
        assert set(np.flatnonzero(row > -np.inf)) == set(kept)


def test_draws_have_their_probabilities():
    torch.manual_seed(0)
    scores = torch.tensor([[0.0, 1.0, -float("inf"), 2.0]]).expand(4000, 4).contiguous()
    counts = np.bincount(drawn(scores, torch.default_generator)[:, 0].numpy(), minlength=4)
    np.testing.assert_allclose(counts / 4000, probabilities(scores[:1].numpy())[0], atol=0.03)
    assert counts[2] == 0


@pytest.mark.parity
def test_transformers_warps_the_same():
    theirs = pytest.importorskip("transformers").generation.logits_process
    import torch as pytorch

    ids = np.array([[1, 5, 5], [0, 2, 3], [7, 8, 39]])
    seen = np.zeros((3, 40), bool)
    np.put_along_axis(seen, ids, True, -1)
    for k, p, t, penalty in [(5, 0.9, 0.7, 1.3), (40, 0.3, 1.7, 0.8), (1, 0.01, 1.0, 1.0), (13, 0.99, 0.2, 2.0)]:
        wanted = pytorch.tensor(SCORES)
        for warp in (
            theirs.RepetitionPenaltyLogitsProcessor(penalty),
            theirs.TemperatureLogitsWarper(t),
            theirs.TopKLogitsWarper(k),
            theirs.TopPLogitsWarper(p),
        ):
            wanted = warp(pytorch.tensor(ids), wanted)
        scores = penalised(torch.tensor(SCORES), torch.tensor(seen), torch.tensor(penalty)) / torch.tensor(t)
        given = nucleus(likeliest(scores, k), torch.tensor(1 - p))
        np.testing.assert_allclose(given.numpy(), wanted.numpy(), rtol=1e-6)


# -- sampling ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{"do_sample": True}, DRAWN, {"repetition_penalty": 1.3}], ids=["all", "few", "greedy"]
)
def test_engines_draw_the_same_tokens(model, options):
    eager = model.generate(PROMPTS, 12, seed=5, compile=False, **options).tolist()
    for engine in ENGINES:
        assert model.generate(PROMPTS, 12, seed=5, engine=engine, **options).tolist() == eager


@pytest.mark.parity
def test_xla_draws_them_too():
    pytest.importorskip("jax")
    model = made()
    for options in ({}, DRAWN):
        eager = model.generate(PROMPTS, 12, seed=5, compile=False, **options).tolist()
        assert model.generate(PROMPTS, 12, seed=5, engine="xla", **options).tolist() == eager


def test_a_penalty_is_for_all_that_was_there():
    """With a huge one, no token of the prompt comes again, nor any other, and padding counts for nothing."""
    model = made()
    for row, prompt in zip(model.generate(PROMPTS, 12, repetition_penalty=1e6).tolist(), PROMPTS, strict=True):
        text = row[7 - len(prompt) :]
        assert len(set(text)) == len(text)
    alone = model.generate(PROMPTS[:1], 12, repetition_penalty=1.7)[0].tolist()
    assert model.generate(PROMPTS, 12, repetition_penalty=1.7)[0, 4:].tolist() == alone


def test_seeds(model):
    first = model.generate(PROMPTS, 12, do_sample=True, seed=1).tolist()
    assert model.generate(PROMPTS, 12, do_sample=True, seed=1).tolist() == first
    assert model.generate(PROMPTS, 12, do_sample=True, seed=2).tolist() != first
    assert model.generate(PROMPTS, 12, do_sample=True, generator=torch.Generator().manual_seed(1)).tolist() == first
    torch.manual_seed(1)
    assert model.generate(PROMPTS, 12, do_sample=True).tolist() == first
    assert model.generate(PROMPTS, 12, do_sample=True).tolist() != first  # the default generator has moved on
    before = torch.get_rng_state().tolist()
    model.generate(PROMPTS, 12, do_sample=True, seed=1)
    assert torch.get_rng_state().tolist() == before


def test_zero_temperature_is_greedy(model):
    greedy = model.generate(PROMPTS, 8).tolist()
    assert model.generate(PROMPTS, 8, do_sample=True, temperature=0.0, seed=0).tolist() == greedy
    assert model.generate(PROMPTS, 8, do_sample=True, top_k=1, seed=0).tolist() == greedy
    assert model.generate(PROMPTS, 8, do_sample=True, top_p=0.0, seed=0).tolist() == greedy


# -- what is kept ------------------------------------------------------------------------------------------------------


def captures(model):
    return sum(step._captures for decoder in model._decoders.values() for step in decoder.steps.values())


def test_nothing_is_captured_twice():
    model = made()
    model.generate([PROMPTS[0]], 10)
    assert captures(model) == 2  # the prompt, and a token
    model.generate([PROMPTS[1]], 20)
    model.generate(torch.tensor([PROMPTS[2]]), 3, stop=4)
    model.generate([PROMPTS[0]], 10, do_sample=True, temperature=0.5, top_p=0.3, seed=1)
    assert captures(model) == 3  # and a token that is drawn
    model.generate([PROMPTS[0]], 10, do_sample=True, temperature=0.9, top_p=0.7, seed=1)
    assert captures(model) == 3
    with torch.no_grad():
        model.norm.weight.fill_(2.0)  # other numbers, same step
    assert model.generate([PROMPTS[0]], 10)[0].tolist() == full_forward(model, PROMPTS[0], 10)
    assert captures(model) == 3


@pytest.mark.skipif(not available(), reason="needs a C compiler")
def test_the_cache_is_written_in_place():
    model = made()
    model.generate([PROMPTS[0]], 4, engine="native", **DRAWN)
    ((_, decoder),) = model._decoders.items()
    caches = {id(x._array): x._array for x in (*decoder.cache.keys, *decoder.cache.values)}
    model.generate([PROMPTS[1]], 4, engine="native", **DRAWN)
    assert {id(x._array) for x in (*decoder.cache.keys, *decoder.cache.values)} == set(caches)
    step = decoder.step(1, Sampling(**DRAWN).kind)
    assert "nothing is run by NumPy" in step.compile_report()
    run = step._entries[0].run
    written = [run.plan.results[k] for k in range(len(run.program.outputs), len(run.plan.results))]
    assert all(kind == "input" for kind, _ in written)
    copies = [s for s in run.plan.steps if type(s).__name__ == "Loop" and not s.lines and not s.idle]
    assert all(s.shape != decoder.cache.keys[0].shape for s in copies)


def test_what_is_kept_is_bounded(monkeypatch):
    monkeypatch.setattr(GENERATE, "DECODERS", 2)
    monkeypatch.setattr(GENERATE, "STEPS", 3)
    model = made()
    for rows in (1, 2, 3, 1):
        model.generate([[1]] * rows, 2, compile=False)
    assert [key[0] for key in model._decoders] == [3, 1]
    for k in (1, 2, 3, 4):
        model.generate([[1]], 2, do_sample=True, top_k=k, seed=0, compile=False)
    assert len(model._decoders[next(reversed(model._decoders))].steps) == 3


def test_what_is_kept_is_no_part_of_the_model():
    model = made()
    names = list(model.state_dict())
    before = model.generate(PROMPTS, 5).tolist()
    assert list(model.state_dict()) == names and len(model._decoders) == 1
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert len(other._decoders) == 0 and other.generate(PROMPTS, 5).tolist() == before
    assert b"Decoder" not in pickle.dumps(model)
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None


def test_a_training_step_is_not_captured_again():
    model = made()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    @torch.compile(engine="numpy")
    def train(x, y):
        optimizer.zero_grad()
        loss = model.loss(x, y)
        loss.backward()
        optimizer.step()
        return loss

    x, y = torch.randint(0, 61, (2, 2, 8))
    model.train()
    train(x, y)
    model.generate(PROMPTS, 3)
    train(x, y)
    model.generate(PROMPTS[:1], 3)
    train(x, y)
    assert train._captures == 1
    assert model.training and all(part.training for part in model.modules())
    assert model.eval().generate([PROMPTS[0]], 6)[0].tolist() == full_forward(model, PROMPTS[0], 6)


def test_nothing_is_dropped_out():
    model = made(SMALL.but(dropout=0.5)).train()
    given = model.generate([PROMPTS[0]], 6)[0].tolist()
    assert given == full_forward(model.eval(), PROMPTS[0], 6)


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "options", "error", "text"),
    [
        ([[1], []], {}, ArgumentError, "a prompt is empty"),
        ([], {}, ArgumentError, "a prompt is empty"),
        ([[1] * 90], {"max_new_tokens": 7}, ShapeError, "90 tokens and 7 new ones are more than the 96"),
        ([[1]], {"max_new_tokens": -1}, ArgumentError, "max_new_tokens is -1"),
        ([[61]], {}, RangeError, "there is no token 61"),
        ([[1]], {"stop": [70]}, RangeError, "there is no token 70"),
        ([[1]], {"pad_token_id": -2}, RangeError, "there is no token -2"),
        ([[1]], {"temperature": -1.0}, ArgumentError, "temperature is -1"),
        ([[1]], {"top_p": 1.5}, ArgumentError, "top_p is 1.5"),
        ([[1]], {"top_k": -3}, ArgumentError, "top_k is -3"),
        ([[1]], {"repetition_penalty": 0.0}, ArgumentError, "repetition_penalty is 0"),
        ([[1]], {"seed": 1, "generator": torch.Generator()}, ArgumentError, "both a seed and a generator"),
        (torch.ones(1, 3), {}, KindError, "a row of whole numbers"),
        (torch.ones(1, 3, 2).long(), {}, KindError, "a row of whole numbers"),
        ([1.5], {}, KindError, "a row of whole numbers"),
        (3, {}, KindError, "a row of whole numbers"),
        ([[1]], {"engine": "fast"}, PullbackError, "there is no engine 'fast'"),
    ],
)
def test_bad_input(model, tokens, options, error, text):
    with pytest.raises(error, match=text):
        generate(model, tokens, **options)


def test_one_stream_has_one_prompt(model):
    with pytest.raises(ArgumentError, match="continues one prompt"):
        next(stream(model, PROMPTS, 3))


@pytest.mark.parametrize("options", [{}, {"do_sample": True, "seed": 0}])
def test_scores_that_are_not_numbers(options):
    model = made()
    with torch.no_grad():
        model.norm.weight[3] = float("nan")
    with pytest.raises(PullbackError, match="logits are not numbers"):
        model.generate([[1, 2]], 3, **options)
    with torch.no_grad():
        model.norm.weight[3] = 1.0
    assert model.generate([[1, 2]], 3)[0].tolist() == full_forward(model, [1, 2], 3)  # nothing of it is left
