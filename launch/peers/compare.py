"""`launch/compare`: which work is measured, in which order, and how rounds are summarized. See `launch/compare --help`.

Within a task every contender is measured once a round, and the one that begins moves on by one each round, so that a
machine that grows slower is slower for all. What is measured is in `work.py`, by whom in `contenders.py`, the output in
`table.py`. A peer that fails keeps its row, with the reason.
"""

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import machine
import table
from contenders import ROOT, Failed
from work import Work


def main():
    options = parse()
    os.chdir(ROOT)
    try:
        if options.table:
            print(table.markdown(earlier(options.table)))
            return
        with tempfile.TemporaryDirectory(prefix="bachdist-compare-") as aside:
            result = measure(options, pathlib.Path(aside))
    except Failed as problem:
        sys.exit(f"launch/compare: {problem}")
    except KeyboardInterrupt:
        sys.exit(f"launch/compare: stopped; what was measured so far is in {options.json}")
    print("\n" + table.text(result.value))
    print(f"\nwritten: {options.json}", file=sys.stderr)


def earlier(path):
    """The JSON of an earlier run."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise Failed(f"{path}: {problem}") from None


def measure(options, aside):
    """Measures everything that was asked for."""
    # First, so that the load does not include our own build.
    before = machine.describe()
    work = Work(options, aside, *programs())
    result = Result(options, work.cores, before)
    for tasks in work.parts():
        with contextlib.closing(tasks):
            for task in tasks:
                result.add(task)
    result.complete()
    return result


def parse():
    parser = argparse.ArgumentParser(prog="launch/compare", add_help=False, allow_abbrev=False)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=["training", "sampling", "midi"])
    parser.add_argument("--cores", type=int, choices=[1, 2])
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--music", type=pathlib.Path)
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "runs/compare.json")
    parser.add_argument("--table", type=pathlib.Path)
    options = parser.parse_args()
    if options.rounds is None:
        options.rounds = 2 if options.quick else 5
    if options.rounds < 1:
        parser.error("--rounds: at least 1")
    # Relative to where the caller stands, not to the root.
    for name in ("music", "json", "table"):
        path = getattr(options, name)
        setattr(options, name, path and path.absolute())
    return options


def programs():
    """Builds our programs and installs the peers, if necessary."""
    prepare("launch/setup", "--peers")
    if programs_given():
        return [os.path.abspath(os.environ[name]) for name in ("BACHDIST", "SAMPLE")]
    prepare("cargo", "build", "--release", "--workspace")
    return [str(ROOT / "target/release" / name) for name in ("bachdist", "sample")]


def prepare(*command):
    """Runs a command that the comparison needs; it prints its own errors."""
    try:
        subprocess.run(command, stdout=sys.stderr, check=True)
    except (OSError, subprocess.CalledProcessError) as problem:
        raise Failed(str(problem)) from None


def programs_given():
    """Whether the caller provides the programs, which may be built from another commit than this checkout."""
    return all(os.environ.get(name) for name in ("BACHDIST", "SAMPLE"))


class Result:
    """The JSON. It is written after every task, so that an interrupted run loses nothing."""

    def __init__(self, options, cores, before):
        self.options = options
        self.value = {
            "complete": False,
            "quick": options.quick,
            "rounds": options.rounds,
            "cores": cores,
            "built_here": not programs_given(),
            "machine": before,
            "versions": {},
            "tasks": [],
        }

    def add(self, task):
        """Measures a task and writes the JSON."""
        group, work, cores, unit, contenders, works = task
        say(f"{group}, {work}, {cores} core{'s' * (cores > 1)}")
        rates = {contender.name: [] for contender in contenders}
        errors = {}
        pairs = list(zip(contenders, works))
        for number in range(self.options.rounds):
            first = number % len(pairs)
            for contender, its_work in pairs[first:] + pairs[:first]:
                if contender.name in errors:
                    continue
                try:
                    rates[contender.name].append(contender.measure(its_work))
                except Failed as problem:
                    errors[contender.name] = str(problem)
                    say(f"  {contender.name}: {problem}")
        found = summaries(rates, errors)
        for contender in contenders:
            self.value["versions"] |= contender.described.get("versions", {})
            found[contender.name]["settings"] = contender.described.get("settings", {})
        row = {"group": group, "work": work, "cores": cores, "unit": unit, "contenders": found}
        self.value["tasks"].append(row)
        self._write()

    def complete(self):
        """Marks the run as complete."""
        self.value["complete"] = True
        self.value["machine"]["load_after"] = os.getloadavg()[0]
        self._write()

    def _write(self):
        self.options.json.parent.mkdir(parents=True, exist_ok=True)
        self.options.json.write_text(json.dumps(self.value, indent=1) + "\n", encoding="utf-8")


def summaries(rates, errors):
    """Rounds with their median and range; for each peer also ours / theirs, round by round."""
    found = {}
    for name, rounds in rates.items():
        if name in errors:
            found[name] = {"error": errors[name], "rounds": rounds}
            continue
        found[name] = {"rounds": rounds, **spread(rounds)}
        if name != "ours" and "ours" not in errors:
            found[name]["ratio"] = spread([ours / theirs for ours, theirs in zip(rates["ours"], rounds)])
    return found


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def say(line):
    print(f"compare: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
