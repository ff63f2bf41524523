"""Steps of bachdist and of PyTorch with cuDNN on one GPU, in turns: prints medians and ratios, asserts no time.

    speed.py BACHDIST MUSIC [--rounds 5] [--json FILE]      MUSIC: a folder of MIDI files with many windows

Ours is the median step of `metrics.jsonl`, the first left out, with the loss of every step read; the peer's is the mean
step, and it reads nothing. Both at their defaults, which are the same: TF32 in cuDNN's layers, f32 in other products.
"""

import argparse
import json
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

BATCHES = [64, 4096]
WARM_UP, STEPS = 20, 100


def ours(bachdist, music, device, batch, lanes):
    """Seconds of a step."""
    with tempfile.TemporaryDirectory() as run:
        settings = {
            "data.midi": music,
            "data.max_notes": 1000,
            "train.batch_size": batch,
            "train.lanes": lanes,
            "train.max_steps": WARM_UP + STEPS,
            "train.device": device,
            "checkpoint.url": run,
            "checkpoint.every_steps": 100_000,
        }
        words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        subprocess.run([bachdist, "train", "configs/cello.toml", *words], check=True, stdout=subprocess.DEVNULL)
        lines = pathlib.Path(run, "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    steps = [entry for entry in map(json.loads, lines) if entry["kind"] == "step"]
    # An epoch's last batch has fewer windows, but the median does not see it.
    return statistics.median(batch / step["windows_per_second"] for step in steps[WARM_UP:])


def peer(device, batch, form):
    """What the peer says of its steps."""
    script = pathlib.Path(__file__).with_name("peer.py")
    words = ["--batch", batch, "--form", form, "--warm-up", WARM_UP, "--steps", STEPS, "--device", device]
    command = [sys.executable, str(script), *map(str, words)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bachdist")
    parser.add_argument("music")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args()
    record = {"host": platform.node(), "warm_up": WARM_UP, "steps": STEPS, "batches": {}}
    for batch in BATCHES:
        seconds = {"bachdist, 1 lane": [], "bachdist, 8 lanes": [], "PyTorch, stacked": [], "PyTorch, layers": []}
        for _ in range(arguments.rounds):
            for lanes, name in [(1, "bachdist, 1 lane"), (8, "bachdist, 8 lanes")]:
                seconds[name].append(ours(arguments.bachdist, arguments.music, arguments.device, batch, lanes))
            for form in ["stacked", "layers"]:
                said = peer(arguments.device, batch, form)
                seconds[f"PyTorch, {form}"].append(said.pop("seconds"))
                record |= said
        medians = {name: statistics.median(rounds) for name, rounds in seconds.items()}
        record["batches"][batch] = {"rounds": seconds, "medians": medians}
        print(f"gpu: batch {batch}: milliseconds a step, {arguments.rounds} rounds in turns, medians")
        one = medians["bachdist, 1 lane"]
        for name, median in medians.items():
            print(f"gpu:   {name:18} {1000 * median:9.3f}   {median / one:5.2f} × ours with 1 lane")
    # Of both sides: neither changes what libtorch does by default.
    print(f"gpu: {record['device']}, torch {record['torch']}, cuDNN {record['cudnn']}, TF32 in cuDNN's layers: "
          f"{record['cudnn_tf32']}, in other products: {record['matmul_tf32']}")
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
