"""Statistics of samples beside a corpus, computed again from their definitions with NumPy alone.

    python style.py QUESTION.json

The question has `samples` (lists of pitches), `notes` (to how many samples are cut), `stretches` of the corpus
(`piece`, `pitches`) and `sets` (indices of stretches; none, and the spread of the corpus is left out). The answer
has fields of `eval --samples --json`. Logarithms of densities are found point by point, the overlapping area from
distribution functions.
"""

import json
import sys
from collections import Counter
from math import erf, sqrt

import numpy as np

TINY = np.log(sys.float_info.min)


def describe(pitches):
    pitches = np.array(pitches)
    intervals = np.diff(pitches)
    classes = pitches % 12
    passages = [tuple(pitches[i : i + 8]) for i in range(len(pitches) - 7)]
    transitions = np.zeros((12, 12))
    for a, b in zip(classes[:-1], classes[1:]):
        transitions[a, b] += 1
    return {
        "pitch classes": np.array([np.mean(classes == c) for c in range(12)]),
        "transitions": (transitions / len(intervals)).ravel(),
        "intervals": np.array([np.mean(intervals == i) for i in range(-127, 128)]),
        "pitch range": np.ptp(pitches),
        "distinct pitches": len(set(pitches.tolist())),
        "average interval": np.mean(np.abs(intervals)),
        "notes repeated": np.mean(intervals == 0),
        "passages repeated": sum(n - 1 for n in Counter(passages).values()) / max(1, len(passages)),
    }


def distance(a, b):
    return float(np.linalg.norm(np.atleast_1d(a) - np.atleast_1d(b)))


def scott(distances):
    return np.std(distances, ddof=1) * len(distances) ** -0.2 if len(distances) > 1 else 0.0


def log_density(grid, distances, width):
    values, counts = np.unique(distances, return_counts=True)
    log = np.full(len(grid), -np.inf)
    for part in np.array_split(np.arange(len(values)), max(1, len(values) // 200)):
        z = -(((grid[:, None] - values[part]) / width) ** 2) / 2 + np.log(counts[part])
        top = np.maximum(z.max(axis=1), log)
        log = top + np.log(np.exp(z - top[:, None]).sum(axis=1) + np.exp(log - top))
    return log - np.log(len(distances) * width * np.sqrt(2 * np.pi))


def support(distances, width):
    """Whatever lies further out weighs less than 1e-9."""
    return np.linspace(min(distances) - 6.5 * width, max(distances) + 6.5 * width, 1001)


class Reference:
    def __init__(self, distances):
        self.narrowest = max(distances) / 50 or 0.02
        width = max(scott(distances), self.narrowest)
        self.grid = support(distances, width)
        self.log_p = log_density(self.grid, distances, width)
        self.distances, self.width = distances, width

    def divergence(self, distances):
        width = max(scott(distances), self.narrowest)
        log_q = log_density(self.grid, distances, width)
        kl = np.trapezoid(np.exp(self.log_p) * (self.log_p - np.maximum(log_q, TINY)), self.grid)
        return kl, self.overlap(log_q, distances, width)

    def overlap(self, log_q, distances, width):
        """From crossing to crossing, what the smaller density has there: differences of distribution functions."""
        other = support(distances, width)
        grid = np.concatenate([self.grid, other])
        order = np.argsort(grid)
        grid = grid[order]
        p = np.exp(np.concatenate([self.log_p, log_density(other, self.distances, self.width)]))[order]
        q = np.exp(np.concatenate([log_q, log_density(other, distances, width)]))[order]
        difference, larger = p - q, np.maximum(p, q)
        sign = np.sign(np.where(larger > 1e-12, difference, 0))
        points = np.flatnonzero(sign)
        turns = [(i, j) for i, j in zip(points[:-1], points[1:]) if sign[i] != sign[j]]
        share = [difference[i] / (difference[i] - difference[j]) for i, j in turns]
        crossings = [grid[i] + part * (grid[j] - grid[i]) for part, (i, j) in zip(share, turns)]
        signs = [sign[points[0]]] + [sign[j] for _, j in turns] if len(points) else [1]
        of_p = [0, *(share_below(x, self.distances, self.width) for x in crossings), 1]
        of_q = [0, *(share_below(x, distances, width) for x in crossings), 1]
        smaller = [of_q if s > 0 else of_p for s in signs]
        return sum(below[i + 1] - below[i] for i, below in enumerate(smaller))


def share_below(x, distances, width):
    values, counts = np.unique(distances, return_counts=True)
    return sum(n * (1 + erf((x - v) / width / sqrt(2))) / 2 for v, n in zip(values, counts)) / len(distances)


def share(values, part):
    values = sorted(values)
    return values[int(np.floor(part * (len(values) - 1) + 0.5))]


def spread(values):
    return [share(values, 0.05), share(values, 0.95)]


def main():
    question = json.load(open(sys.argv[1]))
    pieces = [stretch["piece"] for stretch in question["stretches"]]
    corpus = [describe(stretch["pitches"]) for stretch in question["stretches"]]
    samples = [describe(pitches[: question["notes"]]) for pitches in question["samples"]]
    numbers, distances, histograms = [], [], {}
    for name in corpus[0]:
        mean = {key: np.mean([f[name] for f in of], axis=0) for key, of in [("samples", samples), ("corpus", corpus)]}
        if np.ndim(corpus[0][name]):
            histograms[name.replace(" ", "_")] = {key: value.tolist() for key, value in mean.items()}
        else:
            numbers.append({"name": name, **mean, "corpus_range": spread([c[name] for c in corpus])})
        apart = np.array([[distance(a[name], b[name]) for b in corpus] for a in corpus])
        other = np.array([[a != b for b in pieces] for a in pieces])
        reference = Reference(apart[np.triu(other)].tolist())
        kl, overlap = reference.divergence([distance(s[name], c[name]) for s in samples for c in corpus])
        entry = {"name": name, "kl": kl, "overlap": overlap}
        if question["sets"]:
            sets = [np.concatenate([apart[i][other[i]] for i in drawn]) for drawn in question["sets"]]
            own = [reference.divergence(drawn) for drawn in sets]
            entry["kl_range"] = spread([kl for kl, _ in own])
            entry["overlap_range"] = spread([overlap for _, overlap in own])
            entry["far"] = bool(kl > entry["kl_range"][1] or overlap < entry["overlap_range"][0])
        distances.append(entry)
    answer = {
        "samples": len(samples),
        "notes": question["notes"],
        "stretches": len(corpus),
        "histograms": histograms,
        "numbers": numbers,
        "distances": distances,
    }
    print(json.dumps(answer, default=float))


main()
