"""Work on arrays, spread over the processor's cores. NumPy lets go of the interpreter while it computes."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from ...modes import MODES

WORTHWHILE = 1 << 20  # elements; for fewer, starting a thread costs more than it saves


limit: int | None = None  # what set_num_threads() said


def cores() -> int:
    """How many threads to use: as told, or what OMP_NUM_THREADS says, or as many as this process has cores."""
    if limit is not None:
        return limit
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked):
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def spread(work: Callable[[Any], None], tasks: Sequence[Any], elements: int) -> None:
    """work(task) for each task, in any order; together they touch `elements` elements, and no two of them the same.

    The threads live as long as the call: nothing is left behind that a fork would have to know about.
    """
    if elements < WORTHWHILE or len(tasks) == 1:
        for task in tasks:
            work(task)
        return
    waiting = deque(tasks)
    errors: list[BaseException] = []

    def take() -> None:
        try:
            while waiting and not errors:
                try:
                    task = waiting.popleft()
                except IndexError:  # another thread took the last one
                    return
                work(task)
        except BaseException as error:
            errors.append(error)

    helpers = [threading.Thread(target=lambda: MODES.quietly(take)) for _ in range(min(cores(), len(tasks)) - 1)]
    for helper in helpers:
        helper.start()
    take()
    for helper in helpers:
        helper.join()
    if errors:
        raise errors[0]
