"""Writes the golden files anew from PyTorch; with `--check`, says whether they are what PyTorch gives.

Names of files, as `layers_pooling`, limit it to these.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.goldens.store import FOLDER, UNKNOWN, Golden, pack, unpack
from tests.nn.layers import harness, pytorch
from tests.ops.harness import Result, assert_same_result, cases_of, half_case, inputs_of, stamp
from tests.ops.pytorch import evaluate
from tests.optim import cases as optim

from pullback.dtypes import BF16, F16
from pullback.ops import OPS


def made(wanted: set[str]) -> tuple[dict[str, dict[str, Golden]], list[str]]:
    """file -> `op/sample` or `layer/case` -> what PyTorch gives; and where it fails."""
    families, failed = pytorch.goldens(f for f in harness.FAMILIES if f"layers_{f}" in wanted or not wanted)
    for op in [op for op in OPS.values() if op.torch and (op.family in wanted or not wanted)]:
        goldens = families.setdefault(op.family, {})
        for case in cases_of(op.name):
            try:
                goldens[f"{op.name}/{case.number}"] = Golden(stamp(case), evaluate(case, inputs_of(case)))
            except Exception as error:
                failed.append(f"{case.id}: PyTorch cannot evaluate {op.torch!r}: {type(error).__name__}: {error}")
        if (case := half_case(op)) is not None:
            for dtype in F16, BF16:
                try:
                    result = dtypes_of(evaluate(case, inputs_of(case, dtype)))
                except Exception:  # "not implemented for 'Half'"
                    result = UNKNOWN
                goldens[f"{op.name}/{dtype.name}"] = Golden(stamp(case), result)
    if "optim" in wanted or not wanted:
        families["optim"] = optim.goldens()
    return families, failed


def dtypes_of(result: Result) -> Result:
    """The result with nothing but the dtypes left: in half types, PyTorch's values are not the measure."""
    outs, requires, grads = result
    return Result([x.ravel()[:0] for x in outs], requires, [None if x is None else x.ravel()[:0] for x in grads])


def differences(fresh: dict[str, Golden], stored: dict[str, Golden]) -> list[str]:
    """What is new, gone or different."""
    said = [f"{key}: no such sample any more" for key in stored if key not in fresh]
    for key, golden in fresh.items():
        if key not in stored:
            said.append(f"{key}: not in the file")
        elif golden.stamp != stored[key].stamp:
            said.append(f"{key}: the sample has changed")
        else:
            try:
                assert_same_result(stored[key].result, golden.result)
            except AssertionError as error:
                said.append(f"{key}: {error}")
    return said


def main() -> int:
    wanted = set(sys.argv[1:]) - {"--check"}
    families, said = made(wanted)
    stored = {path.stem: unpack(path) for path in FOLDER.glob("*.npz") if path.stem in wanted or not wanted}
    changed = {}
    for name in stored.keys() | families.keys():
        if different := differences(families.get(name, {}), stored.get(name, {})):
            changed[name] = different
    if "--check" in sys.argv[1:]:
        said += [line for different in changed.values() for line in different]
        print(*said, "`make goldens` writes them anew" if said else "the goldens are current", sep="\n")
        return bool(said)
    for name in changed:  # the others stay as they are: the last bits of PyTorch's results vary from run to run
        path = FOLDER / f"{name}.npz"
        path.write_bytes(pack(families[name])) if name in families else path.unlink()
    print(*said, f"written: {', '.join(sorted(changed)) or 'nothing new'}", sep="\n")
    return bool(said)


if __name__ == "__main__":
    sys.exit(main())
