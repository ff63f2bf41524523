"""Parallels as music21's voice leading finds them.

    python voice_leading.py < PIECES.json

The question is a list of pieces, a piece a list of frames, a frame a list of MIDI pitches, the same number in each. The
answer has for each piece how many pairs of voices move in parallel fifths and in parallel octaves or unisons from a frame to
the next.

music21 asks for fifths by name, so that C# to A-flat is none. MIDI pitches have no names; each pair is tried with sharps and
with flats, one of which names every fifth.
"""

import json
import sys
from functools import cache

from music21 import note, pitch, voiceLeading

SHARPS = ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"]
FLATS = ["C", "D-", "D", "E-", "E", "F", "G-", "G", "A-", "A", "B-", "B"]


@cache
def named(names, midi):
    return note.Note(pitch.Pitch(names[midi % 12], octave=midi // 12 - 1))


@cache
def parallels(pairs):
    found = [False, False]
    for names in (tuple(SHARPS), tuple(FLATS)):
        quartet = voiceLeading.VoiceLeadingQuartet(*(named(names, midi) for midi in pairs))
        # It also has antiparallels, as it calls fifths and octaves by contrary motion.
        found[0] |= quartet.similarMotion() and quartet.parallelFifth()
        found[1] |= quartet.similarMotion() and quartet.parallelUnisonOrOctave()
    return found


def count(piece):
    fifths = octaves = 0
    for before, after in zip(piece[:-1], piece[1:]):
        for upper in range(len(before)):
            for lower in range(upper + 1, len(before)):
                pairs = (before[upper], after[upper], before[lower], after[lower])
                if pairs[0] != pairs[1] and pairs[2] != pairs[3] and min(pairs) >= 0:
                    fifth, octave = parallels(pairs)
                    fifths += fifth
                    octaves += octave
    return [fifths, octaves]


json.dump([count(piece) for piece in json.load(sys.stdin)], sys.stdout)
