"""Cases of the layers in nn/linear.py."""

from __future__ import annotations

from .harness import Case

CASES = [
    Case("nn.Linear(3, 4)", "x(2, 3)"),
    Case("nn.Linear(3, 4, bias=False)", "x(2, 3)"),
    Case("nn.Linear(3, 4, False)", "x(3)", note="a vector"),
    Case("nn.Linear(3, 4, bias=False)", "x(2, 5, 3)", note="more dimensions"),
    Case("nn.Linear(3, 1, bias=False)", "x(0, 3)", note="no rows"),
    Case("nn.Bilinear(2, 3, 4)", "x(5, 2)", "x(5, 3)"),
    Case("nn.Bilinear(2, 3, 4, bias=False)", "x(5, 2)", "x(5, 3)"),
    Case("nn.Bilinear(2, 3, 1, False)", "x(2, 3, 2)", "x(2, 3, 3)", note="more dimensions"),
    Case("nn.Bilinear(1, 1, 2, bias=False)", "x(1)", "x(1)", note="vectors"),
    Case("nn.Identity()", "x(2, 3)"),
    Case("nn.Identity(54, unused=True)", "x(2, 3)"),
    Case("nn.Identity(1, 2)", "x(0)"),
    Case("nn.Flatten()", "x(2, 3, 4)"),
    Case("nn.Flatten(0)", "x(2, 3, 4)"),
    Case("nn.Flatten(0, 1)", "x(2, 3, 4)"),
    Case("nn.Flatten(start_dim=-3, end_dim=-2)", "x(2, 3, 4, 5)"),
    Case("nn.Flatten(end_dim=1)", "x(2, 3)"),
    Case("nn.Unflatten(1, (2, 3))", "x(4, 6)"),
    Case("nn.Unflatten(-1, (2, -1))", "x(4, 6)"),
    Case("nn.Unflatten(0, [2, 2])", "x(4, 6)"),
]

LARGE = ["nn.Linear(200, 300)", "nn.Bilinear(30, 40, 50)"]
