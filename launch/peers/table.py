"""A comparison as text for a terminal of 80 columns, and as Markdown for docs/results.md. Both read the JSON alone."""

import textwrap

NOTES = [
    "Medians over rounds. × is ours / theirs, the median of per-round ratios; the text also gives min and max. "
    "Contenders alternate on the same cores, and the others sleep.",
    "Training: the article's network (3 LSTM layers of 256, dropout 0.3, RMSprop), windows of 20, without warm-up. "
    "Each draws dropout with its own generator. Ours: 8 lanes, one rank with one thread per core. PyTorch eager and "
    "Keras: one process, one thread per core; DDP: gloo, one process with one thread per core. PyTorch has its inputs "
    "one-hot before the clock starts; Keras' epoch is shortened to the measured steps.",
    "Sampling: ours is the whole process with its start-up, its certificate and the written MIDI file, with a nucleus "
    "of 0.9; theirs is the loop alone, without start-up or file, taking the most probable note.",
    "Reading: from path to notes, files in the page cache. Ours is `data inspect`, which also looks for problems, by "
    "its own clock.",
]


def text(result):
    """The table."""
    lines = [*_head(result), ""]
    for group, tasks in _groups(result):
        lines.append(f"{group:<41}{'ours':>9}{'theirs':>9}   {'×':>6}")
        for task in tasks:
            label = task["work"]
            for name, peer in _peers(task):
                lines.append(_row(f"  {label:<22} {name}", task, peer))
                lines += _reason(peer)
                label = ""
            lines += _reason(task["contenders"]["ours"])
        lines.append("")
    for note in NOTES:
        lines.extend(textwrap.wrap(note, 80))
    return "\n".join(lines)


def markdown(result):
    """One table for each kind of work: a column for ours and for each peer."""
    lines = _head(result)
    for group, tasks in _groups(result):
        names = list(dict.fromkeys(name for task in tasks for name, _ in _peers(task)))
        lines += ["", f"| {group} | ours | {' | '.join(names)} |", "|---" * (2 + len(names)) + "|"]
        for task in tasks:
            cells = [_cell(task["contenders"].get(name)) for name in names]
            lines.append(f"| {task['work']} | {_figure(task['contenders']['ours'])} | {' | '.join(cells)} |")
    lines.append("")
    for note in NOTES:
        lines.extend(textwrap.wrap(note, 118, initial_indent="- ", subsequent_indent="  "))
    return "\n".join(lines)


def _head(result):
    machine = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    cores = " and ".join(map(str, result["cores"]))
    lines = [
        f"{machine['processor']} ({machine['vectors']}), {machine['cores']} cores, {machine['memory_gb']} GB; "
        f"measured on {cores}",
        f"commit {machine['commit']}, {machine['date']}, {result['rounds']} rounds; {versions}",
    ]
    if result["quick"]:
        lines.append("QUICK: short rounds, for a trial. Do not quote these figures.")
    if machine["load"] > 0.5:
        lines.append(f"NOT IDLE: load {machine['load']:.1f} before the first round. Do not quote these figures.")
    if not result["built_here"]:
        lines.append("Programs from BACHDIST and SAMPLE, not necessarily built from this commit.")
    if not result["complete"]:
        lines.append("INCOMPLETE: the run was interrupted.")
    return [line for entry in lines for line in textwrap.wrap(entry, 80)]


def _groups(result):
    """Tasks under their headings, in the order of the run."""
    groups = {}
    for task in result["tasks"]:
        cores = "1 core" if task["cores"] == 1 else f"{task['cores']} cores"
        groups.setdefault(f"{task['group']}, {task['unit']}, {cores}", []).append(task)
    return groups.items()


def _peers(task):
    return [(name, peer) for name, peer in task["contenders"].items() if name != "ours"]


def _row(label, task, peer):
    ours = task["contenders"]["ours"]
    line = f"{label:<41}{_figure(ours):>9}{_figure(peer):>9}"
    if "ratio" in peer:
        ratio = peer["ratio"]
        return f"{line}   {_ratio(ratio['median']):>6}  {_ratio(ratio['min'])} to {_ratio(ratio['max'])}"
    return line


def _reason(contender):
    """The reason why it has no figure; empty if it has one."""
    reason = textwrap.shorten(contender.get("error", ""), 220, placeholder=" ...")
    return textwrap.wrap(reason, 80, initial_indent="    ", subsequent_indent="    ")


def _cell(peer):
    if peer is None:
        return ""
    ratio = f" (× {_ratio(peer['ratio']['median'])})" if "ratio" in peer else ""
    return _figure(peer) + ratio


def _figure(contender):
    return f"{contender['median']:,.0f}" if "median" in contender else "failed"


def _ratio(value):
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"
