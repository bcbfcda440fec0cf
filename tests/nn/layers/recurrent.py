"""Cases of RNN, LSTM, GRU and their cells."""

from __future__ import annotations

from .harness import Case

PACKED = """[*torch.nn.utils.rnn.pad_packed_sequence((packed := m(torch.nn.utils.rnn.pack_padded_sequence(
    xs[0], [{lengths}], enforce_sorted=False), *xs[1:]))[0]), packed[1]]""".replace("\n    ", "")
UNSORTED, EQUAL, ONES = (PACKED.format(lengths=lengths) for lengths in ("2, 5, 1, 5", "3, 3", "1, 1, 1"))
BOTH = "m(xs[0], (xs[1], xs[2]))"
PACKED_BOTH = UNSORTED.replace("*xs[1:]", "(xs[1], xs[2])")


def cases(layer: str, given: str = "m(*xs)", packed: str = UNSORTED) -> list[Case]:
    """What the layers have in common; `given` and `packed` are calls with a first state."""

    def states(*shape: int) -> list[str]:
        return [f"x({', '.join(map(str, shape))})" for _ in range(2 if layer == "LSTM" else 1)]

    return [
        Case(f"nn.{layer}(3, 4)", "x(5, 2, 3)"),
        Case(f"nn.{layer}(3, 4)", "x(5, 2, 3)", *states(1, 2, 4), call=given),
        Case(f"nn.{layer}(3, 4, num_layers=2)", "x(3, 2, 3)", *states(2, 2, 4), call=given),
        Case(f"nn.{layer}(3, 4, bias=False)", "x(4, 2, 3)"),
        Case(f"nn.{layer}(3, 4, batch_first=True)", "x(2, 5, 3)", *states(1, 2, 4), call=given),
        Case(f"nn.{layer}(3, 2, bidirectional=True)", "x(4, 3, 3)"),
        Case(f"nn.{layer}(3, 2, 3, bidirectional=True, batch_first=True)", "x(3, 4, 3)", *states(6, 3, 2), call=given),
        Case(f"nn.{layer}(3, 4, 2, dropout=0.5)", "x(4, 2, 3)", both=False),
        Case(f"nn.{layer}(3, 4, 2, dropout=1)", "x(4, 2, 3)", note="layers after the first see zeros"),
        Case(f"nn.{layer}(3, 4)", "x(5, 3)", note="unbatched"),
        Case(f"nn.{layer}(3, 4, 2, bidirectional=True)", "x(5, 3)", *states(4, 4), call=given, note="unbatched"),
        Case(f"nn.{layer}(1, 1, bias=False)", "x(1, 1, 1)", note="one of everything"),
        Case(f"nn.{layer}(3, 4, bias=False)", "x(3, 0, 3)", note="no sequences"),
        Case(f"nn.{layer}(3, 4)", "x(5, 4, 3)", call=UNSORTED, note="packed"),
        Case(f"nn.{layer}(3, 4)", "x(3, 2, 3)", call=EQUAL, note="packed, equal lengths"),
        Case(f"nn.{layer}(3, 4, 2, bidirectional=True)", "x(1, 3, 3)", call=ONES, note="packed, one step"),
        Case(f"nn.{layer}(3, 2, 2, bidirectional=True)", "x(5, 4, 3)", *states(4, 4, 2), call=packed, note="packed"),
    ]


CASES = [
    *cases("RNN"),
    Case("nn.RNN(3, 4, nonlinearity='relu')", "x(5, 2, 3)"),
    Case("nn.RNN(3, 2, 2, 'relu', bidirectional=True)", "x(5, 2, 3)", "x(4, 2, 2)"),
    Case("nn.RNN(3, 4, 1, 'relu', False, True)", "x(5, 2, 3)"),
    *cases("LSTM", given=BOTH, packed=PACKED_BOTH),
    Case("nn.LSTM(3, 5, proj_size=2)", "x(4, 3, 3)"),
    Case("nn.LSTM(3, 5, proj_size=2, bias=False)", "x(4, 3, 3)", "x(1, 3, 2)", "x(1, 3, 5)", call=BOTH),
    Case("nn.LSTM(3, 5, 2, proj_size=2, bidirectional=True)", "x(4, 3)", "x(4, 2)", "x(4, 5)", call=BOTH),
    Case("nn.LSTM(3, 4, 2, proj_size=2, bidirectional=True)", "x(5, 4, 3)", call=UNSORTED, note="packed"),
    *cases("GRU"),
    Case("nn.RNNCell(3, 4)", "x(2, 3)", "x(2, 4)"),
    Case("nn.RNNCell(3, 4, bias=False)", "x(2, 3)"),
    Case("nn.RNNCell(3, 4, nonlinearity='relu')", "x(2, 3)", "x(2, 4)"),
    Case("nn.RNNCell(3, 4, False, 'relu')", "x(3)", "x(4)", note="unbatched"),
    Case("nn.LSTMCell(3, 4)", "x(2, 3)", "x(2, 4)", "x(2, 4)", call=BOTH),
    Case("nn.LSTMCell(3, 4, bias=False)", "x(2, 3)", "x(2, 4)", "x(2, 4)", call=BOTH),
    Case("nn.LSTMCell(3, 4, bias=False)", "x(2, 3)"),
    Case("nn.LSTMCell(3, 1, bias=False)", "x(3)", "x(1)", "x(1)", call=BOTH, note="unbatched"),
    Case("nn.GRUCell(3, 4)", "x(2, 3)", "x(2, 4)"),
    Case("nn.GRUCell(3, 4, bias=False)", "x(2, 3)", "x(2, 4)"),
    Case("nn.GRUCell(3, 4, bias=False)", "x(2, 3)"),
    Case("nn.GRUCell(3, 1, bias=False)", "x(3)", "x(1)", note="unbatched"),
]

LARGE = [
    "nn.RNN(100, 60, 2, bidirectional=True)",
    "nn.LSTM(100, 60, 2, proj_size=40)",
    "nn.GRU(100, 60, 2)",
    "nn.RNNCell(100, 150)",
    "nn.LSTMCell(100, 60)",
    "nn.GRUCell(100, 60)",
]
