"""Cases of multi-head attention."""

from __future__ import annotations

from .harness import Case

SELF = ("x(5, 2, 4)",)
CROSS = ("x(3, 2, 4)", "x(5, 2, 4)", "x(5, 2, 4)")
LATER = "torch.ones(5, 5).triu(1).bool()"
PADDING = "torch.tensor([[False] * 5, [False, False, True, True, True]])"


def look(self: bool = True, **options: str) -> str:
    """A call, with masks and the like."""
    words = "".join(f", {name}={value}" for name, value in options.items())
    return f"m(xs[0], xs[0], xs[0]{words})" if self else f"m(*xs[:3]{words})"


CASES = [
    Case("nn.MultiheadAttention(4, 2)", *SELF, call=look()),
    Case("nn.MultiheadAttention(4, 2)", *CROSS, call=look(False, average_attn_weights="False")),
    Case("nn.MultiheadAttention(4, 2)", *CROSS, call=look(False, need_weights="False")),
    Case("nn.MultiheadAttention(4, 2)", *CROSS[:2], call="m(xs[0], xs[1], xs[1])", note="key is value"),
    Case("nn.MultiheadAttention(4, 4, bias=False)", "x(5, 4)", call=look(), note="no batch"),
    Case("nn.MultiheadAttention(4, 2, batch_first=True)", "x(2, 5, 4)", call=look(attn_mask=LATER)),
    Case("nn.MultiheadAttention(4, 2, batch_first=True)", "x(5, 4)", call=look(need_weights="False", attn_mask=LATER)),
    Case("nn.MultiheadAttention(4, 2, 0.0, False, batch_first=True)", "x(2, 5, 4)", call=look(need_weights="False")),
    Case("nn.MultiheadAttention(4, 2, dropout=0.5)", *SELF, call=look(), both=False),
    Case(
        "nn.MultiheadAttention(4, 2)",
        *SELF,
        call=look(attn_mask=LATER, is_causal="True", need_weights="False"),
        note="causal",
    ),
    Case(
        "nn.MultiheadAttention(4, 2)",
        *SELF,
        call=look(attn_mask=LATER, key_padding_mask=PADDING, is_causal="True", need_weights="False"),
    ),
    Case("nn.MultiheadAttention(4, 2)", *SELF, call=look(attn_mask=LATER, key_padding_mask=PADDING)),
    Case("nn.MultiheadAttention(4, 2)", *SELF, call=look(key_padding_mask=PADDING, need_weights="False")),
    Case("nn.MultiheadAttention(4, 2)", *SELF, "x(5, 5)", call=look(attn_mask="xs[1]"), note="a learned mask"),
    Case("nn.MultiheadAttention(4, 2)", *SELF, "x(4, 5, 5)", call=look(attn_mask="xs[1]", need_weights="False")),
    Case(
        "nn.MultiheadAttention(4, 2)",
        *CROSS,
        "x(4, 3, 5)",
        "x(2, 5)",
        call=look(False, attn_mask="xs[3]", key_padding_mask="xs[4]"),
    ),
    Case(
        "nn.MultiheadAttention(4, 2, add_bias_kv=True, add_zero_attn=True)",
        *SELF,
        call=look(attn_mask=LATER, key_padding_mask=PADDING),
    ),
    Case("nn.MultiheadAttention(4, 2, add_bias_kv=True)", *CROSS, call=look(False, need_weights="False")),
    Case(
        "nn.MultiheadAttention(4, 2, add_zero_attn=True, batch_first=True)",
        "x(2, 5, 4)",
        call=look(key_padding_mask=PADDING, need_weights="False"),
    ),
    Case("nn.MultiheadAttention(4, 2, kdim=3, vdim=6)", "x(3, 2, 4)", "x(5, 2, 3)", "x(5, 2, 6)"),
    Case("nn.MultiheadAttention(4, 1, bias=False, vdim=2, batch_first=True)", "x(3, 4)", "x(5, 4)", "x(5, 2)"),
    Case("nn.MultiheadAttention(4, 2, add_bias_kv=True, kdim=3)", "x(3, 2, 4)", "x(5, 2, 3)", "x(5, 2, 4)"),
]

LARGE = ["nn.MultiheadAttention(40, 4, add_bias_kv=True)", "nn.MultiheadAttention(40, 2, kdim=20, vdim=30)"]
