"""Cases of dropout; tests/nn/test_random_layers.py has it in training."""

from __future__ import annotations

from .harness import Case

SHAPES = {
    "Dropout": "2, 3",
    "Dropout1d": "2, 3, 4",
    "Dropout2d": "2, 3, 2, 2",
    "Dropout3d": "2, 3, 2, 2, 2",
    "AlphaDropout": "2, 3",
    "FeatureAlphaDropout": "2, 3, 4",
}
CASES = [
    case
    for name, shape in SHAPES.items()
    for case in (
        Case(f"nn.{name}(0.2)", f"x({shape})", both=False),
        Case(f"nn.{name}(p=0)", f"x({shape})"),
        Case(f"nn.{name}(0.7, inplace=True)", f"x({shape})", call="m(xs[0] * 1)", both=False),
        Case(f"nn.{name}(1.0)", f"x({shape})"),
    )
]
