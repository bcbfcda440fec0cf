from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest

import pullback as torch
from pullback.errors import ArgumentError
from pullback.io import events
from pullback.utils.tensorboard import SummaryWriter


def test_crc32c_of_the_standard_example() -> None:
    assert events.crc32c(b"123456789") == 0xE3069283
    assert events.crc32c(b"") == 0


def test_varint() -> None:
    assert events.varint(0) == b"\0"
    assert events.varint(300) == b"\xac\x02"
    assert events.varint(-1) == b"\xff" * 9 + b"\x01"


def records(folder: Path) -> list[bytes]:
    """The events of the one file in a folder, their checksums compared."""
    (path,) = folder.glob("events.out.tfevents.*")
    data, found = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event = data[12 : 12 + length]
        assert events.frame(event) == data[: 16 + length]
        found.append(event)
        data = data[16 + length :]
    return found


def test_a_scalar_bit_by_bit(tmp_path) -> None:
    with SummaryWriter(tmp_path) as writer:
        assert writer.get_logdir() == str(tmp_path)
        writer.add_scalar("a", torch.tensor(1.5), 3, walltime=0.5)
    first, second = records(tmp_path)
    assert first.endswith(b"\x1a\x0dbrain.Event:2")
    value = b"\x0a\x01a" + b"\x15" + struct.pack("<f", 1.5)
    summary = b"\x0a" + bytes([len(value)]) + value
    assert second == b"\x09" + struct.pack("<d", 0.5) + b"\x10\x03" + b"\x2a" + bytes([len(summary)]) + summary


def test_what_is_flushed_survives(tmp_path) -> None:
    writer = SummaryWriter(tmp_path)
    writer.add_scalar("a", 1.0, 1)
    writer.flush()
    assert len(records(tmp_path)) == 2
    writer.close()


def test_writers_have_files_of_their_own(tmp_path) -> None:
    for _ in range(3):
        SummaryWriter(tmp_path).close()
    assert len(list(tmp_path.iterdir())) == 3


def test_the_default_folder(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    SummaryWriter(comment="-mine").close()
    (folder,) = Path("runs").iterdir()
    assert folder.name.endswith("-mine")


def test_what_cannot_be_written_is_refused(tmp_path) -> None:
    with SummaryWriter(tmp_path) as writer:
        with pytest.raises(ValueError, match="at least one finite value"):
            writer.add_histogram("h", torch.tensor([float("nan")]))
        with pytest.raises(ArgumentError, match="max_bins"):
            writer.add_histogram("h", torch.ones(3), max_bins=4)
        with pytest.raises(ArgumentError, match="'NCHW' does not describe an image"):
            writer.add_image("i", torch.zeros(1, 3, 2, 2), dataformats="NCHW")
        with pytest.raises(ArgumentError, match=r"of shape \[2, 2\]"):
            writer.add_image("i", torch.zeros(2, 2))
    assert len(records(tmp_path)) == 1


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
def test_tensorboard_reads_it(tmp_path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    histogram = torch.tensor([-2.0, -0.5, 0.0, 0.5, 0.5, 3.0, float("inf")])
    picture = torch.arange(24).reshape(3, 2, 4).to(torch.uint8)
    with SummaryWriter(tmp_path) as writer:
        for step in range(20):
            writer.add_scalar("loss/train", 1 / (step + 1), step)
        writer.add_scalars("both", {"a": 1.0, "b": 2.0}, 5)
        writer.add_text("note", "**bold** é", 1)
        writer.add_histogram("weights", histogram, 2)
        writer.add_histogram("few", histogram, 2, bins=5)
        writer.add_image("chw", picture, 3)
        writer.add_image("hw", picture[0].float() / 255, 3, dataformats="HW")
    with SummaryWriter(tmp_path, purge_step=18) as writer:
        writer.add_scalar("loss/train", 7.0, 18)

    read = accumulator.EventAccumulator(str(tmp_path), size_guidance={"scalars": 0, "images": 0})
    read.Reload()
    scalars = read.Scalars("loss/train")
    assert [event.step for event in scalars] == list(range(19))
    assert scalars[18].value == 7.0 and scalars[3].value == 0.25
    (note,) = read.Tensors("note/text_summary")
    assert note.tensor_proto.string_val[0].decode() == "**bold** é"
    value = read.Histograms("weights")[0].histogram_value
    assert (value.min, value.max, value.num, value.sum) == (-2.0, 3.0, 6, 1.5)
    assert sum(value.bucket) == 6 and len(value.bucket) == len(value.bucket_limit)
    at = dict(zip(value.bucket_limit, value.bucket, strict=True))
    assert sum(n for limit, n in at.items() if 0.4 < limit < 0.6) == 2
    assert sum(read.Histograms("few")[0].histogram_value.bucket) == 6
    (chw,) = read.Images("chw")
    assert (chw.width, chw.height) == (4, 2)
    image = pytest.importorskip("matplotlib.image")
    pixels = torch.tensor(image.imread(io.BytesIO(chw.encoded_image_string)))
    assert ((pixels * 255).round() == picture.permute(1, 2, 0)).all()
    (hw,) = read.Images("hw")
    assert ((torch.tensor(image.imread(io.BytesIO(hw.encoded_image_string))) * 255).round() == picture[0]).all()
    other = accumulator.EventAccumulator(str(tmp_path / "both_b"))
    other.Reload()
    assert [(event.step, event.value) for event in other.Scalars("both")] == [(5, 2.0)]
