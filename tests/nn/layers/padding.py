"""Cases of padding."""

from __future__ import annotations

from .harness import Case

INPUTS = {1: ("x(2, 3, 5)", "x(3, 5)"), 2: ("x(1, 2, 4, 5)", "x(2, 4, 5)"), 3: ("x(1, 1, 3, 4, 4)", "x(2, 3, 4, 4)")}
PADDINGS = {1: (2, (1, 3), (3, 0)), 2: (2, (1, 0, 2, 1), (0, 2, 3, 1)), 3: (1, (1, 0, 2, 1, 0, 2), (2, 1, 0, 1, 1, 1))}

CASES = [
    *(
        Case(f"nn.{name}Pad{n}d({padding})", INPUTS[n][i % 2])
        for name in ("Circular", "Reflection", "Replication", "Zero")
        for n in (1, 2, 3)
        for i, padding in enumerate(PADDINGS[n])
    ),
    *(
        Case(f"nn.ConstantPad{n}d({padding}, {value})", INPUTS[n][i % 2])
        for n in (1, 2, 3)
        for i, (padding, value) in enumerate(zip(PADDINGS[n], (1.5, -2, 0.0), strict=True))
    ),
    Case("nn.ZeroPad1d((-1, 2))", "x(2, 3, 5)", note="crops"),
    Case("nn.ConstantPad2d((-1, 2, -1, -1), 3.5)", "x(2, 4, 5)", note="crops"),
    Case("nn.ReplicationPad2d((-1, 2, 1, -2))", "x(2, 4, 5)", note="crops"),
    Case("nn.CircularPad1d((-1, 2))", "x(2, 4, 5)", note="crops"),
    Case("nn.ReflectionPad1d((2, -1))", "x(2, 4, 5)", note="crops"),
]
