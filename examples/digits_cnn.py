"""A small convolutional network reads handwritten digits.

The same digits and the same split as in digits_mlp.py: 1437 to learn from, 360 to be tested on. Two things are added. A
convolution looks for the same strokes everywhere; and each batch is moved by up to one pixel, since a digit stays the
same digit when it moves. Expect a median test accuracy of at least 98.5 % over five random starts, and a picture of the
3 x 3 patterns that the first layer looks for and of what it makes of a digit.

    python examples/digits_cnn.py
"""

import argparse
import statistics
import time
from pathlib import Path

from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import pullback as torch
import pullback.nn.functional as F
from pullback import nn

EPOCHS, BATCH, LEARNING_RATE = 25, 32, 0.01


def load():
    """Training images, test images (one channel, pixels from 0 to 1), training labels, test labels."""
    digits = load_digits()
    images = (digits.images[:, None] / 16).astype("float32")
    split = train_test_split(images, digits.target, test_size=360, random_state=0, stratify=digits.target)
    return [torch.from_numpy(part) for part in split]


def network():
    return nn.Sequential(
        nn.Conv2d(1, 16, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 10),
    )


def moved(images):
    """All images moved by the same random amount: at most one pixel each way."""
    down, right = torch.randint(0, 3, (2,)).tolist()
    return F.pad(images, (1, 1, 1, 1))[:, :, down : down + 8, right : right + 8]


def train(model, images, labels, epochs):
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    steps = epochs * -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(BATCH):
            loss = F.cross_entropy(model(moved(images[batch])), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def accuracy(model, images, labels):
    model.eval()
    with torch.no_grad():
        return (model(images).argmax(dim=1) == labels).float().mean().item()


def draw(model, image, file):
    with torch.no_grad():
        seen = F.relu(model[0](image[None]))[0]
    figure = Figure(figsize=(9, 1.5), layout="constrained")
    rows = figure.subplots(2, 17)
    rows[0, 0].imshow(image[0], cmap="gray_r")
    for column, (kernel, found) in enumerate(zip(model[0].weight.detach(), seen, strict=True), start=1):
        rows[0, column].imshow(kernel[0], cmap="RdBu_r", vmin=-1, vmax=1)
        rows[1, column].imshow(found, cmap="gray_r")
    for panel in figure.axes:
        panel.axis("off")
    figure.suptitle("a digit; what the first layer looks for; where it finds it", fontsize=10)
    figure.savefig(file, dpi=80)


def main(arguments=None):
    parser = argparse.ArgumentParser(description="A small convolutional network reads digits.")
    parser.add_argument("--out", type=Path, default=Path("pictures"), help="where the picture goes")
    parser.add_argument("--seeds", type=int, default=5, help="how many networks to train")
    parser.add_argument("--quick", action="store_true", help="one network, fewer epochs")
    options = parser.parse_args(arguments)
    seeds, epochs = (1, 5) if options.quick else (options.seeds, EPOCHS)

    images, test_images, labels, test_labels = load()
    accuracies = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        start, model = time.perf_counter(), network()
        train(model, images, labels, epochs)
        accuracies.append(accuracy(model, test_images, test_labels))
        print(f"seed {seed}: test accuracy {accuracies[-1]:.2%} in {time.perf_counter() - start:.1f} s", flush=True)
    median = statistics.median(accuracies)
    print(f"median of {seeds}: {median:.2%} of {len(test_labels)} digits that were not learned from")

    options.out.mkdir(parents=True, exist_ok=True)
    draw(model, test_images[0], options.out / "digits_cnn.png")
    print(f"picture: {options.out / 'digits_cnn.png'}")
    return {"accuracies": accuracies, "median": median}


if __name__ == "__main__":
    main()
