"""Cases of the distances."""

from __future__ import annotations

from .harness import Case

CASES = [
    Case("nn.PairwiseDistance()", "x(4, 3)", "x(4, 3)"),
    Case("nn.PairwiseDistance(1)", "x(4, 3)", "x(4, 3)"),
    Case("nn.PairwiseDistance(p=3.0, keepdim=True)", "x(4, 3)", "x(1, 3)"),
    Case("nn.PairwiseDistance(float('inf'), eps=0.1)", "x(2, 4, 3)", "x(4, 3)"),
    Case("nn.CosineSimilarity()", "x(4, 3)", "x(4, 3)"),
    Case("nn.CosineSimilarity(0)", "x(4, 3)", "x(4, 3)"),
    Case("nn.CosineSimilarity(dim=-1, eps=2.0)", "x(2, 4, 3)", "x(4, 3)"),
    Case("nn.CosineSimilarity(dim=2)", "x(2, 4, 3)", "x(2, 1, 3)"),
]
