"""A 2-2-2-1 sigmoid network worked by hand: every value and every gradient beside its formula.

The convention is z = W x + b: row i of W holds the weights into unit i, and x is a column. Every number printed is read
off the tape after one forward and one backward pass (`retain_grad` keeps the gradients of what lies between). At the
end every gradient is checked by finite differences, in float64.

    python examples/worked_example.py
"""

import argparse
from types import SimpleNamespace

import pullback as torch

LEAVES = {
    "x": [0.5, 0.2],
    "y": [1.0],
    "W1": [[0.1, 0.3], [0.4, 0.6]],
    "b1": [0.2, 0.5],
    "W2": [[0.7, 0.9], [0.8, 1.1]],
    "b2": [0.4, 0.8],
    "Wo": [[0.5, 0.7]],
    "bo": [0.1],
}

FORWARD = {
    "z1": ("W1 x + b1", lambda v: v.W1 @ v.x + v.b1),
    "a1": ("sigmoid(z1)", lambda v: v.z1.sigmoid()),
    "z2": ("W2 a1 + b2", lambda v: v.W2 @ v.a1 + v.b2),
    "a2": ("sigmoid(z2)", lambda v: v.z2.sigmoid()),
    "zo": ("Wo a2 + bo", lambda v: v.Wo @ v.a2 + v.bo),
    "yhat": ("sigmoid(zo)", lambda v: v.zo.sigmoid()),
    "loss": ("(y - yhat)^2 / 2", lambda v: ((v.y - v.yhat) ** 2 / 2).sum()),
}

# What each gradient is: d(v) is that of the loss with respect to v, and * is element by element.
BACKWARD = {
    "yhat": "yhat - y",
    "zo": "d(yhat) * yhat * (1 - yhat)",
    "Wo": "d(zo) a2^T",
    "bo": "d(zo)",
    "a2": "Wo^T d(zo)",
    "z2": "d(a2) * a2 * (1 - a2)",
    "W2": "d(z2) a1^T",
    "b2": "d(z2)",
    "a1": "W2^T d(z2)",
    "z1": "d(a1) * a1 * (1 - a1)",
    "W1": "d(z1) x^T",
    "b1": "d(z1)",
    "x": "W1^T d(z1)",
}


def forward(leaves, moved=None):
    """All values by name. Those in `moved` replace what would have been computed."""
    values = SimpleNamespace(**leaves)
    for name, (_, compute) in FORWARD.items():
        setattr(values, name, compute(values))
        vars(values).update(moved or {})
    return values


def by_finite_differences(leaves, name, value, step=1e-6):
    """The gradient with respect to one value: how the loss changes as each entry moves a little up and down."""
    slopes = torch.zeros_like(value)
    for i in range(value.numel()):
        losses = []
        for sign in (+1, -1):
            moved = value.detach().clone()
            moved.view(-1)[i] += sign * step
            losses.append(forward({**leaves, name: moved}, {name: moved}).loss.item())
        slopes.view(-1)[i] = (losses[0] - losses[1]) / (2 * step)
    return slopes


def show(label, formula, tensor):
    rows = tensor.tolist() if tensor.dim() == 2 else [tensor.reshape(-1).tolist()]
    numbers = "   ".join("[" + "  ".join(f"{value:11.8f}" for value in row) + "]" for row in rows)
    print(f"  {label:7} = {formula:28} = {numbers}")


def main(arguments=None):
    argparse.ArgumentParser(description="A 2-2-2-1 network worked by hand.").parse_args(arguments)

    leaves = {name: torch.tensor(value, dtype=torch.float64) for name, value in LEAVES.items()}
    for name in LEAVES.keys() - {"y"}:
        leaves[name].requires_grad_()
    values = forward(leaves)
    for name in FORWARD:
        getattr(values, name).retain_grad()
    values.loss.backward()

    print("Forward")
    for name, (formula, _) in FORWARD.items():
        show(name, formula, getattr(values, name).detach())
    print("Backward")
    for name, formula in BACKWARD.items():
        show(f"d({name})", formula, getattr(values, name).grad)

    worst = 0.0
    for name in BACKWARD:
        value = getattr(values, name)
        worst = max(worst, (value.grad - by_finite_differences(leaves, name, value)).abs().max().item())
    agree = worst < 1e-9
    print(f"Finite differences {'agree' if agree else 'DISAGREE'}: all {len(BACKWARD)} gradients to within {worst:.1e}")
    return {"values": values, "worst": worst}


if __name__ == "__main__":
    main()
