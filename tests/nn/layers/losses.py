"""Cases of the losses."""

from __future__ import annotations

from .harness import Case

R = ("reduction='none'", "reduction='sum'", "reduction='mean'")
SAME = ("x(3, 4)", "x(3, 4)")
TRIPLE = ("x(4, 3)", "x(4, 3)", "x(4, 3)")


def each(layer: str, *inputs: str, older: bool = True) -> list[Case]:
    """A layer with each reduction, and with the two older arguments that stand for one."""
    given = [*R, "size_average=False", "reduce=False"] if older else R
    return [Case(f"nn.{layer}({args})", *inputs) for args in given]


CASES = [
    *(case for name in ("L1Loss", "MSELoss", "SmoothL1Loss") for case in each(name, *SAME)),
    Case("nn.SmoothL1Loss(beta=0.3)", *SAME),
    Case("nn.SmoothL1Loss(beta=0.0, reduction='sum')", *SAME),
    *each("HuberLoss", *SAME, older=False),
    Case("nn.HuberLoss('sum', 0.3)", *SAME),
    Case("nn.HuberLoss(delta=2.0)", *SAME),
    *each("PoissonNLLLoss", "x(3, 4)", "positive(3, 4)"),
    Case("nn.PoissonNLLLoss(log_input=False)", "positive(3, 4)", "positive(3, 4)"),
    Case("nn.PoissonNLLLoss(False, full=True, eps=0.1)", "positive(3, 4)", "positive(3, 4)"),
    Case("nn.PoissonNLLLoss(full=True, reduction='none')", "x(3, 4)", "positive(3, 4) * 3"),
    *each("GaussianNLLLoss", *SAME, "positive(3, 4)", older=False),
    Case("nn.GaussianNLLLoss(full=True)", *SAME, "positive(3, 1)"),
    Case("nn.GaussianNLLLoss(eps=0.5, reduction='sum')", *SAME, "positive(3)"),
    Case("nn.GaussianNLLLoss(full=True)", *SAME, call="m(*xs, 0.7)"),
    # classes
    *each("CrossEntropyLoss", "x(4, 3)", "ints(3, 4)"),
    *each("CrossEntropyLoss", "x(4, 3)", "probs(4, 3)"),
    Case("nn.CrossEntropyLoss()", "x(3)", "ints(3)"),
    Case("nn.CrossEntropyLoss(ignore_index=1)", "x(6, 3)", "ints(3, 6)"),
    Case("nn.CrossEntropyLoss(ignore_index=0, reduction='none')", "x(2, 3, 4, 2)", "ints(3, 2, 4, 2)"),
    Case("nn.CrossEntropyLoss(label_smoothing=0.2)", "x(4, 3)", "ints(3, 4)"),
    Case("nn.CrossEntropyLoss(label_smoothing=0.3, reduction='sum')", "x(4, 3, 2)", "probs(4, 3, 2)"),
    Case("nn.CrossEntropyLoss(positive(3))", "x(4, 3)", "ints(3, 4)"),
    Case("nn.CrossEntropyLoss(weight=positive(3), reduction='none')", "x(4, 3)", "probs(4, 3)"),
    Case("nn.CrossEntropyLoss(positive(3), ignore_index=2, label_smoothing=0.1)", "x(6, 3)", "ints(3, 6)"),
    Case("nn.CrossEntropyLoss(positive(3), label_smoothing=0.1, reduction='sum')", "x(2, 3, 2)", "ints(3, 2, 2)"),
    Case("nn.LinearCrossEntropyLoss(5, 3)", "x(4, 5)", "ints(3, 4)"),
    Case("nn.LinearCrossEntropyLoss(5, 3, bias=True, reduction='sum')", "x(5)", "ints(3)"),
    Case("nn.LinearCrossEntropyLoss(5, 3, out_features=(2,), bias=True)", "x(4, 5)", "ints(3, 4, 2)"),
    Case("nn.LinearCrossEntropyLoss(5, 3, weight=positive(3), ignore_index=1)", "x(4, 5)", "ints(3, 4)"),
    Case("nn.LinearCrossEntropyLoss(5, 3, label_smoothing=0.2, reduction='none')", "x(4, 5)", "probs(4, 3)"),
    *(
        case
        for name in ("NLLLoss", "NLLLoss2d")
        for case in (
            *each(name, "x(4, 3)", "ints(3, 4)"),
            Case(f"nn.{name}(positive(3))", "x(4, 3, 2, 2)", "ints(3, 4, 2, 2)"),
            Case(f"nn.{name}(ignore_index=1, reduction='sum')", "x(6, 3)", "ints(3, 6)"),
            Case(f"nn.{name}(weight=positive(3), ignore_index=1, reduction='none')", "x(6, 3)", "ints(3, 6)"),
            Case(f"nn.{name}()", "x(3)", "ints(3)"),
        )
    ),
    *each("KLDivLoss", "x(3, 4)", "probs(3, 4)")[:4],
    Case("nn.KLDivLoss(reduction='batchmean')", "x(3, 4)", "probs(3, 4)"),
    Case("nn.KLDivLoss(log_target=True)", "x(3, 4)", "x(3, 4)"),
    Case("nn.KLDivLoss(reduction='batchmean', log_target=True)", "x(3, 4)", "x(3, 4)"),
    *each("BCELoss", "unit(3, 4)", "unit(3, 4)"),
    Case("nn.BCELoss(weight=positive(4))", "unit(3, 4)", "unit(3, 4)"),
    Case("nn.BCELoss(positive(3, 4), reduction='sum')", "unit(3, 4)", "unit(3, 4)"),
    *each("BCEWithLogitsLoss", "x(3, 4)", "unit(3, 4)"),
    Case("nn.BCEWithLogitsLoss(weight=positive(4))", "x(3, 4)", "unit(3, 4)"),
    Case("nn.BCEWithLogitsLoss(pos_weight=positive(4), reduction='sum')", "x(3, 4)", "unit(3, 4)"),
    Case("nn.BCEWithLogitsLoss(positive(3, 1), pos_weight=positive(4))", "x(3, 4)", "unit(3, 4)"),
    # PyTorch's gradient of ctc_loss is right after log_softmax only
    *(
        Case(f"nn.CTCLoss({args})", f"x({shape})", call=f"m(xs[0].log_softmax(-1), {targets})")
        for args, shape, targets in (
            ("", "6, 3, 5", "torch.tensor([[1, 2, 2], [3, 4, 0], [1, 0, 0]]), (6, 5, 4), (3, 2, 1)"),
            ("reduction='none'", "6, 2, 5", "torch.tensor([1, 1, 2, 3]), torch.tensor([6, 6]), torch.tensor([3, 1])"),
            ("4, 'sum'", "7, 2, 5", "torch.tensor([[1, 2, 1], [0, 0, 3]]), [7, 7], [3, 3]"),
            ("blank=2", "5, 4", "torch.tensor([1, 0, 3]), torch.tensor(5), torch.tensor(3)"),
            ("reduction='sum'", "4, 3, 3", "torch.tensor([[1, 2], [1, 1], [2, 1]]), (4, 4, 4), (0, 2, 1)"),
            ("zero_infinity=True", "3, 2, 3", "torch.tensor([[1, 1, 2], [1, 2, 1]]), (3, 3), (3, 3)"),
            ("0, 'none', True", "1, 2, 3", "torch.tensor([[1], [2]]), (1, 1), (1, 0)"),
            ("reduction='none'", "2, 3, 3", "torch.tensor([[1], [2], [1]]), (0, 2, 1), (0, 0, 1)"),
        )
    ),
    Case("nn.AdaptiveLogSoftmaxWithLoss(16, 20, [5, 12])", "x(6, 16)", "ints(20, 6)"),
    Case("nn.AdaptiveLogSoftmaxWithLoss(8, 20, [5, 12], div_value=2.0)", "x(8)", "ints(20)"),
    Case("nn.AdaptiveLogSoftmaxWithLoss(8, 10, (2, 4, 7), 1.5, head_bias=True)", "x(9, 8)", "ints(10, 9)"),
    Case(
        "nn.AdaptiveLogSoftmaxWithLoss(8, 10, [2], head_bias=True)",
        "x(4, 8)",
        call="(m.log_prob(xs[0]), m.predict(xs[0]))",
    ),
    # margins
    *each("HingeEmbeddingLoss", "x(3, 4)", "signs(3, 4)"),
    Case("nn.HingeEmbeddingLoss(0.3)", "x(3, 4)", "signs(3, 4)"),
    *each("MarginRankingLoss", "x(5)", "x(5)", "signs(5)"),
    Case("nn.MarginRankingLoss(margin=0.8)", "x(3, 5)", "x(3, 5)", "signs(3, 5)"),
    *each("CosineEmbeddingLoss", "x(5, 3)", "x(5, 3)", "signs(5)"),
    Case("nn.CosineEmbeddingLoss(-0.5)", "x(5, 3)", "x(5, 3)", "signs(5)"),
    Case("nn.CosineEmbeddingLoss(margin=0.3, reduction='sum')", "x(3)", "x(3)", "signs()"),
    *each("SoftMarginLoss", "x(3, 4)", "signs(3, 4)"),
    *each("MultiLabelSoftMarginLoss", "x(3, 4)", "ints(2, 3, 4).double()"),
    Case("nn.MultiLabelSoftMarginLoss(weight=positive(4))", "x(3, 4)", "unit(3, 4)"),
    *each("MultiMarginLoss", "x(5, 4)", "ints(4, 5)"),
    Case("nn.MultiMarginLoss(2)", "x(5, 4)", "ints(4, 5)"),
    Case("nn.MultiMarginLoss(p=2, margin=0.5, weight=positive(4))", "x(5, 4)", "ints(4, 5)"),
    Case("nn.MultiMarginLoss(margin=2.0, weight=positive(4), reduction='none')", "x(5, 4)", "ints(4, 5)"),
    *each("MultiLabelMarginLoss", "x(2, 4)", "torch.tensor([[1, 3, -1, 2], [0, -1, 1, 1]])"),
    *each("TripletMarginLoss", *TRIPLE),
    Case("nn.TripletMarginLoss(0.5, p=1)", *TRIPLE),
    Case("nn.TripletMarginLoss(margin=2.0, p=3.0, eps=1e-2, swap=True)", *TRIPLE),
    *each("TripletMarginWithDistanceLoss", *TRIPLE, older=False),
    Case("nn.TripletMarginWithDistanceLoss(margin=0.5, swap=True)", *TRIPLE),
    Case("nn.TripletMarginWithDistanceLoss(distance_function=nn.CosineSimilarity(), margin=2.0)", *TRIPLE),
]

LARGE = [
    "nn.LinearCrossEntropyLoss(60, 100, bias=True)",
    "nn.AdaptiveLogSoftmaxWithLoss(100, 300, [100, 200], 2.0)",
]
