"""What a checkpointed region computes again is computed as late as it can be: right before it is first asked for.

Backward reads what the second run made, so nothing of the first lives on; and as long as the second run waits, neither
does anything of it.
"""

from __future__ import annotations

from ..program import Program


def recompute(program: Program) -> Program:
    """With each region's instructions moved to right before the first instruction outside of it that reads its results.

    Going backwards, `place[r]` is the first instruction so far that reads something of region r: what comes into sight
    of the region from then on has to be done by then. So whoever reads a value comes after it still.
    """
    instructions = program.instructions
    makers = program.makers()
    end = len(instructions)
    place: dict[int, int] = {}
    waiting: dict[int, list[int]] = {}  # what has to be done right before an instruction, last first
    for n in range(end - 1, -1, -1):
        region, at = instructions[n].region, n
        if region:
            at = place.setdefault(region, end)
            waiting.setdefault(at, []).append(n)
        for value in instructions[n].values:
            maker = makers.get(value)
            if maker is not None and maker.region not in (0, region):
                place[maker.region] = min(place.get(maker.region, end), at)
    if not waiting:
        return program
    moved = []
    for n in range(end + 1):
        moved += [instructions[k] for k in reversed(waiting.get(n, ()))]
        if n < end and not instructions[n].region:
            moved.append(instructions[n])
    return program.replaced(instructions=moved)
