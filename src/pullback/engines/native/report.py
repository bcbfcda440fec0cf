"""What became of a Program: which loops and calls its instructions are, and which NumPy runs, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ...program.program import Instruction, Program
from .loops import Loop
from .plan import Call, Plan

SHOWN = 5  # lines of the user's, of instructions of one kind


def report(program: Program, plan: Plan, threads: int) -> str:
    """Text; a line a kind of instruction."""
    loops = [step for step in plan.steps if isinstance(step, Loop) and not step.idle]
    calls = [step for step in plan.steps if isinstance(step, Call)]
    fused = sum(len(step.instructions) for step in loops)
    changed, kept = plan.program.instructions, {(i.op, i.outputs) for i in plan.program.instructions}
    apart = [i for i in program.instructions if (i.op, i.outputs) not in kept]
    lines = [
        f"{program.name}: {len(program)} instructions, as the native engine runs them on {counted(threads, 'thread')}",
        f"  {len(changed)} instructions after some have been taken apart, and those that were the same made one",
        f"  {counted(len(loops), 'loop')}, of {fused} elementwise instructions and copies",
        f"  {counted(len(calls), 'call')} of kernels: {tally(step.function for step in calls)}",
        f"  {plan.size / 2**20:.1f} MiB of memory for what lies between them",
    ]
    lines += section("taken apart", [(i, "into elementwise instructions" if i.op.name in ("adam", "sgd", "full_like")
                                      else "as its record says, for it has no kernel") for i in apart])  # fmt: skip
    lines += section("run by NumPy", plan.report) or ["nothing is run by NumPy"]
    return "\n".join(lines)


def section(title: str, found: Iterable[tuple[Instruction, str]]) -> list[str]:
    """Instructions and reasons, those of an op together."""
    kinds: dict[tuple[str, str], list[Instruction]] = {}
    for i, why in found:
        kinds.setdefault((i.op.name, why), []).append(i)
    lines = [f"{title}:"] if kinds else []
    for (name, why), some in kinds.items():
        lines.append(f"  {len(some)} x {name}: {why}")
        where = Counter(f"{i.line}: {i.line.text}" for i in some if i.line)
        lines += [
            f"      {text}" + (f" ({count} times)" if count > 1 else "") for text, count in where.most_common(SHOWN)
        ]
        if len(where) > SHOWN:
            lines.append(f"      and {len(where) - SHOWN} other lines")
    return lines


def tally(names: Iterable[str]) -> str:
    found = Counter(name.removeprefix("pb_") for name in names)
    return ", ".join(f"{count} {name}" for name, count in found.most_common()) or "none"


def counted(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


__all__ = ["report"]
