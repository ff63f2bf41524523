"""Makes data/*.safetensors: what PyTorch and Keras compute on small networks, for the tests in this folder.

Not needed to run the tests. The data was made on a CPU by

    python3 -m venv venv
    venv/bin/pip install torch==2.11.0 keras==3.12.0 jax==0.10.2 safetensors==0.8.0 numpy==2.4.6
    venv/bin/python tests/golden/make.py

PyTorch runs the network as a user would write it (nn.LSTM, nn.Linear, cross_entropy) and differentiates it with
autograd (network.py); Keras runs its own layers on JAX. The numbers of other versions or processors may differ in
the last bits; the tests allow for that.

Shapes: T notes of a window, B windows, C classes, H units, D dense units.
"""

import os
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np
import torch
from network import CLASSES, Network
from safetensors.torch import save_file
from torch import nn

DATA = Path(__file__).parent / "data"


def random_network(layers, units, dense, scale, random):
    """A network with random weights in every tensor, except PyTorch's second LSTM bias, which bachdist has not."""
    network = Network(layers, units, dense)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.normal_(0, 0 if "bias_hh" in name else scale, generator=random)
    return network


def keras_probabilities(network, inputs):
    """(B, C) of the same network in Keras: gates i, f, c, o in its kernels' columns, one bias."""
    lstm = network.lstm
    model = keras.Sequential([keras.Input((inputs.shape[0], CLASSES))])
    for layer in range(lstm.num_layers):
        model.add(keras.layers.LSTM(lstm.hidden_size, return_sequences=layer < lstm.num_layers - 1))
    model.add(keras.layers.Dense(network.dense1.out_features))
    model.add(keras.layers.Dense(CLASSES, activation="softmax"))
    kernels = [[f"lstm.weight_ih_l{i}", f"lstm.weight_hh_l{i}", f"lstm.bias_ih_l{i}"] for i in range(lstm.num_layers)]
    kernels += [["dense1.weight", "dense1.bias"], ["dense2.weight", "dense2.bias"]]
    state = network.state_dict()
    for layer, names in zip(model.layers, kernels, strict=True):
        layer.set_weights([state[name].numpy().T for name in names])
    one_hot = np.eye(CLASSES, dtype=np.float32)[inputs.T.numpy()]
    return torch.from_numpy(np.array(model(one_hot)))


def case(name, layers, units, dense, times, windows, scale, seed, dropout=None):
    """One network with its windows, and what it makes of them."""
    random = torch.Generator().manual_seed(seed)
    network = random_network(layers, units, dense, scale, random)
    inputs = torch.randint(CLASSES, (times, windows), generator=random)
    tensors = {name: parameter.detach().clone() for name, parameter in network.state_dict().items()}
    tensors["inputs"] = inputs
    if dropout is None:
        tensors["keras.probabilities"] = keras_probabilities(network, inputs)
    else:
        tensors |= {f"dropout.{name}": torch.from_numpy(np.array(value)) for name, value in dropout.items()}

    logits = network(inputs, dropout and masks(network, times, windows, **dropout))
    targets = torch.randint(CLASSES, (windows,), generator=random)
    # Half of the predictions are right.
    targets[::2] = logits.argmax(dim=1)[::2]
    loss = nn.functional.cross_entropy(logits, targets, reduction="sum")
    loss.backward()
    tensors["log_probabilities"] = nn.functional.log_softmax(logits, dim=1).detach()
    tensors["loss"] = loss.detach()
    tensors["targets"] = targets
    tensors["correct"] = (logits.argmax(dim=1) == targets).sum()
    for parameter_name, parameter in network.named_parameters():
        if "bias_hh" not in parameter_name:
            tensors[f"gradient.{parameter_name}"] = parameter.grad
    save_file(tensors, DATA / f"{name}.safetensors")


