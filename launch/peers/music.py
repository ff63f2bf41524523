"""The training music of all contenders: windows of 20 notes and the note that follows.

The classes are made once, from `bachdist data inspect --json --notes`, and read by every peer from a file.
"""

import json

CLASSES = 79
WINDOW = 20
NOTES = 1000


def classes(inspected):
    """Each file as the article encodes it: the first notes of its first instrument, with token = pitch - 1."""
    pieces = []
    for file in inspected["files"]:
        notes = file["instruments"][0]["notes"][:NOTES]
        pieces.append([pitch - 1 for pitch, *_ in notes])
    return pieces


def windows(path):
    """All windows of the file's pieces, as lists: 20 tokens each, and the token that follows."""
    with open(path, encoding="utf-8") as file:
        pieces = json.load(file)
    places = [(piece, at) for piece in pieces for at in range(len(piece) - WINDOW)]
    return [piece[at : at + WINDOW] for piece, at in places], [piece[at + WINDOW] for piece, at in places]
