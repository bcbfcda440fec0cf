"""A generative adversarial network that learns a normal distribution's mean."""

import torch
import torch.nn as nn

torch.manual_seed(3)
real_label, fake_label = 1.0, 0.0


def weights_init(m):
    classname = m.__class__.__name__
    if classname.find("Linear") != -1:
        nn.init.normal_(m.weight.data, 0.0, 0.2)
        nn.init.constant_(m.bias.data, 0)


net_g = nn.Sequential(nn.Linear(4, 16), nn.LeakyReLU(0.2, inplace=True), nn.Linear(16, 1))
net_d = nn.Sequential(nn.Linear(1, 16), nn.LeakyReLU(0.2, inplace=True), nn.Linear(16, 1), nn.Sigmoid())
net_g.apply(weights_init)
net_d.apply(weights_init)
criterion = nn.BCELoss()
optimizer_d = torch.optim.Adam(net_d.parameters(), lr=5e-3, betas=(0.5, 0.999))
optimizer_g = torch.optim.Adam(net_g.parameters(), lr=5e-3, betas=(0.5, 0.999))
for step in range(150):
    real = torch.randn(64, 1) * 0.5 + 3.0
    net_d.zero_grad()
    label = torch.full((64,), real_label, dtype=torch.float)
    err_real = criterion(net_d(real).view(-1), label)
    err_real.backward()
    noise = torch.randn(64, 4)
    fake = net_g(noise)
    label.fill_(fake_label)
    err_fake = criterion(net_d(fake.detach()).view(-1), label)
    err_fake.backward()
    optimizer_d.step()
    net_g.zero_grad()
    label.fill_(real_label)
    err_g = criterion(net_d(fake).view(-1), label)
    err_g.backward()
    optimizer_g.step()
with torch.no_grad():
    mean = net_g(torch.randn(512, 4)).mean().item()
assert 1.0 < mean < 5.0, mean
print("the mean is found")
