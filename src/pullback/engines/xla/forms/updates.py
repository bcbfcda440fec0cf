"""The updates of SGD and Adam: their formulas, with half types in float32 from the first operation to the last."""

from __future__ import annotations

from typing import Any

from ....dtypes import F32, HALVES
from ....ops import updates as records
from ....ops.record import Op
from . import FORMS


def _in_full_precision(record: Op) -> Any:
    """Each result is rounded once, to the type of what it replaces."""
    assert record.decompose is not None
    formula = record.decompose

    def update(*inputs: Any, **flags: Any) -> Any:
        wide = [x.astype(F32) if getattr(x, "dtype", None) in HALVES else x for x in inputs]
        new = formula(*wide, **flags)
        if type(new) is not tuple:
            return new.astype(inputs[0].dtype)
        old = [x for x in inputs if x is not None]  # those that are replaced come first
        return tuple(a.astype(b.dtype) for a, b in zip(new, old, strict=False))

    return update


FORMS.update({record.name: _in_full_precision(record) for record in (records.sgd, records.adam)})
