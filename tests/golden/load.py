"""Loads a checkpoint into PyTorch, and says what it predicts: load.py CHECKPOINT CASE OUTPUT.

CASE is one of data/*.safetensors, whose windows are predicted; OUTPUT becomes a safetensors file with
`log_probabilities` (B, C). Needs what make.py needs, without Keras.
"""

import sys

import torch
from network import Network
from safetensors.torch import load_file, save_file

checkpoint, case, output = sys.argv[1:]

# A case holds its network under PyTorch's names.
theirs = load_file(case)
layers = sum(name.startswith("lstm.weight_ih") for name in theirs)
network = Network(layers, theirs["lstm.weight_hh_l0"].shape[1], theirs["dense1.weight"].shape[0])

# The two lines; a missing name or a wrong shape is an error.
state = load_file(checkpoint)
network.load_state_dict({name: state[name] for name in network.state_dict()})

with torch.no_grad():
    logits = network(theirs["inputs"])
save_file({"log_probabilities": torch.log_softmax(logits, dim=1)}, output)
