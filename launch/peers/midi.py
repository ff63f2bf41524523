"""symusic's and pretty_midi's contenders in reading: from a file in the page cache to notes in seconds.

    midi.py symusic|pretty_midi FOLDER
"""

import importlib.metadata
import pathlib
import sys
import time
import warnings

from serve import serve


def reader(peer):
    """A function from a path to the number of notes in that file, all instruments together."""
    if peer == "symusic":
        import symusic

        # In seconds, as the other two.
        return lambda path: sum(len(track.notes) for track in symusic.Score(path, ttype="Second").tracks)
    import pretty_midi

    warnings.simplefilter("ignore")
    return lambda path: sum(len(instrument.notes) for instrument in pretty_midi.PrettyMIDI(path).instruments)


def main():
    peer, folder = sys.argv[1:]
    read = reader(peer)
    paths = sorted(str(path) for path in pathlib.Path(folder).rglob("*.mid"))

    def answer(files):
        some = paths[:files]
        for path in some[:36]:
            read(path)
        begin = time.perf_counter()
        notes = sum(read(path) for path in some)
        return {"files": len(some), "notes": notes, "seconds": time.perf_counter() - begin}

    serve(lambda: {"versions": {peer: importlib.metadata.version(peer)}}, answer)


if __name__ == "__main__":
    main()
