"""A Transformer encoder that tells whether a sequence has more ones than twos."""

import math

import torch
from torch import nn, Tensor
from torch.nn import TransformerEncoder, TransformerEncoderLayer
from torch.utils.data import DataLoader, Dataset, random_split


class PositionalEncoding(nn.Module):
    def __init__(self, d_model: int, dropout: float = 0.1, max_len: int = 50):
        super().__init__()
        self.dropout = nn.Dropout(p=dropout)
        position = torch.arange(max_len).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
        pe = torch.zeros(1, max_len, d_model)
        pe[0, :, 0::2] = torch.sin(position * div_term)
        pe[0, :, 1::2] = torch.cos(position * div_term)
        self.register_buffer("pe", pe)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(x + self.pe[:, : x.size(1)])


class Classifier(nn.Module):
    def __init__(self, ntoken, d_model=16, nhead=2, d_hid=32, nlayers=1):
        super().__init__()
        self.embedding = nn.Embedding(ntoken, d_model, padding_idx=0)
        self.pos_encoder = PositionalEncoding(d_model, 0.0)
        layer = TransformerEncoderLayer(d_model, nhead, d_hid, 0.0, batch_first=True)
        self.encoder = TransformerEncoder(layer, nlayers)
        self.decoder = nn.Linear(d_model, 2)

    def forward(self, x):
        padding = x == 0
        h = self.encoder(self.pos_encoder(self.embedding(x)), src_key_padding_mask=padding)
        h = h.masked_fill(padding.unsqueeze(-1), 0.0).sum(1) / (~padding).sum(1, keepdim=True)
        return self.decoder(h)


class Sequences(Dataset):
    def __init__(self, n):
        g = torch.Generator().manual_seed(0)
        self.x = torch.randint(1, 4, (n, 9), generator=g)
        self.x[:, 7:] *= torch.randint(0, 2, (n, 1), generator=g)
        self.y = ((self.x == 1).sum(1) > (self.x == 2).sum(1)).long()

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


torch.manual_seed(0)
train_set, test_set = random_split(Sequences(640), [512, 128], generator=torch.Generator().manual_seed(1))
model = Classifier(4)
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.01)
scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=5 * 16)
criterion = nn.CrossEntropyLoss(label_smoothing=0.05)
for epoch in range(5):
    model.train()
    for x, y in DataLoader(train_set, batch_size=32, shuffle=True):
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
model.eval()
with torch.inference_mode():
    right = sum((model(x).argmax(1) == y).float().sum().item() for x, y in DataLoader(test_set, batch_size=64))
assert right / len(test_set) > 0.85, right / len(test_set)
print("told apart;", sum(p.numel() for p in model.parameters() if p.requires_grad), "parameters")
