"""How much of the PyTorch surface that real programs use is here: `make surface`.

Each name of `surface.txt` is printed as `works`, as `refused` with the reason, or as `MISSING`. Exits 1 if anything is
missing.
"""

from __future__ import annotations

import importlib
import pathlib
import sys

NAMES = pathlib.Path(__file__).with_name("surface.txt")

# Parts of PyTorch that pullback will have, or does not want, by the longest prefix that fits.
PARTS = {
    "torch.distributed": "running on many devices is still to come",
    "torch.multiprocessing": "running on many devices is still to come",
    "torch.nn.attention.flex_attention": "use scaled_dot_product_attention with a mask",
    "torch.autograd.profiler": "the cost of a step is still to come",
    "torch.ops": "custom C++ operators have no counterpart; write an autograd.Function",
    "torch.classes": "custom C++ classes have no counterpart",
    "torch.futures": "asynchronous futures have no counterpart",
    "torch.fft": "complex numbers are not supported yet",
    "torch.sparse_coo_tensor": "sparse tensors are not supported",
    "torch.Tensor.to_sparse": "sparse tensors are not supported",
    "torch.spmm": "sparse tensors are not supported",
    "torch.Tensor.record_stream": "there are no streams on a CPU",
}
# Counted among the methods of tensors, but belonging to dicts, lists and images.
NOT_TENSORS = {"torch.Tensor.values", "torch.Tensor.index", "torch.Tensor.resize"}


def resolve(name: str) -> object:
    """The object that `torch.a.b` means with `import pullback as torch`."""
    parts = name.replace("torch", "pullback", 1).split(".")
    module, rest = importlib.import_module(parts[0]), parts[1:]
    found: object = module
    for i, part in enumerate(rest):
        try:
            found = getattr(found, part)
        except AttributeError as refusal:
            try:
                found = importlib.import_module(".".join([parts[0], *rest[: i + 1]]))
            except ModuleNotFoundError:
                raise refusal from None
    return found


def status(name: str) -> tuple[str, str]:
    """(works | refused | MISSING, reason)"""
    try:
        resolve(name)
        return "works", ""
    except AttributeError as error:
        if name in NOT_TENSORS:
            return "refused", "not a method of tensors"
        prefixes = [p for p in PARTS if name == p or name.startswith(p + ".")]
        if prefixes:
            return "refused", PARTS[max(prefixes, key=len)]
        reason = str(error).partition(": ")[2]
        return ("refused", reason) if reason and " has no " in str(error) else ("MISSING", "")


def main() -> int:
    lines = [line.split() for line in NAMES.read_text().splitlines() if not line.startswith("#")]
    count = {"works": 0, "refused": 0, "MISSING": 0}
    for uses, name in lines:
        what, why = status(name)
        count[what] += 1
        print(f"{what:8} {int(uses):4d}  {name}" + (f"  ({why})" if why else ""))
    print(", ".join(f"{n} {what}" for what, n in count.items()))
    return 1 if count["MISSING"] else 0


if __name__ == "__main__":
    sys.exit(main())
