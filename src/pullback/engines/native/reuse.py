"""A result is written over an operand that nobody reads any more.

So a chain of elementwise steps needs one piece of memory, and the gradient of a language model's logits lies where the
logits lay. It may be done where a step reads each element before it writes the one in the same place, and both lie
alike. Memory that is a result of the whole step is taken over backwards: what becomes it is made there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .place import ARENA, OUTPUT, Memory, Place
from .plan import Step


def reuse(steps: Sequence[Step]) -> None:
    """Let memory share that of results. From the last step to the first: whose memory it is, is known by then."""
    for k in reversed(range(len(steps))):
        for old, new in pairs(steps[k]):
            if old.base is None and old.kind == ARENA and old.last == k > old.first and new.first == k:
                old.base = base = new.base or new
                old.kind, old.index = base.kind, base.index
                new.first = base.first = old.first


def pairs(step: Step) -> Iterator[tuple[Memory, Memory]]:
    """Operands and the results that could be written over them."""
    places = step.places
    for new in step.in_place:
        if new.memory.kind not in (ARENA, OUTPUT) or not alone(new, places):
            continue
        for old in places:
            if old.memory not in step.writes and alike(old, new) and alone(old, places):
                yield old.memory, new.memory


def alone(place: Place, places: Sequence[Place]) -> bool:
    """Does the step look at this memory in one way only?"""
    return all(alike(place, other) for other in places if other.memory is place.memory)


def alike(a: Place, b: Place) -> bool:
    """Do they lie in their memory in the same way?"""
    return (
        (a.dtype, a.shape, a.offset, a.memory.nbytes) == (b.dtype, b.shape, b.offset, b.memory.nbytes)
        and all(n == 1 or s == t for n, s, t in zip(a.shape, a.strides, b.strides, strict=True))
        and not a.moving
        and not b.moving
    )


__all__ = ["reuse"]
