"""Cases of Embedding and EmbeddingBag."""

from __future__ import annotations

from .harness import Case

BAGS = "m(torch.tensor([1, 2, 4, 5, 4, 3]), torch.tensor([0, 2, 2, 5]))"

CASES = [
    Case("nn.Embedding(6, 3)", "ints(6, 2, 4)"),
    Case("nn.Embedding(6, 3, padding_idx=2)", "ints(6, 2, 8)"),
    Case("nn.Embedding(6, 3, -1)", "ints(6, 10)"),
    Case("nn.Embedding(6, 3, scale_grad_by_freq=True)", "ints(6, 3, 4)"),
    Case("nn.Embedding(6, 3, max_norm=1.0)", "ints(6, 4)"),
    Case("nn.Embedding(6, 3, max_norm=1.5, norm_type=1.0, padding_idx=0)", "ints(6, 4)"),
    Case("nn.Embedding(6, 3, norm_type=3.0)", "ints(6)"),
    Case("nn.Embedding.from_pretrained(x(5, 2))", "ints(5, 3)"),
    Case("nn.Embedding.from_pretrained(x(5, 2), freeze=False, padding_idx=1)", "ints(5, 3, 2)"),
    Case("nn.Embedding.from_pretrained(x(5, 2), False, None, 0.5, 1.0, True)", "ints(5, 9)"),
    Case("nn.EmbeddingBag(6, 3)", "ints(6, 2, 4)"),
    Case("nn.EmbeddingBag(6, 3, mode='sum')", call=BAGS),
    Case("nn.EmbeddingBag(6, 3)", call=BAGS),
    Case("nn.EmbeddingBag(6, 3, mode='max')", call=BAGS),
    Case("nn.EmbeddingBag(6, 3, mode='max', padding_idx=4)", "ints(6, 3, 4)"),
    Case("nn.EmbeddingBag(6, 3, padding_idx=-2)", call=BAGS),
    Case("nn.EmbeddingBag(6, 3, mode='sum', padding_idx=4)", call=BAGS),
    # Each row is used twice: where that differs, PyTorch divides by another row's count.
    Case("nn.EmbeddingBag(6, 3, scale_grad_by_freq=True)", call="m(torch.tensor([[0, 1], [3, 1], [0, 3]]))"),
    Case("nn.EmbeddingBag(6, 3, max_norm=1.0, norm_type=1.0)", "ints(6, 2, 3)"),
    Case(
        "nn.EmbeddingBag(6, 3, mode='sum', include_last_offset=True)",
        "x(6)",
        call="m(torch.tensor([1, 2, 4, 5, 4, 3]), torch.tensor([0, 2, 2, 5, 6]), xs[0])",
    ),
    Case("nn.EmbeddingBag(6, 3, mode='sum')", "ints(6, 2, 4)", "x(2, 4)", call="m(xs[0], per_sample_weights=xs[1])"),
    Case("nn.EmbeddingBag(6, 3, mode='max', padding_idx=1)", call=BAGS),
    Case("nn.EmbeddingBag(6, 3)", call="m(torch.zeros(0).long(), torch.tensor([0, 0]))"),
    Case("nn.EmbeddingBag(6, 3, scale_grad_by_freq=True)", call="m(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 3]))"),
    Case("nn.EmbeddingBag.from_pretrained(x(5, 2))", "ints(5, 3, 2)"),
    Case("nn.EmbeddingBag.from_pretrained(x(5, 2), False, mode='sum', padding_idx=1)", "ints(5, 3, 2)"),
]

LARGE = ["nn.Embedding(500, 60)", "nn.EmbeddingBag(500, 60)"]
