"""The table of docs/performance.md, from what is in docs/bench."""

import json

from .report import WORD

BEGIN, END = "<!-- measured -->", "<!-- end of what was measured -->"
TIMES = {"speed": "× as fast", "time": "× as long"}


def renew(page, folder, areas):
    """Writes the table anew: all that something is asked of, in the order of the areas."""
    documents = [json.loads(path.read_text()) for area in areas
                 if (path := folder / f"{area}.json").exists()]
    before, rest = page.read_text().split(BEGIN)
    after = rest.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n{_table(documents)}\n{END}{after}")


def _table(documents):
    machines = "; ".join(dict.fromkeys(document["machine"] for document in documents))
    lines = [f"Measured on {machines}.", "",
             "| area | what | asked for | median | lowest to highest | |", "|---|---|---|---:|---:|---|"]
    for document in documents:
        for compared in document["comparisons"]:
            if compared["target"] is not None and compared["figure"] is not None:
                lines.append(_row(document, compared))
    return "\n".join(lines)


def _row(document, compared):
    kind, label = compared["kind"], compared["label"]
    units = {f"{series['what']}: {series['side']}": series["unit"] for series in document["results"]}
    said = f"{WORD[kind]} {compared['target']:g} {TIMES.get(kind) or units[label]}"
    middle = f"{compared['figure']:.2f}" + (f" {units[label]}" if kind == "value" else "")
    reach = f"{compared['min']:.2f} to {compared['max']:.2f}"
    outcome = "met" if compared["met"] else "**short**"
    return f"| {document['area']} | {label} | {said} | {middle} | {reach} | {outcome} |"
