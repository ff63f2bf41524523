"""The machine: which cores are used, and what is recorded about them beside every figure."""

import datetime
import os
import pathlib
import platform
import subprocess


def cores():
    """Processors this process may use, one of each physical core: two threads of a core are not two cores."""
    found = {}
    for processor in sorted(os.sched_getaffinity(0)):
        siblings = pathlib.Path(f"/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list")
        core = siblings.read_text().strip() if siblings.exists() else processor
        found.setdefault(core, processor)
    return list(found.values())


def describe():
    """Hardware, system, commit and date."""
    model = [line.split(":", 1)[1].strip() for line in _output("lscpu").splitlines() if line.startswith("Model name")]
    flags = pathlib.Path("/proc/cpuinfo").read_text().split()
    widest = [name for name in ("avx512f", "avx2", "avx") if name in flags]
    return {
        "processor": model[0] if model else platform.processor() or platform.machine(),
        "vectors": widest[0] if widest else "",
        "cores": len(cores()),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": platform.platform(),
        "load": os.getloadavg()[0],
        "commit": _output("git", "describe", "--always", "--dirty", "--abbrev=10") or "no checkout",
        "mpi": _output("mpirun", "--version").splitlines()[:1],
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _output(*command):
    """A program's output; empty if there is no such program."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""
