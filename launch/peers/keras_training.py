"""Keras' contender in training: the article's network and `model.fit`, as in the article.

    keras_training.py MUSIC.json     threads: OMP_NUM_THREADS

An epoch of `fit` is measured after an epoch of warm-up, from its begin to its end. It takes as many windows as the
question says, not all of the music: a whole epoch would take minutes.
"""

import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras
import numpy
import tensorflow

import music
from serve import serve


def use_threads():
    """Threads from OMP_NUM_THREADS, which TensorFlow does not read."""
    threads = int(os.environ["OMP_NUM_THREADS"])
    tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
    tensorflow.config.threading.set_inter_op_parallelism_threads(threads)


def network(dropout=0.3):
    """Three LSTM layers of 256, dropout after the first two and after the linear dense layer."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((music.WINDOW, music.CLASSES)),
            layers.LSTM(256, return_sequences=True),
            layers.Dropout(dropout),
            layers.LSTM(256, return_sequences=True),
            layers.Dropout(dropout),
            layers.LSTM(256),
            layers.Dense(256),
            layers.Dropout(dropout),
            layers.Dense(music.CLASSES, activation="softmax"),
        ]
    )
    model.compile(loss="categorical_crossentropy", optimizer=keras.optimizers.RMSprop(learning_rate=1e-3))
    return model


class LastEpoch(keras.callbacks.Callback):
    """Seconds of the last epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self.begin = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds = time.perf_counter() - self.begin


def describe():
    """Versions and settings, for the JSON."""
    return {
        "versions": {"keras": keras.__version__, "tensorflow": tensorflow.__version__},
        "settings": {"threads": tensorflow.config.threading.get_intra_op_parallelism_threads()},
    }


def main():
    use_threads()
    inputs, targets = music.windows(sys.argv[1])
    one_hot = numpy.eye(music.CLASSES, dtype="float32")
    inputs, targets = one_hot[numpy.array(inputs)], one_hot[numpy.array(targets)]
    model = network()

    def fit(batch, steps):
        """Seconds of an epoch of this many steps."""
        epoch = LastEpoch()
        windows = batch * steps
        model.fit(inputs[:windows], targets[:windows], batch_size=batch, verbose=0, callbacks=[epoch])
        return epoch.seconds

    def answer(batch, warm_up, steps):
        fit(batch, warm_up)
        return {"seconds": fit(batch, steps)}

    serve(describe, answer)


if __name__ == "__main__":
    main()
