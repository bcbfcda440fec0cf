"""Cases of the normalisation layers."""

from __future__ import annotations

from .harness import Case

TWICE = "[m(xs[0]), m(xs[1])]"
SHAPES = {1: "4, 3, 5", 2: "2, 3, 2, 4", 3: "2, 3, 2, 2, 2"}
ALONE = {1: "3, 5", 2: "3, 2, 4", 3: "3, 2, 2, 2"}  # no batch

CASES = [
    Case("nn.BatchNorm1d(3)", "x(5, 3)"),
    *(
        case
        for n, shape in SHAPES.items()
        for case in (
            Case(f"nn.BatchNorm{n}d(3)", f"x({shape})"),
            Case(f"nn.BatchNorm{n}d(3, eps=0.1, momentum=0.7)", f"x({shape})", f"x({shape})", call=TWICE),
            Case(f"nn.BatchNorm{n}d(3, momentum=None)", f"x({shape})", f"x({shape})", call=TWICE),
            Case(f"nn.BatchNorm{n}d(3, affine=False)", f"x({shape})"),
            Case(f"nn.BatchNorm{n}d(3, track_running_stats=False, bias=False)", f"x({shape})"),
            Case(f"nn.InstanceNorm{n}d(3)", f"x({shape})"),
            Case(f"nn.InstanceNorm{n}d(3, eps=0.1, affine=True)", f"x({shape})"),
            Case(f"nn.InstanceNorm{n}d(3, affine=True, bias=False)", f"x({ALONE[n]})", note="no batch"),
            Case(
                f"nn.InstanceNorm{n}d(3, momentum=0.7, affine=True, track_running_stats=True)",
                f"x({shape})",
                f"x({shape})",
                call=TWICE,
            ),
            Case(f"nn.InstanceNorm{n}d(3, track_running_stats=True)", f"x({ALONE[n]})", note="no batch"),
            Case(f"nn.InstanceNorm{n}d(3, momentum=None, track_running_stats=True)", f"x({shape})"),
        )
    ),
    Case("nn.SyncBatchNorm(3)", "x(4, 3)"),
    Case("nn.SyncBatchNorm(3, eps=0.1, momentum=0.7)", "x(4, 3, 2)", "x(2, 3)", call=TWICE),
    Case("nn.SyncBatchNorm(3, momentum=None, affine=False)", "x(4, 3, 2, 2)"),
    Case("nn.SyncBatchNorm(3, track_running_stats=False, bias=False)", "x(4, 3, 2)"),
    Case("nn.LayerNorm(4)", "x(2, 3, 4)"),
    Case("nn.LayerNorm((3, 4), eps=0.1)", "x(2, 3, 4)"),
    Case("nn.LayerNorm([4], elementwise_affine=False)", "x(5, 4)"),
    Case("nn.LayerNorm((3, 1, 2), bias=False)", "x(3, 1, 2)"),
    Case("nn.RMSNorm(4)", "x(2, 3, 4)"),
    Case("nn.RMSNorm((3, 4), eps=0.1)", "x(2, 3, 4)"),
    Case("nn.RMSNorm([4], elementwise_affine=False)", "x(5, 4)"),
    Case("nn.RMSNorm((3, 1, 2), 1e-3)", "x(3, 1, 2)"),
    Case("nn.GroupNorm(2, 4)", "x(2, 4, 3)"),
    Case("nn.GroupNorm(3, 6, eps=0.1)", "x(2, 6, 2, 2)"),
    Case("nn.GroupNorm(4, 4, affine=False)", "x(2, 4, 3)"),
    Case("nn.GroupNorm(1, 4, bias=False)", "x(3, 4)"),
    Case("nn.LocalResponseNorm(3)", "x(2, 5, 4)"),
    Case("nn.LocalResponseNorm(2, alpha=0.1, k=2.0)", "x(2, 5, 4, 2)"),
    Case("nn.LocalResponseNorm(size=4, beta=0.5)", "x(1, 5, 2, 2, 2)"),
    Case("nn.LocalResponseNorm(1, 0.5, 2.0, 0.1)", "x(2, 3, 4)"),
]

LARGE = [
    *(f"nn.{name}(50)" for name in ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm")),
    *(f"nn.InstanceNorm{n}d(50, affine=True)" for n in (1, 2, 3)),
    "nn.LayerNorm((5, 10))",
    "nn.RMSNorm(50)",
    "nn.GroupNorm(2, 50)",
]
