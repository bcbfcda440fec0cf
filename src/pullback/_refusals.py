"""Names of PyTorch that pullback does not offer: why, and what to do instead."""

from __future__ import annotations

from typing import NoReturn

COMPLEX = "complex numbers are not supported yet; work on real and imaginary parts"
SPARSE = "sparse tensors are not supported; use dense ones, or index_add / scatter_add for sparse updates"
LATER = "it belongs to a part of pullback that is still to come"

REFUSED: dict[str, str] = {
    **dict.fromkeys(
        ["fft", "complex", "complex64", "complex128", "cfloat", "cdouble", "real", "imag", "polar"], COMPLEX
    ),
    **dict.fromkeys(["view_as_real", "view_as_complex", "angle", "stft", "istft"], COMPLEX),
    **dict.fromkeys(["sparse", "sparse_coo_tensor", "sparse_csr_tensor", "sparse_coo", "spmm", "hspmm"], SPARSE),
    **dict.fromkeys(["onnx", "distributed", "multiprocessing"], LATER),
    "jit": "TorchScript has no counterpart; pullback captures a step from plain Python",
    "classes": "custom C++ classes have no counterpart",
    "ops": "custom C++ operators have no counterpart; write an autograd.Function",
    "futures": "asynchronous futures have no counterpart",
    "quantization": "quantized tensors are not supported",
    "hub": "nothing is downloaded at run time; load weights from a file",
    "serialization": "load() runs no code from a file, so there are no classes to allow",
    "mps": "there is no MPS device",
    "xpu": "there is no XPU device",
}


REFUSED_LAYERS: dict[str, str] = {
    "CrossMapLRN2d": "use LocalResponseNorm, which has the same formula",
    "LinearCrossEntropyOptions": "LinearCrossEntropyLoss has no options of how to compute it",
    **dict.fromkeys(["intrinsic", "qat", "quantizable", "quantized"], "quantized tensors are not supported"),
}

REFUSED_ATTENTION: dict[str, str] = {
    "flex_attention": "pass what score_mod or mask_mod give as attn_mask of scaled_dot_product_attention",
    "bias": "use attn_mask, or is_causal=True, of scaled_dot_product_attention",
    "varlen": "pad the sequences, and mask the padding",
    **dict.fromkeys(
        [f"{verb}_flash_attention_impl" for verb in ("register", "activate", "restore", "current")]
        + ["list_flash_attention_impls", "WARN_FOR_UNFUSED_KERNELS"],
        "there is one kernel of attention and none to choose",
    ),
}


def explain(name: str, module: str = "pullback", refused: dict[str, str] = REFUSED) -> NoReturn:
    """Raise the AttributeError for `module.name`."""
    if name in refused:
        raise AttributeError(f"{module} has no {name!r}: {refused[name]}")
    raise AttributeError(f"{module} has no {name!r}. `make surface` lists the PyTorch names that are here")
