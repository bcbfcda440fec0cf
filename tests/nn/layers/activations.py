"""Cases of the activations."""

from __future__ import annotations

from .harness import Case

COPY = "m(xs[0] * 1)"  # a leaf that wants a gradient cannot be written over
PLAIN = ("LogSigmoid", "Sigmoid", "Softsign", "Tanh", "Tanhshrink")
SWITCHES = ("Hardswish", "Mish", "ReLU", "ReLU6", "SELU", "SiLU")

CASES = [
    *(Case(f"nn.{name}()", f"x({shape})") for name in PLAIN for shape in ("2, 3", "4", "")),
    *(Case(f"nn.{name}()", f"x({shape}) * 4") for name in SWITCHES for shape in ("2, 3", "2, 1, 4")),
    *(Case(f"nn.{name}(inplace=True)", "x(2, 3) * 4", call=COPY) for name in SWITCHES),
    *(
        Case("nn.Hardsigmoid()", f"x({shape}) * 4", near=1e-7) for shape in ("2, 3", "3, 1, 2")
    ),  # PyTorch's 1/6 is a float32
    Case("nn.Hardsigmoid(inplace=True)", "x(2, 3) * 4", call=COPY, near=1e-7),
    Case("nn.Hardtanh()", "x(2, 3)"),
    Case("nn.Hardtanh(-0.5, 0.7)", "x(2, 3)"),
    Case("nn.Hardtanh(min_val=0.1, max_val=0.2)", "x(3, 4)"),
    Case("nn.Hardtanh(-2, 1.5, inplace=True)", "x(3, 4)", call=COPY),
    Case("nn.LeakyReLU()", "x(2, 3)"),
    Case("nn.LeakyReLU(0.2)", "x(2, 3)"),
    Case("nn.LeakyReLU(-0.5)", "x(2, 3, 2)"),
    Case("nn.LeakyReLU(0.1, inplace=True)", "x(5)", call=COPY),
    Case("nn.ELU()", "x(2, 3)"),
    Case("nn.ELU(0.5)", "x(2, 3)"),
    Case("nn.ELU(alpha=2.0)", "x(3, 2, 2)"),
    Case("nn.ELU(1.5, True)", "x(2, 3)", call=COPY),
    Case("nn.CELU()", "x(2, 3)"),
    Case("nn.CELU(0.5)", "x(2, 3)"),
    Case("nn.CELU(alpha=2.0)", "x(3, 2, 2)"),
    Case("nn.CELU(1.5, True)", "x(2, 3)", call=COPY),
    Case("nn.RReLU()", "x(2, 3)", both=False),
    Case("nn.RReLU(0.1, 0.5)", "x(2, 3)", both=False),
    Case("nn.RReLU(lower=0.3, upper=0.3)", "x(2, 3)"),
    Case("nn.RReLU(upper=0.9, inplace=True)", "x(4)", call=COPY, both=False),
    Case("nn.Threshold(0.1, 20)", "x(2, 3)"),
    Case("nn.Threshold(-0.5, -3.5)", "x(2, 3)"),
    Case("nn.Threshold(0, 0.0, inplace=True)", "x(2, 3)", call=COPY),
    Case("nn.Threshold(0.5, 1.5, True)", "x(3)", call=COPY),
    Case("nn.PReLU()", "x(2, 3)"),
    Case("nn.PReLU(init=0.1)", "x(4)"),
    Case("nn.PReLU(3)", "x(2, 3, 4)"),
    Case("nn.PReLU(num_parameters=2, init=0.5)", "x(3, 2)"),
    Case("nn.GELU()", "x(2, 3)"),
    Case("nn.GELU('tanh')", "x(2, 3)"),
    Case("nn.GELU(approximate='tanh')", "x(4, 2, 2) * 5"),
    Case("nn.GELU('tanh')", "x()"),
    Case("nn.Softplus()", "x(2, 3) * 10"),
    Case("nn.Softplus(2.0)", "x(2, 3)"),
    Case("nn.Softplus(beta=0.5, threshold=1)", "x(2, 8)"),
    Case("nn.Softplus(threshold=0.2)", "x(2, 8)"),
    Case("nn.Hardshrink()", "x(2, 3)"),
    Case("nn.Hardshrink(0.1)", "x(2, 3)"),
    Case("nn.Hardshrink(lambd=1.0)", "x(3, 4)"),
    Case("nn.Hardshrink(0)", "x(3, 4)"),
    Case("nn.Softshrink()", "x(2, 3)"),
    Case("nn.Softshrink(0.1)", "x(2, 3)"),
    Case("nn.Softshrink(lambd=1.0)", "x(3, 4)"),
    Case("nn.Softshrink(0)", "x(3, 4)"),
    Case("nn.GLU()", "x(2, 4)"),
    Case("nn.GLU(0)", "x(4, 3)"),
    Case("nn.GLU(dim=1)", "x(2, 6, 2)"),
    Case("nn.GLU(-2)", "x(2, 6, 2)"),
    *(
        case
        for name in ("Softmax", "LogSoftmax", "Softmin")
        for case in (
            Case(f"nn.{name}(0)", "x(2, 3)"),
            Case(f"nn.{name}(dim=1)", "x(2, 3)"),
            Case(f"nn.{name}(-1)", "x(2, 3, 4)"),
            Case(f"nn.{name}(dim=-2)", "x(2, 3, 4) * 20"),
        )
    ),
    Case("nn.Softmax2d()", "x(2, 3, 2, 2)"),
    Case("nn.Softmax2d()", "x(3, 2, 2)"),
    Case("nn.Softmax2d()", "x(1, 1, 2, 2)"),
]

LARGE = ["nn.PReLU(100)", "nn.PReLU(100, init=0.1)"]
