"""A network of one hidden layer reads handwritten digits.

The 1797 digits of 8 x 8 pixels that come with scikit-learn are split once, 1437 to learn from and 360 to be tested on,
with each digit's share kept (`train_test_split(test_size=360, random_state=0, stratify=...)`). Five networks that
differ only in their random start are trained. Expect a median test accuracy of at least 97 %, and a picture of the
digits that the last one got wrong.

    python examples/digits_mlp.py
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

EPOCHS, BATCH, LEARNING_RATE = 20, 32, 0.02


def load():
    """Training images, test images (pixels from 0 to 1), training labels, test labels."""
    digits = load_digits()
    images = (digits.images / 16).astype("float32")
    split = train_test_split(images, digits.target, test_size=360, random_state=0, stratify=digits.target)
    return [torch.from_numpy(part) for part in split]


def network():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def train(model, images, labels, epochs):
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    steps = epochs * -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(BATCH):
            # smoothed labels ask for 91 % certainty instead of 100 %: what is learned holds better for unseen digits
            loss = F.cross_entropy(model(images[batch]), labels[batch], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def predict(model, images):
    model.eval()
    with torch.no_grad():
        return model(images).argmax(dim=1)


def draw(images, labels, predictions, file):
    wrong = (predictions != labels).nonzero().flatten().tolist()
    figure = Figure(figsize=(8, 1.4), layout="constrained")
    for panel, i in zip(figure.subplots(1, 8), wrong, strict=False):
        panel.imshow(images[i], cmap="gray_r")
        panel.set_title(f"{labels[i].item()} read as {predictions[i].item()}", fontsize=9)
    for panel in figure.axes:
        panel.axis("off")
    figure.savefig(file, dpi=80)


def main(arguments=None):
    parser = argparse.ArgumentParser(description="A network of one hidden layer reads digits.")
    parser.add_argument("--out", type=Path, default=Path("pictures"), help="where the picture goes")
    parser.add_argument("--seeds", type=int, default=5, help="how many networks to train")
    parser.add_argument("--quick", action="store_true", help="one network, fewer epochs")
    options = parser.parse_args(arguments)
    seeds, epochs = (1, 8) if options.quick else (options.seeds, EPOCHS)

    images, test_images, labels, test_labels = load()
    accuracies = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        start, model = time.perf_counter(), network()
        train(model, images, labels, epochs)
        predictions = predict(model, test_images)
        accuracies.append((predictions == test_labels).float().mean().item())
        print(f"seed {seed}: test accuracy {accuracies[-1]:.2%} in {time.perf_counter() - start:.1f} s", flush=True)
    median = statistics.median(accuracies)
    print(f"median of {seeds}: {median:.2%} of {len(test_labels)} digits that were not learned from")

    options.out.mkdir(parents=True, exist_ok=True)
    draw(test_images, test_labels, predictions, options.out / "digits_mlp.png")
    print(f"picture: {options.out / 'digits_mlp.png'}")
    return {"accuracies": accuracies, "median": median}


if __name__ == "__main__":
    main()
