"""Text, token by token, on a CPU: pullback's generate() and Hugging Face transformers', from the same weights.

    python benchmarks/decode.py            the table
    python benchmarks/decode.py --check    the table, and exit 1 if a bar is missed
    python benchmarks/decode.py small      only models whose name contains this

One row, greedy, a prompt of 16 tokens and 200 new ones, both with two threads, in rounds that alternate. transformers
runs as its best users would: inference mode, fused attention, and whichever is fastest of its growing cache, its static
one, and that with torch.compile; both must give the same tokens. Other rows look at our time for a token early and late
in a text, and at how fast weights are read, beside a plain sum over as many bytes.
"""

from __future__ import annotations

import itertools
import statistics
import time
import warnings
from typing import Any

import numpy as np
import torch
import transformers
from side_by_side import THREADS, Table, against, readable, seconds  # first: it sets threads

import pullback
from pullback.lm.config import Config, preset
from pullback.lm.generate import stream
from pullback.lm.model import LanguageModel

PROMPT, NEW, ROUNDS, BAR = 16, 200, 7, 1.5
EARLY, LATE, FLAT = 50, 450, 1.15  # positions, and how much longer a token may take at the later one
AROUND = 15  # tokens before and behind them that are looked at
KINDS = ("growing cache", "static cache", "static cache, compiled")  # of transformers
MODELS = ("tiny", "minimind2-small")


def twin(model: LanguageModel, config: Config) -> Any:
    """The same model in transformers."""
    given = transformers.LlamaConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        num_key_value_heads=config.kv_heads,
        max_position_embeddings=config.max_position_embeddings,
        rms_norm_eps=config.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
        tie_word_embeddings=config.tie_word_embeddings,
        attn_implementation="sdpa",
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    theirs = transformers.LlamaForCausalLM(given).eval()
    names = {"embed": "embed_tokens", "norm1": "input_layernorm", "norm2": "post_attention_layernorm", "feed": "mlp"}
    names |= {"attention": "self_attn", "out": "o_proj"}
    names |= {name: f"{name}_proj" for name in ("q", "k", "v", "gate", "up", "down")}
    state = {}
    for name, value in model.state_dict().items():
        parts = [names.get(part, part) for part in name.split(".")]
        inner = ".".join(parts) if parts[0] == "head" else f"model.{'.'.join(parts)}"
        state[inner.replace("head.", "lm_head.")] = torch.from_numpy(np.array(value.detach().numpy()))
    theirs.load_state_dict(state)
    return theirs


def spread(model: LanguageModel) -> None:
    """Larger weights, so that the likeliest token is likeliest by far."""
    with pullback.no_grad():
        for p in model.parameters():
            if p.ndim > 1:
                p.mul_(4)


def bandwidth(nbytes: int) -> float:
    """Bytes in a second that a sum over so many reads, with as many threads as we use."""
    x = torch.ones(nbytes // 4)
    x.sum()
    return nbytes / min(seconds(x.sum, 1) for _ in range(20))


def moments(model: LanguageModel, prompt: list[int]) -> dict[int, float]:
    """The time of a token around some positions: the median of some tokens, in the best of a few texts."""
    best = dict.fromkeys((EARLY, LATE), float("inf"))
    for _ in range(ROUNDS):
        times = [time.perf_counter()]
        times += [time.perf_counter() for _ in stream(model, prompt, LATE + AROUND - len(prompt))]
        for position in best:
            n = position - len(prompt)
            around = [b - a for a, b in itertools.pairwise(times[n - AROUND : n + AROUND])]
            best[position] = min(best[position], statistics.median(around))
    return best


def main() -> int:
    table = Table(__doc__, "transformers")
    torch.set_num_threads(THREADS)
    pullback.set_num_threads(THREADS)
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    extra = []
    for name in MODELS:
        if not table.wants(name):
            continue
        pullback.manual_seed(0)
        config = preset(name)
        model = LanguageModel(config).eval()
        spread(model)
        theirs = twin(model, config)
        prompt = np.random.default_rng(0).integers(1, config.vocab_size, (1, PROMPT))
        mine, its = pullback.tensor(prompt), torch.from_numpy(prompt)

        def ours(model: LanguageModel = model, tokens: Any = mine) -> Any:
            return model.generate(tokens, NEW)

        plain = theirs.forward
        compiled = torch.compile(plain)

        def peer(kind: str, model: Any = theirs, tokens: Any = its, forwards: Any = (plain, compiled)) -> Any:
            model.forward = forwards["compiled" in kind]
            options = {"cache_implementation": "static"} if "static" in kind else {}
            with torch.inference_mode():
                mask = torch.ones_like(tokens)
                return model.generate(tokens, attention_mask=mask, max_new_tokens=NEW, do_sample=False, **options)

        times = {}
        for kind in KINDS:
            try:
                peer(kind)
                times[kind] = min(seconds(lambda kind=kind: peer(kind), 1) for _ in range(2))
            except Exception as error:
                extra.append(f"{name}: transformers with a {kind} fails here: {type(error).__name__}")
        best = min(times, key=lambda kind: times[kind])
        same = ours().tolist() == peer(best).tolist()
        a, b, ratio = against(ours, lambda best=best: peer(best), 1, ROUNDS)
        figures = f"{NEW / a:.0f}, {NEW / b:.0f} tokens/s ({best})"
        table.row(f"{name}: speed, theirs / ours in time", figures, 1 / ratio, BAR, least=True)
        table.row(f"{name}: same tokens", "", float(same), 1.0, least=True)
        at = moments(model, prompt[0].tolist())
        figures = f"{readable(at[EARLY])} at {EARLY}, {readable(at[LATE])} at {LATE}"
        table.row(f"{name}: a token later / earlier", figures, at[LATE] / at[EARLY], FLAT)
        nbytes = 4 * sum(p.numel() for p in model.parameters())
        rate, most = nbytes / at[EARLY], bandwidth(nbytes)
        table.row(f"{name}: weights read / plain sum", f"{rate / 1e9:.1f}, {most / 1e9:.1f} GB/s", rate / most, None)
    for line in extra:
        print(line)
    return table.status()


if __name__ == "__main__":
    raise SystemExit(main())
