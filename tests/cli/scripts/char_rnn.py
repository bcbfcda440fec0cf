"""A character model: an LSTM that learns a nursery rhyme and says it again."""

import torch
import torch.nn as nn

torch.manual_seed(0)
text = "humpty dumpty sat on a wall, humpty dumpty had a great fall. " * 4
chars = sorted(set(text))
stoi = {c: i for i, c in enumerate(chars)}
data = torch.tensor([stoi[c] for c in text], dtype=torch.long)


class CharRNN(nn.Module):
    def __init__(self, vocab, hidden):
        super().__init__()
        self.embed = nn.Embedding(vocab, 16)
        self.rnn = nn.LSTM(16, hidden, num_layers=1, batch_first=True)
        self.head = nn.Linear(hidden, vocab)

    def forward(self, x, state=None):
        out, state = self.rnn(self.embed(x), state)
        return self.head(out), state


model = CharRNN(len(chars), 64)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
criterion = nn.CrossEntropyLoss()
first = None
for epoch in range(18):
    state = None
    for i in range(0, len(data) - 1, 61):
        x, y = data[i : i + 60].unsqueeze(0), data[i + 1 : i + 61].unsqueeze(0)
        n = min(x.size(1), y.size(1))
        logits, state = model(x[:, :n], state)
        state = tuple(s.detach() for s in state)
        loss = criterion(logits.reshape(-1, len(chars)), y[:, :n].reshape(-1))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        first = loss.item() if first is None else first

model.eval()
with torch.no_grad():
    x, state, said = data[:16].unsqueeze(0), None, text[:16]
    for _ in range(14):
        logits, state = model(x, state)
        x = torch.softmax(logits[:, -1], dim=-1).argmax(-1, keepdim=True)
        said += chars[x.item()]
assert loss.item() < 0.3 * first, (first, loss.item())
print(said)
