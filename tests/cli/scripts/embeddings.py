"""Word embeddings by skip-gram with negative samples: words of one subject come to lie close together."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(0)
rng = np.random.default_rng(0)
subjects = [["cat", "dog", "cow", "hen"], ["red", "blue", "green", "pink"]]
words = sum(subjects, [])
word_to_ix = {word: i for i, word in enumerate(words)}
pairs = []
for _ in range(1500):
    a, b = rng.choice(subjects[rng.integers(2)], 2, replace=False)
    pairs.append((word_to_ix[a], word_to_ix[b]))
pairs = torch.as_tensor(np.array(pairs))


class SkipGram(nn.Module):
    def __init__(self, vocab, dim):
        super().__init__()
        self.inner = nn.Embedding(vocab, dim)
        self.outer = nn.Embedding(vocab, dim)
        nn.init.uniform_(self.inner.weight, -0.5, 0.5)
        nn.init.zeros_(self.outer.weight)

    def forward(self, center, context, negatives):
        v = self.inner(center)
        positive = F.logsigmoid((v * self.outer(context)).sum(-1))
        negative = F.logsigmoid(-torch.bmm(self.outer(negatives), v.unsqueeze(2)).squeeze(2)).sum(1)
        return -(positive + negative).mean()


model = SkipGram(len(words), 8)
optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9, nesterov=True)
for epoch in range(15):
    order = torch.randperm(len(pairs))
    for chunk in order.split(100):
        batch = pairs[chunk]
        negatives = torch.randint(len(words), (len(batch), 3))
        loss = model(batch[:, 0], batch[:, 1], negatives)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
vectors = F.normalize(model.inner.weight.detach(), dim=1)
similarity = (vectors @ vectors.T).numpy()
within = np.mean([similarity[:4, :4].mean(), similarity[4:, 4:].mean()])
assert within > similarity[:4, 4:].mean() + 0.3
print("animals and colours are apart")