def intervals(name, layers, units, dense, times, windows, scale, seed):
    """A network that sees and predicts intervals beside classes, with a loss after every note."""
    random = torch.Generator().manual_seed(seed)
    features = 3 * CLASSES - 1
    lstm = nn.LSTM(features, units, layers)
    dense1, dense2 = nn.Linear(units, dense), nn.Linear(dense, features)
    modules = {"lstm": lstm, "dense1": dense1, "dense2": dense2}
    parameters = {f"{of}.{key}": value for of, module in modules.items() for key, value in module.named_parameters()}
    with torch.no_grad():
        for key, parameter in parameters.items():
            parameter.normal_(0, 0 if "bias_hh" in key else scale, generator=random)
    tensors = {key: parameter.detach().clone() for key, parameter in parameters.items()}
    notes = torch.randint(CLASSES, (times + 1, windows), generator=random)
    inputs, targets = notes[:-1], notes[1:]
    # The interval from a to b is number b - a + 78 of 157, behind the classes; the first note has none.
    seen = torch.zeros(times, windows, features)
    for time, window in np.ndindex(times, windows):
        seen[time, window, inputs[time, window]] = 1
        if time > 0:
            seen[time, window, CLASSES + 78 + inputs[time, window] - inputs[time - 1, window]] = 1
    scores = dense2(dense1(lstm(seen)[0]))
    reached = CLASSES + 78 + torch.arange(CLASSES) - inputs.unsqueeze(-1)
    logits = (scores[..., :CLASSES] + torch.gather(scores, 2, reached)).reshape(-1, CLASSES)
    loss = nn.functional.cross_entropy(logits, targets.reshape(-1), reduction="sum")
    loss.backward()
    tensors |= {"inputs": inputs.clone(), "targets": targets.clone(), "loss": loss.detach()}
    tensors["log_probabilities"] = nn.functional.log_softmax(logits, dim=1).detach()
    tensors["correct"] = (logits.argmax(dim=1) == targets.reshape(-1)).sum()
    for key, parameter in parameters.items():
        if "bias_hh" not in key:
            tensors[f"gradient.{key}"] = parameter.grad
    save_file(tensors, DATA / f"{name}.safetensors")


# Dropout masks: SplitMix64 as in src/portable/random.rs, written a second time on purpose.

WORD = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
DROPOUT = 3


def mix(z):
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & WORD
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & WORD
    return z ^ (z >> 31)


def stream(seed, *coordinates):
    key = mix(mix(seed + GOLDEN & WORD) ^ DROPOUT)
    for coordinate in coordinates:
        key = mix(mix(key + GOLDEN & WORD) ^ coordinate)
    return key


def masks(network, times, windows, rate, seed, step, first_row):
    """What dropout multiplies by: (T, B, H) for each LSTM layer but the last, then (B, D)."""
    units, dense = network.lstm.hidden_size, network.dense1.out_features
    shapes = [(times, windows, units)] * (network.lstm.num_layers - 1) + [(1, windows, dense)]
    kept = []
    for layer, shape in enumerate(shapes):
        mask = np.zeros(shape, dtype=np.float32)
        for time, row, unit in np.ndindex(shape):
            index = time * shape[2] + unit
            bits = mix(stream(seed, step, first_row + row, layer) + (index + 1) * GOLDEN & WORD)
            mask[time, row, unit] = 1 / (1 - rate) if bits >= rate * 2**64 else 0
        kept.append(torch.from_numpy(mask))
    kept[-1] = kept[-1][0]
    return kept


def rmsprop(updates=6, length=64):
    """Updates from gradients of every size, so that at some the root leads and at some epsilon."""
    random = torch.Generator().manual_seed(4)
    # The weights are as small as their updates, so that these decide the comparison.
    weights = nn.Parameter(torch.randn(length, generator=random) * 1e-3)
    sizes = 10.0 ** torch.linspace(-10, 2, length)
    gradients = torch.randn(updates, length, generator=random) * sizes
    gradients[:, 0] = 0
    tensors = {"parameters": weights.detach().clone(), "gradients": gradients}
    optimizer = torch.optim.RMSprop([weights], lr=1e-3, alpha=0.9, eps=1e-7)
    after, mean_squares = [], []
    for gradient in gradients:
        weights.grad = gradient
        optimizer.step()
        after.append(weights.detach().clone())
        mean_squares.append(optimizer.state[weights]["square_avg"].clone())
    tensors |= {"parameters_after": torch.stack(after), "mean_squares_after": torch.stack(mean_squares)}
    save_file(tensors, DATA / "rmsprop.safetensors")


if __name__ == "__main__":
    DATA.mkdir(exist_ok=True)
    case("one-layer", layers=1, units=5, dense=4, times=3, windows=3, scale=0.5, seed=1)
    case("stacked", layers=3, units=12, dense=9, times=6, windows=9, scale=0.5, seed=2)
    dropout = {"rate": 0.3, "seed": 42, "step": 7, "first_row": 16}
    case("dropout", layers=3, units=7, dense=6, times=4, windows=5, scale=0.5, seed=3, dropout=dropout)
    intervals("intervals", layers=2, units=10, dense=8, times=5, windows=6, scale=0.5, seed=5)
    rmsprop()
