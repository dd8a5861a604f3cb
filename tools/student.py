"""The student edition: the notebooks with the lines left out that nbs/study/student.yml names.

    python tools/student.py [FOLDER]              write it; a notebook that is there already is left alone
    python tools/student.py --check               every line stands in its cell, once, and filling the blanks in gives the notebooks back
    python tools/student.py --try NAME            without any one of a notebook's lines some cell must fail
"""
import argparse
import json
import os
import re
import shutil
import sys
from copy import deepcopy
from pathlib import Path

import yaml
from course import NBS, ROOT, runs, skipped_flags
from execnb.shell import CaptureShell

from diffmnist.core import atomic

MARK = "  # your line: "
# what stays of a line: `x_t = alpha * x0 + ...` becomes `x_t = ...`; mind that dots are a valid index, and do not leave one out
HEAD = re.compile(r"""(?:return |yield |[\w.,*\[\]:"' ]+? [-+*/]?= )?""")


def blanks():
    "The lines to leave out: {notebook: [{cell, line, say}, ...]}."
    return yaml.safe_load((NBS / "study" / "student.yml").read_text(encoding="utf-8"))


def read(name):
    return json.loads((NBS / f"{name}.ipynb").read_text(encoding="utf-8"))


def blank(line, say):
    "The line with its idea left out."
    return f"{HEAD.match(line)[0]}...{MARK}{say}"


def left_out(nb, entries, back=False):
    "The notebook with these lines left out; or, from one with blanks, with the lines put back. ValueError if a line does not stand in its cell exactly once."
    cells = {c["id"]: c for c in nb["cells"]}
    for entry in entries:
        if not isinstance(entry["cell"], str):
            raise ValueError(f"put the cell's ID {entry['cell']} into quotes: it looks like a number")
        old, new = entry["line"], blank(entry["line"], entry["say"])
        old, new = (new, old) if back else (old, new)
        lines = cells.get(entry["cell"], {"source": []})["source"]
        places = [i for i, line in enumerate(lines) if line.strip() == old]
        if len(places) != 1:
            raise ValueError(f"the line {old!r} stands {len(places)} times in the cell {entry['cell']}")
        lines[places[0]] = lines[places[0]].replace(old, new)
    return nb


def edition(name, entries):
    "The notebook as the student gets it: lines left out, no outputs, and without the hidden cells that solve the exercises."
    nb, solving, cells = left_out(read(name), entries), False, []
    for cell in nb["cells"]:
        source = "".join(cell["source"])
        solving |= "## Exercises" in source.splitlines()
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
        if not (solving and cell["cell_type"] == "code" and re.match(r"(#\|.*\n)*#\| hide\n", source)):
            cells.append(cell)
    return nb | {"cells": cells}


def write(folder):
    "Write every notebook that is not there yet; pictures that they show go with them."
    shutil.copytree(NBS / "images", folder / "images", dirs_exist_ok=True)  # which nobody edits
    kept = 0
    for path in sorted(NBS.glob("*.ipynb")):
        if (folder / path.name).exists():
            kept += 1
            continue
        text = json.dumps(edition(path.stem, blanks().get(path.stem, [])), indent=1, ensure_ascii=False)
        with atomic(folder / path.name) as tmp:
            tmp.write_text(text, encoding="utf-8")
    print(f"The student edition is in {folder}" + (f"; {kept} notebooks that were there already are as they were." if kept else "."))


def check(chosen=None):
    "What is wrong with student.yml, a line a fault; of all notebooks, or of one."
    for name, entries in ((k, v) for k, v in blanks().items() if chosen in (None, k)):
        try:
            nb = left_out(read(name), entries)
            if left_out(nb, entries, back=True) != read(name):
                yield f"{name}: filled in, it is not the same notebook"
        except (KeyError, ValueError, OSError) as err:
            yield f"{name}: {err}"


def unnoticed(name, ahead=6):
    "Run a notebook; before each cell with lines to leave out, run it without each of them, and up to `ahead` cells more: which lines does no cell miss?"
    os.environ["IN_TEST"] = "1"
    os.chdir(NBS)
    shell, skip = CaptureShell(), skipped_flags([])

    def fails(cells):
        "The ID of the first of these cells that fails."
        for cell in cells:
            shell.run("".join(cell["source"]))
            if shell.exc:
                return cell["id"]

    cells = [c for c in read(name)["cells"] if c["cell_type"] == "code" and runs(argparse.Namespace(source="".join(c["source"])), skip)]
    last = max(i for i, cell in enumerate(cells) if cell["id"] in {entry["cell"] for entry in blanks()[name]})
    for i, cell in enumerate(cells[: last + 1]):
        for entry in blanks()[name]:
            if entry["cell"] == cell["id"]:
                broken = left_out({"cells": deepcopy(cells[i : i + ahead])}, [entry])["cells"]
                if found := fails(broken):
                    print(f"{name}: without {entry['line']!r} cell {found} fails", flush=True)
                else:
                    yield f"{name}: nothing fails without {entry['line']!r}"
        if fails([cell]):
            yield f"{name}: cell {cell['id']} fails with all its lines: {shell.exc}"
            return


def main():
    parser = argparse.ArgumentParser(description="Write the student edition.")
    parser.add_argument("folder", nargs="?", default=ROOT / "student", type=Path, help="where to; the folder student by default")
    parser.add_argument("--check", action="store_true", help="write nothing, check the list of lines")
    parser.add_argument("--try", dest="name", help="leave out each line of this notebook alone, and see that a cell fails")
    args = parser.parse_args()
    faults = list(check(args.name))
    if args.name and args.name not in blanks():
        faults.append(f"student.yml names no lines of {args.name}")
    if not faults and args.name:
        faults = list(unnoticed(args.name))
    if faults:
        sys.exit("\n".join(faults))
    if not args.check and not args.name:
        write(args.folder)


if __name__ == "__main__":
    main()
