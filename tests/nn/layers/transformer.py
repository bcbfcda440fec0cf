"""Cases of the Transformer's layers."""

from __future__ import annotations

from .harness import Case

LATER = "torch.ones(4, 4).triu(1).bool()"
PADDING = "torch.tensor([[False] * 4, [False, False, True, True]])"
CAUSAL = "nn.Transformer.generate_square_subsequent_mask(4, dtype=torch.float64)"
ENCODER = "nn.TransformerEncoderLayer(4, 2, 6, 0.0)"
DECODER = "nn.TransformerDecoderLayer(4, 2, 6, 0.0)"
OTHER = "activation=torch.tanh, layer_norm_eps=0.1, batch_first=True, norm_first=True, bias=False"
SMALL = "num_encoder_layers=1, num_decoder_layers=1, dim_feedforward=4, dropout=0.0"

CASES = [
    Case(ENCODER, "x(4, 2, 4)"),
    Case(ENCODER, "x(4, 2, 4)", call=f"m(*xs, {LATER}, {PADDING}, is_causal=True)"),
    Case(ENCODER, "x(4, 4)", call=f"m(*xs, src_mask={CAUSAL}, is_causal=True)", note="no batch"),
    Case(f"nn.TransformerEncoderLayer(4, 2, dim_feedforward=3, dropout=0.0, {OTHER})", "x(2, 4, 4)"),
    Case("nn.TransformerEncoderLayer(4, 2, 3, activation='gelu', batch_first=True)", "x(2, 4, 4)", both=False),
    Case("nn.TransformerEncoderLayer(4, 1, 3, 0.0, nn.SiLU(), norm_first=True)", "x(3, 1, 4)"),
    Case(DECODER, "x(4, 2, 4)", "x(3, 2, 4)"),
    Case(
        DECODER,
        "x(4, 2, 4)",
        "x(4, 2, 4)",
        call=f"m(*xs, {LATER}, {LATER}, {PADDING}, {PADDING}, tgt_is_causal=True, memory_is_causal=True)",
    ),
    Case(DECODER, "x(4, 4)", "x(4, 4)", call=f"m(*xs, {CAUSAL}, {CAUSAL}, None, None, True, True)", note="no batch"),
    Case(f"nn.TransformerDecoderLayer(4, 2, dim_feedforward=3, dropout=0.0, {OTHER})", "x(2, 4, 4)", "x(2, 3, 4)"),
    Case("nn.TransformerDecoderLayer(4, 2, 3, activation='gelu')", "x(4, 2, 4)", "x(3, 2, 4)", both=False),
    Case(f"nn.TransformerEncoder({ENCODER}, 2)", "x(4, 2, 4)"),
    Case(
        f"nn.TransformerEncoder({ENCODER}, 2, norm=nn.LayerNorm(4), enable_nested_tensor=False, mask_check=False)",
        "x(4, 2, 4)",
        call=f"m(*xs, src_key_padding_mask={PADDING})",
    ),
    Case(f"nn.TransformerEncoder({ENCODER}, 1, nn.Identity())", "x(4, 2, 4)", call=f"m(*xs, {CAUSAL})"),
    Case(
        f"nn.TransformerEncoder({ENCODER}, 1, enable_nested_tensor=False)",
        "x(4, 2, 4)",
        call=f"m(*xs, {LATER}, {PADDING}, is_causal=True)",
    ),
    Case(f"nn.TransformerDecoder({DECODER}, 2, nn.LayerNorm(4))", "x(4, 2, 4)", "x(3, 2, 4)"),
    Case(
        f"nn.TransformerDecoder({DECODER}, 1, norm=nn.LayerNorm(4, bias=False))",
        "x(4, 2, 4)",
        "x(4, 2, 4)",
        call=f"m(*xs, {LATER}, {LATER}, {PADDING}, {PADDING})",
    ),
    Case(
        f"nn.TransformerDecoder({DECODER}, 1, norm=nn.Identity())",
        "x(4, 2, 4)",
        "x(4, 2, 4)",
        call=f"m(*xs, {CAUSAL}, {CAUSAL}, tgt_is_causal=True, memory_is_causal=True)",
    ),
    Case(f"nn.Transformer(d_model=4, nhead=2, {SMALL}, {OTHER})", "x(2, 3, 4)", "x(2, 4, 4)"),
    Case(
        f"nn.Transformer(4, 2, {SMALL}, activation='gelu')",
        "x(4, 2, 4)",
        "x(4, 2, 4)",
        call=f"m(*xs, {CAUSAL}, {LATER}, {LATER}, {PADDING}, {PADDING}, {PADDING})",
    ),
    Case(
        f"nn.Transformer(4, 2, {SMALL})",
        "x(4, 4)",
        "x(4, 4)",
        call=f"m(*xs, {CAUSAL}, {CAUSAL}, {CAUSAL}, None, None, None, True, True, True)",
        note="no batch",
    ),
    Case(
        f"nn.Transformer(4, custom_encoder=nn.TransformerEncoder({ENCODER[:-1]}, dtype=torch.bfloat16), 1), "
        f"custom_decoder=nn.TransformerDecoder({DECODER[:-1]}, dtype=torch.bfloat16), 1))",
        "x(3, 2, 4)",
        "x(4, 2, 4)",
    ),
]

LARGE = [
    "nn.TransformerEncoderLayer(40, 4, 60)",
    "nn.TransformerDecoderLayer(40, 4, 60)",
    "nn.TransformerEncoder(nn.TransformerEncoderLayer(40, 4, 60, batch_first=True), 1)",
    "nn.TransformerDecoder(nn.TransformerDecoderLayer(40, 4, 60), 1)",
    "nn.Transformer(40, 4, 1, 1, 60, batch_first=True)",
]
