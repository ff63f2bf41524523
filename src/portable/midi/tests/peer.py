"""What pretty_midi reads from each *.mid file of a folder: one JSON object a line, in the order of names.

Times are the 64 bits of a double as an integer, so that the comparison is exact. A file that pretty_midi
refuses has only `file` and `error`.

    python peer.py FOLDER
"""

import json
import struct
import sys
import warnings
from pathlib import Path

import pretty_midi

warnings.simplefilter("ignore")


def bits(value):
    return struct.unpack(">Q", struct.pack(">d", value))[0]


def describe(path):
    try:
        midi = pretty_midi.PrettyMIDI(str(path))
        times, tempi = midi.get_tempo_changes()
        end = midi.get_end_time()
    except Exception as error:  # any exception is a refusal
        return {"error": f"{type(error).__name__}: {error}"}
    instruments = [
        {
            "program": int(instrument.program),
            "is_drum": bool(instrument.is_drum),
            "name": instrument.name,
            "notes": [[n.pitch, n.velocity, bits(n.start), bits(n.end)] for n in instrument.notes],
        }
        for instrument in midi.instruments
    ]
    return {
        "instruments": instruments,
        "resolution": midi.resolution,
        "end": bits(end),
        "tempi": [[bits(time), bits(tempo)] for time, tempo in zip(times, tempi)],
    }


for path in sorted(Path(sys.argv[1]).glob("*.mid")):
    print(json.dumps({"file": path.name, **describe(path)}))
