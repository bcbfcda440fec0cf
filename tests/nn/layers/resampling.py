"""Cases of interpolation and of the shuffles."""

from __future__ import annotations

from .harness import Case

CASES = [
    Case("nn.Upsample(5)", "x(1, 2, 3)"),
    Case("nn.Upsample(size=(5, 4))", "x(1, 2, 3, 3)"),
    Case("nn.Upsample(scale_factor=2)", "x(1, 2, 3, 3)"),
    Case("nn.Upsample(scale_factor=(1.5, 2.5), mode='bilinear')", "x(1, 2, 4, 3)"),
    Case("nn.Upsample(scale_factor=1.6, mode='bilinear', recompute_scale_factor=True)", "x(1, 2, 4, 3)"),
    Case("nn.Upsample(7, mode='linear', align_corners=True)", "x(1, 2, 4)"),
    Case("nn.Upsample((5, 6), mode='bicubic', align_corners=False)", "x(1, 1, 4, 4)"),
    Case("nn.Upsample(scale_factor=2.0, mode='trilinear')", "x(1, 1, 2, 2, 3)"),
    Case("nn.Upsample(scale_factor=2, mode='nearest-exact')", "x(1, 1, 2, 3)"),
    Case("nn.UpsamplingNearest2d((5, 4))", "x(1, 2, 3, 3)"),
    Case("nn.UpsamplingNearest2d(scale_factor=2)", "x(1, 2, 3, 3)"),
    Case("nn.UpsamplingNearest2d(scale_factor=(1.5, 3.0))", "x(1, 2, 3, 3)"),
    Case("nn.UpsamplingBilinear2d(size=6)", "x(1, 2, 3, 3)"),
    Case("nn.UpsamplingBilinear2d(scale_factor=2)", "x(1, 2, 3, 3)"),
    Case("nn.UpsamplingBilinear2d(scale_factor=(1.5, 3.0))", "x(1, 2, 3, 3)"),
    Case("nn.PixelShuffle(2)", "x(2, 8, 2, 3)"),
    Case("nn.PixelShuffle(upscale_factor=3)", "x(9, 1, 2)"),
    Case("nn.PixelShuffle(1)", "x(2, 2, 2, 2, 3)"),
    Case("nn.PixelUnshuffle(2)", "x(2, 2, 4, 6)"),
    Case("nn.PixelUnshuffle(downscale_factor=3)", "x(1, 3, 6)"),
    Case("nn.PixelUnshuffle(1)", "x(2, 2, 2, 2, 3)"),
    Case("nn.ChannelShuffle(2)", "x(2, 4, 3)"),
    Case("nn.ChannelShuffle(groups=3)", "x(1, 6, 2, 2)"),
    Case("nn.ChannelShuffle(1)", "x(1, 3, 2, 2, 2)"),
]
