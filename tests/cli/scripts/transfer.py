"""Writes a model's weights (`transfer.py save FILE`) or loads them and prints what the model computes."""

import sys

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2)
        )
        self.norm = nn.LayerNorm(64)
        self.rnn = nn.GRU(64, 8, batch_first=True, bidirectional=True)
        self.classifier = nn.Linear(16, 3)
        self.temperature = nn.Parameter(torch.ones(1))

    def forward(self, x):
        h = self.features(x).flatten(1)
        h, _ = self.rnn(self.norm(h).unsqueeze(1))
        return self.classifier(h[:, -1]) / self.temperature


model = Model()
x = torch.linspace(-1, 1, 2 * 64).reshape(2, 1, 8, 8)
if sys.argv[1] == "save":
    torch.manual_seed(5)
    model(torch.rand(8, 1, 8, 8))
    torch.save({"epoch": 3, "model_state_dict": model.state_dict()}, sys.argv[2])
else:
    checkpoint = torch.load(sys.argv[2], map_location="cpu", weights_only=True)
    model.load_state_dict(checkpoint["model_state_dict"])
    for name, parameter in model.named_parameters():
        if name.startswith("features"):
            parameter.requires_grad = False
model.eval()
loss = nn.functional.cross_entropy(model(x), torch.tensor([0, 2]))
loss.backward()
print([[round(v, 4) for v in row] for row in model(x).tolist()])
print(round(loss.item(), 4), round(model.classifier.weight.grad.norm().item(), 4))
