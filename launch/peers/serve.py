"""The loop of a peer that is started once and asked again and again.

`compare.py` writes one JSON object a line to standard input and reads one line back. Between two questions a peer waits
in `readline`, so that it takes no processor time from whoever is measured then. What a peer measures is its own affair.
"""

import json
import sys
import traceback


def serve(describe, answer):
    """Says what `describe()` returns, then answers each question by `answer(**question)`, until there are no more."""
    # Frameworks print what they like; standard output carries answers alone.
    out, sys.stdout = sys.stdout, sys.stderr

    def say(value):
        print(json.dumps(value), file=out, flush=True)

    try:
        say(describe())
        for line in sys.stdin:
            say(answer(**json.loads(line)))
    except Exception as problem:  # whatever it is, it becomes a row of the table
        traceback.print_exc()
        lines = str(problem).strip().splitlines() or [""]
        say({"error": f"{type(problem).__name__}: {lines[0]}"})
        sys.exit(1)
