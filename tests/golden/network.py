"""The network as a user of PyTorch would write it."""

import torch
from torch import nn

CLASSES = 79


class Network(nn.Module):
    """Stacked LSTM layers on one-hot classes, a linear dense layer, a softmax layer (its logits)."""

    def __init__(self, layers, units, dense):
        super().__init__()
        self.lstm = nn.LSTM(CLASSES, units, layers)
        self.dense1 = nn.Linear(units, dense)
        self.dense2 = nn.Linear(dense, CLASSES)

    def forward(self, inputs, masks=None):
        """(B, C) logits from (T, B) classes; `masks` are what dropout multiplies by, one for each layer but the
        last, then one for the dense layer."""
        hidden = nn.functional.one_hot(inputs, CLASSES).float()
        if masks is None:
            hidden, _ = self.lstm(hidden)
            return self.dense2(self.dense1(hidden[-1]))
        # nn.LSTM draws masks of its own between its layers, so with given ones each layer runs alone.
        for layer in range(self.lstm.num_layers):
            alone = nn.LSTM(hidden.shape[-1], self.lstm.hidden_size)
            names = [name for name, _ in alone.named_parameters()]
            own = {name: getattr(self.lstm, name.replace("_l0", f"_l{layer}")) for name in names}
            hidden, _ = torch.func.functional_call(alone, own, hidden)
            if layer < self.lstm.num_layers - 1:
                hidden = hidden * masks[layer]
        return self.dense2(self.dense1(hidden[-1]) * masks[-1])
