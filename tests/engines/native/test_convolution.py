"""Convolution, pooling and resampling in machine code."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from tests.engines.native.compare import TOLERANCE, Case, check, close, program_of

from pullback.engines.native import engine
from pullback.ops.record import OPS

NAMES = ["conv", "conv_transpose", "conv_weight_gradient", "max_pool", "adaptive_max_pool", "max_pool_gradient",
         "gather_at", "max_unpool", "avg_pool", "avg_pool_gradient", "adaptive_avg_pool", "adaptive_avg_pool_gradient",
         "im2col", "col2im", "interpolate", "interpolate_gradient"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_samples(name):
    check([name], host=False)


def agree(some):
    """With NumPy; and with two threads as with one, bit for bit."""
    program, arrays = program_of(some)
    made = engine.build(program)
    assert not made.plan.report
    once = made(arrays)
    for piece in made.tables:
        piece.threads = 2
    twice = made(arrays)
    expected = [(c.note, x) for c in some for x in c.expected]
    for (note, x), one, two in zip(expected, once, twice, strict=True):
        assert one.tobytes() == two.tobytes(), note
        close(x, one, note, {**TOLERANCE, "float32": 1e-5})


def three_maps(images, channels, filters, size, kernel, stride=1, padding=0, dilation=1, groups=1, dtype=np.float32):
    """A convolution, its adjoint and the gradient of its weights, on random numbers."""
    random = np.random.default_rng(0)
    dims = len(size)
    x = random.standard_normal((images, channels, *size)).astype(dtype)
    w = random.standard_normal((filters, channels // groups, *kernel)).astype(dtype)
    b = random.standard_normal(filters).astype(dtype)
    given = {"stride": (stride,) * dims, "padding": ((padding, padding),) * dims, "dilation": (dilation,) * dims,
             "groups": groups}  # fmt: skip
    note = f"{x.shape} {w.shape} {given}"
    first = Case(OPS["conv"], (x, w, b), given, note)
    g = random.standard_normal(first.expected[0].shape).astype(dtype)
    return [first, Case(OPS["conv_transpose"], (g, w, None), {"size": size, **given}, note),
            Case(OPS["conv_weight_gradient"], (g, x), {"kernel": kernel, **given}, note)]  # fmt: skip


# fmt: off
SHAPES = {
    "rows as wide as a tile": (3, 5, 9, (6, 32), (3, 3), 1, 1),
    "narrow rows": (9, 12, 17, (7, 7), (3, 3), 1, 1),
    "one column": (5, 3, 4, (19, 1), (3, 1), 1, 0),
    "tiny images": (70, 20, 40, (2, 2), (3, 3), 1, 1),
    "many channels": (2, 150, 70, (5, 6), (3, 3), 1, 1),
    "more filters than a panel": (2, 3, 300, (9, 9), (3, 3), 1, 1),
    "stride 2": (4, 8, 16, (17, 16), (3, 3), 2, 1),
    "stride 3, two taps": (4, 8, 16, (17, 16), (2, 2), 3, 1),
    "stride beyond the kernel": (4, 6, 10, (13, 12), (1, 1), 3, 0),
    "dilation and stride": (3, 6, 10, (20, 21), (3, 3), 2, 2, 3),
    "pointwise": (4, 33, 65, (9, 11), (1, 1)),
    "pointwise, padded": (2, 3, 5, (4, 4), (1, 1), 1, 1),
    "depthwise": (3, 24, 24, (13, 17), (3, 3), 1, 1, 1, 24),
    "depthwise, stride 2, two each": (3, 12, 24, (14, 33), (5, 5), 2, 2, 1, 12),
    "groups": (3, 12, 30, (10, 10), (3, 3), 1, 1, 1, 3),
    "large kernel": (2, 2, 3, (20, 24), (11, 13), 1, 5),
    "a line": (2, 4, 6, (5000,), (9,), 1, 4),
    "a dilated line": (2, 4, 6, (3000,), (2,), 1, 512, 512),
    "volumes": (2, 4, 6, (6, 7, 8), (3, 3, 3), 1, 1),
    "volumes, stride 2": (2, 3, 5, (7, 8, 9), (3, 2, 3), 2, 1),
    "a large image": (1, 3, 4, (150, 200), (3, 3), 1, 1),
}
# fmt: on


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_shapes(shape):
    agree([*three_maps(*shape), *three_maps(*shape, *((1, 0, 1, 1)[len(shape) - 5 :]), dtype=np.float64)])


def test_a_slab_that_has_no_room_is_left_to_numpy():
    some = three_maps(1, 1, 1, (1, 70000), (1, 2), 1, 0, 1)[:1]
    wide = Case(OPS["conv"], (some[0].arrays[0], some[0].arrays[1], None),
                {"stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 69000)}, "a wide window")  # fmt: skip
    program, arrays = program_of([wide])
    made = engine.build(program)
    assert [i.op.name for i, _ in made.plan.report] == ["conv"]
    np.testing.assert_array_equal(made(arrays)[0], wide.expected[0])


def test_pooling_of_larger_planes():
    random, some = np.random.default_rng(0), []
    for size, kernel, stride, padding in itertools.product([(37, 50), (64, 64)], [2, 3], [1, 2, 3], [0, 1]):
        x = random.standard_normal((4, 9, *size)).astype(np.float32)
        x[0, 0, 3:5, 3:5] = np.nan
        given = {"kernel": (kernel,) * 2, "stride": (stride,) * 2, "padding": (padding,) * 2}
        top = Case(OPS["max_pool"], (x,), {"dilation": (1, 1), **given}, f"{size} {given}")
        mean = Case(OPS["avg_pool"], (x,), given, f"{size} {given}")
        g = random.standard_normal(mean.expected[0].shape).astype(np.float32)
        some += [top, mean, Case(OPS["avg_pool_gradient"], (g,), {"shape": x.shape, **given}, f"{size} {given}"),
                 Case(OPS["max_pool_gradient"], (g, top.expected[1]), {"shape": x.shape}, "max")]  # fmt: skip
    agree(some)


def test_an_index_outside_of_its_plane_is_an_error():
    from pullback.errors import RangeError

    x, at = np.ones((1, 1, 2), np.float32), np.array([[[0, 9]]])
    program, _ = program_of([Case(OPS["max_unpool"], (x, at % 4), {"size": (4,)}, "")])
    made = engine.build(program)
    with pytest.raises(RangeError, match="9"):
        made([x, at])
