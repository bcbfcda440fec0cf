"""A variational autoencoder learns to draw digits.

The encoder turns a digit into a normal distribution over eight hidden numbers z, the decoder turns z into a picture.
A pixel of these digits counts the black dots in a square of 16, so the decoder's 64 outputs are binomial
distributions, and the bound on the log-likelihood (ELBO) is in true nats a digit:

    ELBO = E_q(z|x)[ log p(x | z) ] - KL( q(z|x) || N(0, I) ),     z = mean + exp(logvar / 2) * noise

z is written as a function of noise (the reparameterisation), so that the gradient passes through the draw. Expect the
ELBO on unseen digits to end well above that of the best model without z, where every pixel is drawn on its own, and a
picture of unseen digits, their reconstructions, and digits drawn from nothing but noise.

    python examples/vae.py
"""

import argparse
from pathlib import Path

from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import pullback as torch
import pullback.nn.functional as F
from pullback import nn

DOTS = 16  # a pixel is a number of black dots, from 0 to 16
LATENT, HIDDEN = 8, 128
EPOCHS, BATCH, LEARNING_RATE = 100, 64, 0.003


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2 * LATENT))
        self.decoder = nn.Sequential(
            nn.Linear(LATENT, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 64)
        )

    def forward(self, x):
        """The ELBO's two parts for each digit: log p(x | z) and the KL divergence."""
        mean, logvar = self.encoder(x / DOTS).chunk(2, dim=1)
        z = mean + (logvar / 2).exp() * torch.randn_like(mean)
        divergence = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum(dim=1)
        return log_likelihood(self.decoder(z), x), divergence


def log_likelihood(logits, x):
    """log Binomial(x; 16, sigmoid(logits)), summed over the pixels."""
    ways = torch.lgamma(torch.tensor(DOTS + 1.0)) - torch.lgamma(x + 1) - torch.lgamma(DOTS - x + 1)
    misses = F.binary_cross_entropy_with_logits(logits, x / DOTS, reduction="none")
    return (ways - DOTS * misses).sum(dim=1)


def load():
    digits = load_digits()
    split = train_test_split(digits.data, test_size=360, random_state=0, stratify=digits.target)
    return [torch.from_numpy(part.astype("float32")) for part in split]


def elbo(model, x):
    with torch.no_grad():
        likelihood, divergence = model(x)
    return (likelihood - divergence).mean().item(), divergence.mean().item()


def without_latent(x, x_test):
    """The log-likelihood of the unseen digits if each pixel is drawn on its own, as often black as in training."""
    share = (x.mean(dim=0) / DOTS).clamp(0.001, 0.999)
    return log_likelihood(torch.logit(share).expand_as(x_test), x_test).mean().item()


def train(model, x, x_test, epochs):
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
    for epoch in range(1, epochs + 1):
        for batch in torch.randperm(len(x)).split(BATCH):
            likelihood, divergence = model(x[batch])
            loss = (divergence - likelihood).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
        if epoch % 10 == 0:
            bound, divergence = elbo(model, x_test)
            print(f"epoch {epoch:3}/{epochs}  ELBO {bound:.1f}, in which KL {divergence:.1f}", flush=True)


def draw(model, x, file):
    with torch.no_grad():
        mean, _ = model.encoder(x[:12] / DOTS).chunk(2, dim=1)
        reconstructed = model.decoder(mean).sigmoid()
        sampled = model.decoder(torch.randn(60, LATENT)).sigmoid()
    rows = torch.cat([x[:12] / DOTS, reconstructed, sampled]).reshape(7, 12, 8, 8)
    figure = Figure(figsize=(7, 4.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=[2, 5])
    for panel, part, title in (
        (upper, rows[:2], "unseen digits and their reconstructions"),
        (lower, rows[2:], "drawn from noise"),
    ):
        panel.imshow(F.pad(part, (1, 1, 1, 1)).permute(0, 2, 1, 3).reshape(-1, 120), cmap="gray_r")
        panel.set_title(title, fontsize=10)
        panel.axis("off")
    figure.savefig(file, dpi=80)


def main(arguments=None):
    parser = argparse.ArgumentParser(description="A variational autoencoder draws digits.")
    parser.add_argument("--out", type=Path, default=Path("pictures"), help="where the picture goes")
    parser.add_argument("--quick", action="store_true", help="fewer epochs")
    options = parser.parse_args(arguments)

    torch.manual_seed(0)
    x, x_test = load()
    model = VAE()
    before, _ = elbo(model, x_test)
    train(model, x, x_test, epochs=20 if options.quick else EPOCHS)
    after, divergence = elbo(model, x_test)
    baseline = without_latent(x, x_test)
    print(f"ELBO on {len(x_test)} unseen digits: {before:.1f} before, {after:.1f} after (KL {divergence:.1f})")
    print(f"without z: {baseline:.1f}")

    options.out.mkdir(parents=True, exist_ok=True)
    draw(model, x_test, options.out / "vae.png")
    print(f"picture: {options.out / 'vae.png'}")
    return {"before": before, "after": after, "divergence": divergence, "without z": baseline}


if __name__ == "__main__":
    main()
