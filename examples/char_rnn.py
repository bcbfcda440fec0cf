"""A character model: LSTM and GRU learn to write Python, with truncated and with full backpropagation through time.

The text is some of Python's own standard library. It is read in pieces of 256 characters, each from a fresh state.

    full        one update a piece: the gradient goes all the way back, and all 256 steps wait in memory for it
    truncated   one update every 32 characters: the state is handed on, but the gradient is cut there (`detach`)

Expect truncation to reach a lower loss in about the same time, as it makes eight updates for one, in about a seventh of
the memory; and the truncated gradient to point ever more nearly where the full one does as the window grows: what it
leaves out is what the far past had to say. Last, text is written as before and as after training.

    python examples/char_rnn.py
"""

import argparse
import sysconfig
import time
import tracemalloc
from pathlib import Path

from matplotlib.figure import Figure

import pullback as torch
import pullback.nn.functional as F
from pullback import nn

MODULES = ["argparse", "configparser", "dataclasses", "inspect", "shutil"]
PIECE, WINDOW, BATCH = 256, 32, 32
EMBEDDING, HIDDEN, LEARNING_RATE = 32, 128, 0.004


class CharModel(nn.Module):
    def __init__(self, cell, characters):
        super().__init__()
        self.embed = nn.Embedding(characters, EMBEDDING)
        self.cell = cell(EMBEDDING, HIDDEN)
        self.out = nn.Linear(HIDDEN, characters)

    def forward(self, text, state=None):
        """`text` is (time, batch). Returns a score for each next character, and the state to go on from."""
        hidden, state = self.cell(self.embed(text), state)
        return self.out(hidden), state


def load():
    """The text as (pieces, 257) character numbers, and the characters."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    text = "".join((folder / f"{name}.py").read_text(encoding="utf-8") for name in MODULES)
    characters = sorted(set(text))
    number = {character: i for i, character in enumerate(characters)}
    codes = torch.tensor([number[character] for character in text])
    return codes.unfold(0, PIECE + 1, PIECE), characters


def detached(state):
    """The state's values, cut off from what they came from. An LSTM's state is two tensors."""
    return tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()


def losses_by_window(model, pieces, window):
    """Yields the mean loss of each window of `window` characters, the gradient cut in between."""
    text, state = pieces.T, None
    for start in range(0, PIECE, window):
        logits, state = model(text[start : start + window], state)
        yield F.cross_entropy(logits.flatten(0, 1), text[start + 1 : start + window + 1].flatten())
        state = detached(state)


def train(model, pieces, window, epochs):
    """Trains and returns the loss of each batch of pieces, in nats a character."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    history = []
    for _ in range(epochs):
        for batch in torch.randperm(len(pieces)).split(BATCH):
            total = 0.0
            for loss in losses_by_window(model, pieces[batch], window):
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                total += loss.item() * window / PIECE
            history.append(total)
    return history


def validation_loss(model, pieces):
    with torch.no_grad():
        return next(losses_by_window(model, pieces, PIECE)).item()


def gradient(model, pieces, window):
    """The gradient over whole pieces, cut after every `window` characters, and the memory it took at most (in MB)."""
    model.zero_grad()
    tracemalloc.start()
    for loss in losses_by_window(model, pieces, window):
        (loss * window / PIECE).backward()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return torch.cat([p.grad.flatten() for p in model.parameters()]), peak / 1e6


@torch.no_grad()
def write(model, characters, count, temperature=0.8):
    state, code, text = None, torch.tensor([[characters.index("\n")]]), ""
    for _ in range(count):
        logits, state = model(code, state)
        code = torch.multinomial((logits[0] / temperature).softmax(dim=-1), 1)
        text += characters[code.item()]
    return text


def draw(histories, windows, cosines, memory, file):
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (name, history), style in zip(histories.items(), ("C0--", "C0-", "C1--", "C1-"), strict=True):
        left.plot(history, style, label=name, linewidth=1)
    left.set(xlabel="batch of pieces", ylabel="loss (nats a character)")
    left.legend()
    right.semilogx(windows, cosines, "C2o-", base=2)
    right.set(xlabel="window (characters)", xticks=windows, xticklabels=windows)
    right.set_ylabel("cosine with the full gradient", color="C2")
    other = right.twinx()
    other.plot(windows, memory, "C3s--")
    other.set_ylabel("memory (MB)", color="C3")
    other.set_ylim(bottom=0)
    figure.savefig(file, dpi=80)


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Character LSTM and GRU, truncated against full BPTT.")
    parser.add_argument("--out", type=Path, default=Path("pictures"), help="where the picture goes")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one epoch on an eighth of the text")
    options = parser.parse_args(arguments)

    pieces, characters = load()
    torch.manual_seed(0)
    pieces = pieces[torch.randperm(len(pieces))]
    if options.quick:
        pieces = pieces[: len(pieces) // 8]
    unseen, pieces = pieces[:BATCH], pieces[BATCH:]
    print(f"{len(pieces)} pieces of {PIECE} characters to learn from, {len(unseen)} unseen")

    results, histories = {}, {}
    for cell in (nn.LSTM, nn.GRU):
        for kind, window in (("full", PIECE), ("truncated", WINDOW)):
            torch.manual_seed(0)
            model, name, start = CharModel(cell, len(characters)), f"{cell.__name__} {kind}", time.perf_counter()
            if not results:
                before = write(model, characters, 100)
            histories[name] = train(model, pieces, window, 1 if options.quick else options.epochs)
            seconds = time.perf_counter() - start
            results[name] = loss = validation_loss(model, unseen)
            _, memory = gradient(model, unseen, window)
            print(f"{name:15} loss on unseen text {loss:.3f}   {seconds:5.1f} s   {memory:5.1f} MB", flush=True)

    windows = [4, 8, 16, 32, 64, 128, PIECE]
    gradients, memory = zip(*(gradient(model, unseen, window) for window in windows), strict=True)
    cosines = [F.cosine_similarity(truncated, gradients[-1], dim=0).item() for truncated in gradients]
    print(f"{name}, its gradient cut after each window:\nwindow   cosine with the full gradient   memory")
    for window, cosine, megabytes in zip(windows, cosines, memory, strict=True):
        print(f"{window:6}   {cosine:29.4f}   {megabytes:3.0f} MB")
    print(f"--- written before training:\n{before}\n--- and after:\n{write(model, characters, 400)}\n---")

    options.out.mkdir(parents=True, exist_ok=True)
    draw(histories, windows, cosines, memory, options.out / "char_rnn.png")
    print(f"picture: {options.out / 'char_rnn.png'}")
    return {"losses": results, "cosines": cosines, "memory": memory}


if __name__ == "__main__":
    main()
