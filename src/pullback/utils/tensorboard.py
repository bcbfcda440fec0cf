"""`torch.utils.tensorboard`: a SummaryWriter that needs no TensorBoard to write."""

from __future__ import annotations

import itertools
import os
import socket
import time
from typing import Any

from ..dtypes import FLOATS, uint8
from ..errors import ArgumentError, fail
from ..functions import PUBLIC
from ..io import events

NUMBERS = itertools.count()  # writers of one process and second have files of their own


class SummaryWriter:
    """Writes an event file, for `tensorboard --logdir` to show.

    `purge_step`: what earlier files of the folder say of this step and later ones is void.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] | None = None,
        comment: str = "",
        purge_step: int | None = None,
        max_queue: int = 10,
        flush_secs: int = 120,
        filename_suffix: str = "",
    ) -> None:
        if not log_dir:
            name = time.strftime("%b%d_%H-%M-%S") + "_" + socket.gethostname() + comment
            log_dir = os.path.join("runs", name)
        self.log_dir = os.fspath(log_dir)
        self.purge_step, self.flush_secs, self.suffix = purge_step, flush_secs, filename_suffix
        self._others: dict[str, SummaryWriter] = {}  # those of add_scalars
        os.makedirs(self.log_dir, exist_ok=True)
        name = f"events.out.tfevents.{time.time():017.6f}.{socket.gethostname()}.{os.getpid()}.{next(NUMBERS)}"
        self._file = open(os.path.join(self.log_dir, name + filename_suffix), "xb")  # noqa: SIM115
        self._flushed = time.monotonic()
        self._put(events.opening(time.time()))
        if purge_step is not None:
            self._put(events.purge(time.time(), purge_step))
        self.flush()

    def get_logdir(self) -> str:
        """Where the file is."""
        return self.log_dir

    def add_scalar(
        self,
        tag: str,
        scalar_value: Any,
        global_step: int | None = None,
        walltime: float | None = None,
        new_style: bool = False,
        double_precision: bool = False,
    ) -> None:
        """A number."""
        self._add(events.scalar(tag, float(scalar_value)), global_step, walltime)

    def add_scalars(
        self,
        main_tag: str,
        tag_scalar_dict: dict[str, Any],
        global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:
        """Numbers to be drawn in one picture: each has a file of its own, in a folder beside."""
        for tag, value in tag_scalar_dict.items():
            folder = os.path.join(self.log_dir, main_tag.replace("/", "_") + "_" + tag)
            if folder not in self._others:
                self._others[folder] = SummaryWriter(
                    folder, purge_step=self.purge_step, flush_secs=self.flush_secs, filename_suffix=self.suffix
                )
            self._others[folder].add_scalar(main_tag, value, global_step, walltime)

    def add_text(
        self, tag: str, text_string: str, global_step: int | None = None, walltime: float | None = None
    ) -> None:
        """Text, in Markdown."""
        self._add(events.text(f"{tag}/text_summary", text_string), global_step, walltime)

    def add_histogram(
        self,
        tag: str,
        values: Any,
        global_step: int | None = None,
        bins: Any = "tensorflow",
        walltime: float | None = None,
        max_bins: int | None = None,
    ) -> None:
        """How values are distributed."""
        if max_bins is not None:
            fail(ArgumentError, "add_histogram does not merge bins (max_bins)", "give the number of them as bins=")
        array = PUBLIC["as_tensor"](values).detach().double().numpy()
        self._add(events.histogram(tag, array, bins), global_step, walltime)

    def add_image(
        self,
        tag: str,
        img_tensor: Any,
        global_step: int | None = None,
        walltime: float | None = None,
        dataformats: str = "CHW",
    ) -> None:
        """A picture: bytes, or floating point numbers from 0 to 1."""
        image = PUBLIC["as_tensor"](img_tensor).detach()
        axes = dataformats.upper()
        if sorted(axes) not in (["C", "H", "W"], ["H", "W"]) or len(axes) != image.ndim:
            fail(
                ArgumentError,
                f"dataformats={dataformats!r} does not describe an image of shape {list(image.shape)}",
                "name its axes with the letters H, W and, if there are channels, C",
            )
        image = image.permute(*[axes.index(a) for a in "HWC" if a in axes])
        if image.npdtype in FLOATS:
            image = (image.float() * 255).clamp(0, 255)
        pixels = image.to(uint8)
        pixels = pixels if pixels.ndim == 3 else pixels.unsqueeze(-1)
        self._add(events.image(tag, pixels.numpy()), global_step, walltime)

    def flush(self) -> None:
        """Hand over to the system what was added."""
        for writer in (self, *self._others.values()):
            writer._file.flush()
            writer._flushed = time.monotonic()

    def close(self) -> None:
        """The file is complete."""
        for writer in (self, *self._others.values()):
            writer._file.close()

    def __enter__(self) -> SummaryWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _add(self, field: bytes, step: int | None, walltime: float | None) -> None:
        self._put(events.event(time.time() if walltime is None else walltime, step, field))

    def _put(self, event: bytes) -> None:
        self._file.write(events.frame(event))
        if time.monotonic() - self._flushed > self.flush_secs:
            self.flush()
