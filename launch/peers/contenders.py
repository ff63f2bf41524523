"""Who is measured: peers, started once and asked round by round (see `serve.py`), and our programs, run anew each time.

Every contender has a `name` and a `measure(work)` that returns a rate, higher being better, or raises [`Failed`].
"""

import contextlib
import json
import os
import pathlib
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent


class Failed(Exception):
    """The reason why a contender has no figure."""


class Peer:
    """A script beside this one, in its own Python environment, that answers questions."""

    def __init__(self, name, environment, script, *arguments, cores, threads, rate):
        self.name, self.environment, self.rate = name, environment, rate
        self.command = [str(HERE / script), *map(str, arguments)]
        self.cores, self.threads = cores, threads
        self.process = None
        self.described = {}

    def measure(self, work):
        """The rate of one answer."""
        if self.process is None:
            self.described = self._start()
        return self.rate(work, self._ask(work))

    def close(self):
        """Ends the peer by closing its input."""
        if self.process is None:
            return
        # Closing flushes, which fails if the peer has died.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.log.close()

    def _start(self):
        python = cache() / self.environment / "bin" / "python"
        if not (cache() / self.environment / "complete").exists():
            raise Failed("not installed: " + _last_line(cache() / f"{self.environment}.log"))
        self.log = tempfile.NamedTemporaryFile("w", suffix=f"-{self.environment}.log")
        self.process = subprocess.Popen(
            on(self.cores, [str(python), *self.command]),
            env=peer_environment(self.threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        return self._answer()

    def _ask(self, question):
        try:
            print(json.dumps(question), file=self.process.stdin, flush=True)
        except BrokenPipeError:
            pass  # it has died; its last output is read below
        return self._answer()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            raise Failed(f"ended with code {code}: {_last_line(self.log.name)}")
        answer = json.loads(line)
        if "error" in answer:
            raise Failed(answer["error"])
        return answer


class Training:
    """`bachdist train`: the steps in its `metrics.jsonl`, without start-up and warm-up."""

    name = "ours"
    described = {}

    def __init__(self, bachdist, music, cores):
        self.bachdist, self.music, self.cores = bachdist, music, cores

    def measure(self, work):
        """Windows per second, of all ranks together."""
        with tempfile.TemporaryDirectory(prefix="bachdist-compare-") as run:
            self.train(run, work["batch"], work["warm_up"] + work["steps"])
            steps = [json.loads(line) for line in open(f"{run}/metrics.jsonl", encoding="utf-8")]
        steps = [step for step in steps if step["kind"] == "step"]
        seconds = sum(work["batch"] / step["windows_per_second"] for step in steps[work["warm_up"] :])
        return work["batch"] * work["steps"] / seconds

    def train(self, run, batch, steps):
        """Runs this many steps into a folder, with one rank of one thread per core."""
        settings = {
            "data.midi": self.music,
            "train.batch_size": batch,
            "train.max_steps": steps,
            "train.device": "cpu",
            "checkpoint.url": run,
            "checkpoint.every_steps": 1_000_000,
        }
        words = ["configs/cello.toml", *(f"--set={key}={value}" for key, value in settings.items())]
        if len(self.cores) == 1:
            command = [self.bachdist, "train", *words]
        else:
            command = ["launch/job", "-n", str(len(self.cores)), *words]
        run_ours(on(self.cores, command), BACHDIST=self.bachdist, OMP_NUM_THREADS="1")


class Sampling:
    """`sample CHECKPOINT`: the whole process, from its start to the finished files."""

    name = "ours"
    described = {}

    def __init__(self, sample, checkpoint, cores):
        self.sample, self.checkpoint, self.cores = sample, checkpoint, cores

    def measure(self, work):
        """Notes per second, of all pieces together."""
        with tempfile.TemporaryDirectory(prefix="bachdist-compare-") as folder:
            words = ["-n", str(work["pieces"]), "--notes", str(work["notes"]), "--only", "midi", "--seed", "1"]
            command = [self.sample, self.checkpoint, *words, "-o", folder]
            seconds = run_ours(on(self.cores, command), OMP_NUM_THREADS=str(len(self.cores))).seconds
        return work["pieces"] * work["notes"] / seconds


class Reading:
    """`bachdist data inspect FOLDER --json`, by the reading time that it prints: its start-up is longer."""

    name = "ours"
    described = {}

    def __init__(self, bachdist, folder, notes, cores):
        self.bachdist, self.folder, self.notes, self.cores = bachdist, folder, notes, cores

    def measure(self, work):
        """Notes per second."""
        command = [self.bachdist, "data", "inspect", self.folder, "--json"]
        said = run_ours(on(self.cores, command), OMP_NUM_THREADS=str(len(self.cores))).stdout
        inspected = json.loads(said)
        if inspected["pieces"] != work["files"]:
            raise Failed(f"read {inspected['pieces']} files of {work['files']}")
        return self.notes / inspected["seconds"]


def on(cores, command):
    """The command, pinned to these processors."""
    return ["taskset", "-c", ",".join(map(str, cores)), *command]


def run_ours(command, **variables):
    """Runs one of our programs to its end, and returns the seconds that it took."""
    begin = time.perf_counter()
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    done.seconds = time.perf_counter() - begin
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["it says nothing"]
        said = [line for line in lines if line.startswith("bachdist:")] or lines
        raise Failed(f"exit code {done.returncode}: {said[-1]}")
    return done


def peer_environment(threads):
    """Our environment without variables that would give peers another library."""
    keep = {k: v for k, v in os.environ.items() if k not in ("LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME")}
    return {**keep, "OMP_NUM_THREADS": str(threads), "PYTHONDONTWRITEBYTECODE": "1"}


def cache():
    """Where launch/setup puts what it installs."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(os.environ.get("BACHDIST_CACHE") or f"{home}/bachdist")


def _last_line(path):
    try:
        lines = [line.strip() for line in open(path, encoding="utf-8", errors="replace") if line.strip()]
    except OSError:
        lines = []
    return lines[-1] if lines else "no reason given"
