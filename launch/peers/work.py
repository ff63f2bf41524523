"""The work that is measured: the tasks of each part of the comparison, with their contenders.

A task is (group, work, cores, unit, contenders, what each is asked); `compare.py` makes the rounds.
"""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess

import machine
import music
from contenders import ROOT, Failed, Peer, Reading, Sampling, Training, run_ours

# Windows per step, warm-up steps, measured steps.
BATCHES = [(8, 10, 120), (16, 10, 80), (64, 5, 30), (512, 2, 6)]
NOTES = 200
PIECES = 64
COPIES = 400
FEWEST_WINDOWS = 512 * 8


class Work:
    """The work, as parts that yield their tasks."""

    def __init__(self, options, aside, bachdist, sample):
        self.options, self.aside, self.bachdist, self.sample = options, aside, bachdist, sample
        available = machine.cores()
        wanted = [options.cores] if options.cores else [1, 2]
        self.cores = [count for count in wanted if count <= len(available)]
        if not self.cores:
            raise Failed(f"--cores {wanted[0]} is too many: this process may use {len(available)}")
        self.available = available
        self.midi = self._midi()
        self.music = aside / "classes.json"
        self.inspected = self._inspect()

    def parts(self):
        """Generators of tasks; closing one ends the peers that it started."""
        for cores in self.cores:
            if self.options.only in (None, "training"):
                yield self.training(self.available[:cores])
        for cores in self.cores:
            if self.options.only in (None, "sampling"):
                yield self.sampling(self.available[:cores])
        if self.options.only in (None, "midi"):
            yield self.reading(self.available[:1])

    def training(self, cores):
        """The article's network at four batch sizes."""

        def rate(work, answer):
            return work["batch"] * work["steps"] / answer["seconds"]

        def peer(name, environment, script, *arguments, threads):
            return Peer(name, environment, script, self.music, *arguments, cores=cores, threads=threads, rate=rate)

        peers = [peer("PyTorch eager", "peer-torch", "torch_training.py", threads=len(cores))]
        if len(cores) > 1:
            ranks = ["--ranks", len(cores)]
            peers.append(peer("PyTorch DDP", "peer-torch", "torch_training.py", *ranks, threads=1))
        peers.append(peer("Keras fit", "peer-keras", "keras_training.py", threads=len(cores)))
        with ended(peers):
            for batch, warm_up, steps in BATCHES:
                steps = max(2, steps // 5) if self.options.quick else steps
                work = {"batch": batch, "warm_up": warm_up, "steps": steps}
                contenders = [Training(self.bachdist, self.midi, cores), *peers]
                yield "training", f"batch {batch}", len(cores), "windows/s", contenders, [work] * len(contenders)

    def sampling(self, cores):
        """Pieces of 200 notes, one and 64."""
        ours = Sampling(self.sample, self._checkpoint(), cores)

        def peer(name, environment, kind):
            return Peer(
                name, environment, "generation.py", kind, self.music,
                cores=cores, threads=len(cores), rate=lambda _, answer: answer["notes"] / answer["seconds"],
            )  # fmt: skip

        one = [peer("Keras predict", "peer-keras", "keras"), peer("PyTorch loop", "peer-torch", "torch")]
        many = [peer("PyTorch, 64 at once", "peer-torch", "torch-batch")]
        with ended([*one, *many]):
            for pieces, peers in ((1, one), (PIECES, many)):
                label = f"{pieces} of {NOTES} notes"
                works = [{"pieces": pieces, "notes": NOTES}, *[{"notes": NOTES}] * len(peers)]
                yield "sampling", label, len(cores), "notes/s", [ours, *peers], works

    def reading(self, cores):
        """The pieces, each under many names; pretty_midi, which is slow, reads every piece once."""
        one, many = self.aside / "one", self.aside / "many"
        paths = [pathlib.Path(file["path"]) for file in self.inspected["files"]]
        one.mkdir()
        many.mkdir()
        for number, path in enumerate(paths):
            shutil.copyfile(self.midi / path, one / f"{number:03}.mid")
            for copy in range(COPIES):
                os.link(one / f"{number:03}.mid", many / f"{copy:03}-{number:03}.mid")
        notes = sum(len(part["notes"]) for file in self.inspected["files"] for part in file["instruments"])

        def rate(work, answer):
            expected = notes * work["files"] // len(paths)
            if answer["notes"] != expected:
                raise Failed(f"read {answer['notes']} notes where bachdist reads {expected}")
            return answer["notes"] / answer["seconds"] / 1000

        def peer(name):
            return Peer(name, "peer-midi", "midi.py", name, many, cores=cores, threads=1, rate=rate)

        peers = [peer("symusic"), peer("pretty_midi")]
        works = [{"files": files} for files in (COPIES * len(paths), COPIES * len(paths), len(paths))]
        ours = Reading(self.bachdist, str(many), COPIES * notes / 1000, cores)
        with ended(peers):
            label = f"{len(paths)} files"
            yield "reading", label, len(cores), "1000 notes/s", [ours, *peers], works

    def _midi(self):
        """A folder of music: the article's if it is there, else composed pieces."""
        if self.options.music:
            return self.options.music
        for folder in (ROOT / "data/cello", ROOT.parent / "shared/data/cello"):
            if any(folder.glob("*.mid")):
                return folder
        folder = self.aside / "composed"
        run_ours([self.sample, "-n", "36", "--notes", "700", "--only", "midi", "--seed", "1", "-o", str(folder)])
        return folder

    def _inspect(self):
        command = [self.bachdist, "data", "inspect", str(self.midi), "--json", "--notes"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failed(f"{self.midi}: {done.stderr.strip()}")
        inspected = json.loads(done.stdout)
        if inspected["windows"] < FEWEST_WINDOWS:
            raise Failed(f"{self.midi}: {inspected['windows']} windows; the comparison needs {FEWEST_WINDOWS}")
        self.music.write_text(json.dumps(music.classes(inspected)), encoding="utf-8")
        return inspected

    def _checkpoint(self):
        """The article's network after two steps: its speed does not depend on its quality."""
        run = self.aside / "run"
        if not run.exists():
            Training(self.bachdist, self.midi, self.available[:1]).train(str(run), 64, 2)
        return str(run)


@contextlib.contextmanager
def ended(peers):
    """Ends the peers whatever happens."""
    try:
        yield
    finally:
        for peer in peers:
            peer.close()
