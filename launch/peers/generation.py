"""PyTorch's and Keras' contenders in composing: for each note a window of 20 goes through the article's network.

    generation.py torch|keras|torch-batch MUSIC.json     threads: OMP_NUM_THREADS

Both start from a window of the music, take the most probable note as the article does, and move the window on by it.
`keras` is the article's loop, `model.predict` on one window a note; `torch` the same in `inference_mode`; `torch-batch`
composes 64 pieces at once. Neither start-up nor the writing of a file is in their times.
"""

import sys
import time

import music
from serve import serve


def with_torch(path, pieces):
    """Notes from PyTorch, several pieces at once."""
    import torch
    import torch_training

    torch_training.use_threads()
    network = torch_training.Network().eval()
    windows, _ = music.windows(path)
    rows = torch.arange(pieces)

    def compose(notes):
        # Appended at its end, read at a moving position: no window is copied.
        one_hot = torch.zeros(music.WINDOW + notes, pieces, music.CLASSES)
        start = torch.tensor(windows[:pieces]).T
        one_hot[: music.WINDOW] = torch.nn.functional.one_hot(start, music.CLASSES)
        with torch.inference_mode():
            for note in range(notes):
                probabilities = network(one_hot[note : note + music.WINDOW]).softmax(dim=1)
                one_hot[note + music.WINDOW, rows, probabilities.argmax(dim=1)] = 1.0
        return pieces * notes

    return torch_training.describe, compose


def with_keras(path):
    """Notes from Keras, one at a time, by the article's loop."""
    import keras_training
    import numpy

    keras_training.use_threads()
    model = keras_training.network()
    windows, _ = music.windows(path)
    one_hot = numpy.eye(music.CLASSES, dtype="float32")

    def compose(notes):
        pattern = one_hot[numpy.array(windows[0])]
        for _ in range(notes):
            window = pattern[-music.WINDOW :].reshape(1, music.WINDOW, music.CLASSES)
            probabilities = model.predict(window, verbose=0)
            pattern = numpy.vstack([pattern, one_hot[numpy.argmax(probabilities)]])
        return notes

    return keras_training.describe, compose


def main():
    peer, path = sys.argv[1:]
    describe, compose = with_keras(path) if peer == "keras" else with_torch(path, 64 if peer == "torch-batch" else 1)

    def answer(notes):
        compose(3)
        begin = time.perf_counter()
        composed = compose(notes)
        return {"notes": composed, "seconds": time.perf_counter() - begin}

    serve(describe, answer)


if __name__ == "__main__":
    main()
