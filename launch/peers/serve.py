"""The loop of a peer that is started once and answers many questions.

`compare.py` writes one JSON object a line to standard input and reads one line back. Between two questions a peer waits
in `readline`, so that it takes no processor time from whoever is measured then. What a peer measures is its own affair.
"""

import json
import sys
import traceback


def serve(describe, answer):
    """Prints what `describe()` returns, then answers each question with `answer(**question)`, until input ends."""
    # Frameworks print to standard output, which must carry answers only.
    out, sys.stdout = sys.stdout, sys.stderr

    def say(value):
        print(json.dumps(value), file=out, flush=True)

    try:
        say(describe())
        for line in sys.stdin:
            say(answer(**json.loads(line)))
    except Exception as problem:  # any error becomes a row of the table
        traceback.print_exc()
        lines = str(problem).strip().splitlines() or [""]
        say({"error": f"{type(problem).__name__}: {lines[0]}"})
        sys.exit(1)
