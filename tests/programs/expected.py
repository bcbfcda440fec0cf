"""What PyTorch gives for the programs, kept in expected.json. Run this file with PyTorch installed to write it anew."""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

FILE = pathlib.Path(__file__).with_name("expected.json")


def plain(value: Any) -> Any:
    """Tensors and what holds them as JSON has it; a tensor keeps its dtype and shape."""
    if hasattr(value, "detach"):
        name = str(value.dtype).rpartition(".")[2]
        numbers = [float(f"{v:.7g}") if isinstance(v, float) else v for v in value.detach().flatten().tolist()]
        return {"dtype": name, "shape": list(value.shape), "values": numbers}
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


if __name__ == "__main__":
    import torch
    import torch.utils.checkpoint  # what `import torch` leaves out

    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
    from tests.programs.programs import PROGRAMS

    FILE.write_text(json.dumps({name: plain(run(torch)) for name, run in PROGRAMS.items()}, indent=0) + "\n")
