"""A recommender: matrix factorisation learns tastes from ratings.

The ratings are generated: each user and each item has four hidden factors, and

    rating = 3.5 + user's bias + item's bias + user's factors . item's factors + noise

The model has the same form but sees only some of the ratings, with embeddings for what it must find out. As the noise
is known, so is the best possible test error. Expect to come near it, far below the error of predicting from biases
alone, and to see unseen items recommended that the user would truly like.

    python examples/recommender.py
"""

import argparse
from pathlib import Path

from matplotlib.figure import Figure

import pullback as torch
import pullback.nn.functional as F
from pullback import nn

USERS, ITEMS, FACTORS, NOISE, MEAN = 500, 300, 4, 0.5, 3.5
RATED = 0.25  # the share of all pairs that were rated
EPOCHS, BATCH, LEARNING_RATE, DECAY = 12, 256, 0.01, 0.05


def generate():
    """(users, items, ratings) of the rated pairs, in random order, and the true rating of every pair."""
    users, items = torch.randn(USERS, FACTORS), torch.randn(ITEMS, FACTORS)
    truth = MEAN + 0.3 * torch.randn(USERS, 1) + 0.5 * torch.randn(ITEMS) + 0.4 * users @ items.T
    pairs = torch.randperm(USERS * ITEMS)[: int(RATED * USERS * ITEMS)]
    ratings = truth.flatten()[pairs] + NOISE * torch.randn(len(pairs))
    return pairs // ITEMS, pairs % ITEMS, ratings, truth


class Factorisation(nn.Module):
    def __init__(self, factors, mean):
        super().__init__()
        self.users, self.items = nn.Embedding(USERS, factors), nn.Embedding(ITEMS, factors)
        self.user_bias, self.item_bias = nn.Embedding(USERS, 1), nn.Embedding(ITEMS, 1)
        self.mean = mean
        for embedding in self.children():
            nn.init.normal_(embedding.weight, std=0.1)

    def forward(self, user, item):
        biases = self.mean + self.user_bias(user) + self.item_bias(item)
        return biases.squeeze(-1) + (self.users(user) * self.items(item)).sum(dim=-1)


def error(model, users, items, ratings):
    with torch.no_grad():
        return F.mse_loss(model(users, items), ratings).sqrt().item()


def train(name, model, data, test, epochs):
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
    history = []
    for epoch in range(1, epochs + 1):
        for batch in torch.randperm(len(data[0])).split(BATCH):
            users, items, ratings = (column[batch] for column in data)
            loss = F.mse_loss(model(users, items), ratings)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
        history.append((error(model, *data), error(model, *test)))
        on_training, on_test = history[-1]
        print(f"{name}: epoch {epoch:2}/{epochs}  training error {on_training:.4f}  test {on_test:.4f}", flush=True)
    return history


def recommend(model, user, seen, count=5):
    """The items with the highest predicted rating among those that the user has not rated."""
    with torch.no_grad():
        predicted = model(torch.full((ITEMS,), user), torch.arange(ITEMS))
    predicted[seen] = -torch.inf
    return predicted.topk(count)


def draw(history, errors, file):
    figure = Figure(figsize=(5, 3.4), layout="constrained")
    panel = figure.subplots()
    for label, line in zip(("training", "test"), zip(*history, strict=True), strict=True):
        panel.plot(range(1, len(history) + 1), line, label=label)
    for style, (name, value) in zip((":", "--", "-."), errors.items(), strict=False):
        panel.axhline(value, color="black", linewidth=1, linestyle=style, label=name)
    panel.set(xlabel="epoch", ylabel="error (root mean square)")
    panel.legend(fontsize=8)
    figure.savefig(file, dpi=80)


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Matrix factorisation on generated ratings.")
    parser.add_argument("--out", type=Path, default=Path("pictures"), help="where the picture goes")
    parser.add_argument("--quick", action="store_true", help="fewer epochs")
    options = parser.parse_args(arguments)
    epochs = 6 if options.quick else EPOCHS

    torch.manual_seed(0)
    *columns, truth = generate()
    held_out = len(columns[0]) // 10
    test, data = [column[:held_out] for column in columns], [column[held_out:] for column in columns]
    mean = data[2].mean().item()

    model = Factorisation(FACTORS, mean)
    history = train("factorisation", model, data, test, epochs)
    biases = Factorisation(0, mean)
    train("biases alone", biases, data, test, epochs)
    errors = {
        "mean of all": (test[2] - mean).square().mean().sqrt().item(),
        "biases alone": error(biases, *test),
        "noise": NOISE,
        "factorisation": error(model, *test),
    }
    for name, value in errors.items():
        print(f"{name:14} {value:.4f}")

    user = 0
    scores, items = recommend(model, user, seen=data[1][data[0] == user])
    ranks = (truth[user] > truth[user, items].unsqueeze(1)).sum(dim=1) + 1
    print(f"recommended to user {user}:")
    for item, score, true, rank in zip(items, scores, truth[user, items], ranks, strict=True):
        print(f"  item {item:3}  predicted {score:.2f}  truly {true:.2f}, which is place {rank} of {ITEMS}")

    options.out.mkdir(parents=True, exist_ok=True)
    draw(history, errors, options.out / "recommender.png")
    print(f"picture: {options.out / 'recommender.png'}")
    return {**errors, "ranks": ranks.tolist()}


if __name__ == "__main__":
    main()
