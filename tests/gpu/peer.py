"""The article's network in PyTorch, as one who knows PyTorch would train it on a GPU: everything stays there, and nothing
waits before the last step.

    peer.py --batch 4096 --form stacked     prints the seconds of a step and what they are of, as JSON

Forms: `stacked` is one nn.LSTM of three layers, which cuDNN may compute in a wave, with dropout of its own between
them; `layers` is three of one layer with nn.Dropout between, as Keras has it, and as bachdist must do it, whose masks
do not depend on who computes a row.
"""

import argparse
import json
import time

import torch
from torch import nn

CLASSES, UNITS, NOTES = 79, 256, 20


class Network(nn.Module):
    """Three LSTM layers of 256, dropout after the first two and after the linear dense layer. Time comes first."""

    def __init__(self, form, dropout=0.3):
        super().__init__()
        self.stacked = nn.LSTM(CLASSES, UNITS, 3, dropout=dropout) if form == "stacked" else None
        sizes = [] if form == "stacked" else [CLASSES, UNITS, UNITS]
        self.layers = nn.ModuleList(nn.LSTM(size, UNITS) for size in sizes)
        self.dropout = nn.Dropout(dropout)
        self.dense1 = nn.Linear(UNITS, UNITS)
        self.dense2 = nn.Linear(UNITS, CLASSES)

    def forward(self, hidden):
        """Logits of the note after each window; windows are (time, batch, classes)."""
        if self.stacked is not None:
            hidden, _ = self.stacked(hidden)
        for number, layer in enumerate(self.layers):
            hidden, _ = layer(hidden if number == 0 else self.dropout(hidden))
        return self.dense2(self.dropout(self.dense1(hidden[-1])))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--form", choices=["stacked", "layers"], default="stacked")
    parser.add_argument("--warm-up", type=int, default=20)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args()
    device, batch = arguments.device, arguments.batch
    torch.manual_seed(1)
    network = Network(arguments.form).to(device).train()
    optimizer = torch.optim.RMSprop(network.parameters(), lr=1e-3, alpha=0.9, eps=1e-7, foreach=True)
    # Any music: what it is does not change the speed. Windows overlap, as ours do.
    notes = torch.randint(CLASSES, (100_000,), device=device)
    one_hot = torch.eye(CLASSES, device=device)
    times = torch.arange(NOTES, device=device).unsqueeze(1)
    order = torch.randperm(len(notes) - NOTES, device=device)

    def step(number):
        first = number * batch % (len(order) - batch)
        starts = order[first : first + batch]
        optimizer.zero_grad(set_to_none=True)
        logits = network(one_hot[notes[starts + times]])
        nn.functional.cross_entropy(logits, notes[starts + NOTES]).backward()
        optimizer.step()

    def wait():
        if device != "cpu":
            torch.cuda.synchronize()

    for number in range(arguments.warm_up):
        step(number)
    wait()
    begin = time.perf_counter()
    for number in range(arguments.steps):
        step(arguments.warm_up + number)
    wait()
    seconds = (time.perf_counter() - begin) / arguments.steps
    described = {
        "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version(),
        "cudnn_tf32": torch.backends.cudnn.allow_tf32,
        "matmul_tf32": torch.backends.cuda.matmul.allow_tf32,
        "device": torch.cuda.get_device_name() if device != "cpu" else "cpu",
    }
    print(json.dumps({"seconds": seconds, **described}))


if __name__ == "__main__":
    main()
