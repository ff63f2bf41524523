"""PyTorch's contender in training: the article's network, eager, alone or with DistributedDataParallel.

    torch_training.py MUSIC.json [--ranks N]     threads a process: OMP_NUM_THREADS

Prepared as one who knows PyTorch would: inputs are made one-hot before the clock starts, a step gathers its rows by
index and does nothing else on the host.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

import music
from serve import serve


def use_threads():
    """Threads from OMP_NUM_THREADS."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


class Network(nn.Module):
    """Three LSTM layers of 256, dropout after the first two and after the linear dense layer. Time comes first."""

    def __init__(self, dropout=0.3):
        super().__init__()
        self.lstm = nn.LSTM(music.CLASSES, 256, num_layers=3, dropout=dropout)
        self.dense1 = nn.Linear(256, 256)
        self.dropout = nn.Dropout(dropout)
        self.dense2 = nn.Linear(256, music.CLASSES)

    def forward(self, windows):
        """Logits of the note after each window; windows are (time, batch, classes)."""
        every_note, _ = self.lstm(windows)
        return self.dense2(self.dropout(self.dense1(every_note[-1])))


class Training:
    """One process's part of the training."""

    def __init__(self, path, rank, ranks):
        use_threads()
        torch.manual_seed(1)
        self.rank, self.ranks = rank, ranks
        inputs, targets = music.windows(path)
        one_hot = nn.functional.one_hot(torch.tensor(inputs).T, music.CLASSES).float()
        self.inputs, self.targets = one_hot.contiguous(), torch.tensor(targets)
        self.network = Network().train()
        if ranks > 1:
            self.network = DistributedDataParallel(self.network, gradient_as_bucket_view=True)
        # foreach: one call for all parameters instead of several per parameter.
        self.optimizer = torch.optim.RMSprop(self.network.parameters(), lr=1e-3, alpha=0.9, eps=1e-7, foreach=True)

    def run(self, batch, warm_up, steps):
        """Seconds for `steps` steps of `batch` windows, over all processes."""
        share = batch // self.ranks
        order = torch.randperm(self.targets.numel())
        for step in range(warm_up + steps):
            if step == warm_up:
                begin = time.perf_counter()
            first = (step * batch + self.rank * share) % (order.numel() - share)
            self.step(order[first : first + share])
        return time.perf_counter() - begin

    def step(self, rows):
        """One update."""
        logits = self.network(self.inputs.index_select(1, rows))
        loss = nn.functional.cross_entropy(logits, self.targets[rows])
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()


def join(arguments):
    """Joins the other processes. Rank 0, which `compare.py` started, starts them and returns them."""
    others = []
    if arguments.rank == 0:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            arguments.port = free.getsockname()[1]
        command = [sys.executable, __file__, arguments.music, "--ranks", arguments.ranks, "--port", arguments.port]
        for rank in range(1, arguments.ranks):
            others.append(
                subprocess.Popen(
                    [str(word) for word in [*command, "--rank", rank]],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    text=True,
                )
            )
    meeting = f"tcp://127.0.0.1:{arguments.port}"
    distributed.init_process_group("gloo", init_method=meeting, rank=arguments.rank, world_size=arguments.ranks)
    return others


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("music")
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--rank", type=int, default=0)
    parser.add_argument("--port", type=int)
    arguments = parser.parse_args()
    others = join(arguments) if arguments.ranks > 1 else []
    training = Training(arguments.music, arguments.rank, arguments.ranks)

    def answer(**question):
        # The others wait in readline until now: a rank that waited in gloo could time out while ours is measured.
        for other in others:
            print(json.dumps(question), file=other.stdin, flush=True)
        return {"seconds": training.run(**question)}

    serve(describe, answer)
    for other in others:
        other.stdin.close()
        other.wait()


def describe():
    """Versions and settings, for the JSON."""
    return {
        "versions": {"torch": torch.__version__},
        "settings": {
            "onednn": torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled,
            "threads": torch.get_num_threads(),
            "vectors": torch.backends.cpu.get_cpu_capability(),
        },
    }


if __name__ == "__main__":
    main()
