"""Q-learning with a replay memory and a target network, on a walk of seven places with a reward at one end."""

import random
from collections import deque, namedtuple

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim

random.seed(0)
torch.manual_seed(0)
Transition = namedtuple("Transition", ("state", "action", "next_state", "reward", "done"))
PLACES = 7


def one_hot(place):
    return F.one_hot(torch.tensor([place]), PLACES).float()


class DQN(nn.Module):
    def __init__(self, n_observations, n_actions):
        super().__init__()
        self.layer1 = nn.Linear(n_observations, 32)
        self.layer2 = nn.Linear(32, n_actions)

    def forward(self, x):
        return self.layer2(F.relu(self.layer1(x)))


policy_net, target_net = DQN(PLACES, 2), DQN(PLACES, 2)
target_net.load_state_dict(policy_net.state_dict())
optimizer = optim.AdamW(policy_net.parameters(), lr=5e-3, amsgrad=True)
memory = deque([], maxlen=500)


def optimize_model():
    if len(memory) < 32:
        return
    batch = Transition(*zip(*random.sample(memory, 32)))
    state, action = torch.cat(batch.state), torch.cat(batch.action)
    reward, done = torch.cat(batch.reward), torch.cat(batch.done)
    values = policy_net(state).gather(1, action)
    with torch.no_grad():
        next_values = target_net(torch.cat(batch.next_state)).max(1).values
    expected = next_values * 0.9 * (~done) + reward
    loss = nn.SmoothL1Loss()(values, expected.unsqueeze(1))
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_value_(policy_net.parameters(), 100)
    optimizer.step()


for episode in range(50):
    place = PLACES // 2
    for t in range(30):
        if random.random() > 0.5:
            with torch.no_grad():
                action = policy_net(one_hot(place)).max(1).indices.view(1, 1)
        else:
            action = torch.tensor([[random.randrange(2)]], dtype=torch.long)
        after = min(max(place + (1 if action.item() else -1), 0), PLACES - 1)
        done = after == PLACES - 1
        memory.append(
            Transition(one_hot(place), action, one_hot(after), torch.tensor([float(done)]), torch.tensor([done]))
        )
        place = after
        optimize_model()
        target = target_net.state_dict()
        for key, value in policy_net.state_dict().items():
            target[key] = value * 0.05 + target[key] * 0.95
        target_net.load_state_dict(target)
        if done:
            break
with torch.no_grad():
    best = policy_net(torch.eye(PLACES)[1:-1]).argmax(1)
print("always to the right:", best.tolist() == [1] * (PLACES - 2))
