"""Run the notebooks on a real Jupyter kernel, keep their outputs, and write pages to look at.

    python tools/course.py [NAME ...] [--flags "slow gpu"] [--pages-only]

Cells that carry a flag of `tst_flags` (settings.ini) are skipped unless --flags names it, and keep the output they have.
"""
import argparse
import os
import sys
import time
from configparser import ConfigParser

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbdev.clean import nbdev_clean
from nbdev.process import first_code_ln
from pages import NBS, PAGES, ROOT, add_playground, write_pages
from tqdm import tqdm

# for the kernels: glibc keeps memory that was freed, as in check.py; a network's passes take up to a third less time
os.environ |= {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}
os.environ["DIFFMNIST_SLOW"] = "1"  # which cells run is decided here


def skipped_flags(wanted):
    "The flags of settings.ini whose cells are not to run."
    config = ConfigParser(delimiters=["="])
    config.read(ROOT / "settings.ini", encoding="utf-8")
    return set(config["DEFAULT"]["tst_flags"].split()) - set(wanted)


def runs(cell, skip):
    "Whether a code cell is to run: no `#| flag` among its leading directives is in `skip`, nor `#| eval: false`."
    lines = cell.source.splitlines(keepends=True)
    head = [line.strip().removeprefix("#|").strip() for line in lines[: first_code_ln(lines) or 0] if line.startswith("#|")]
    return not any(d in skip or d.replace(" ", "") == "eval:false" for d in head)


def run_notebook(path, skip, place):
    "Execute the notebook on a kernel of its own and save it in place; return an error message, or None."
    nb = nbformat.read(path, as_version=4)
    client = NotebookClient(nb, timeout=None, kernel_name="python3", coalesce_streams=True, resources={"metadata": {"path": str(NBS)}})
    todo = [i for i, c in enumerate(nb.cells) if c.cell_type == "code" and c.source.strip() and runs(c, skip)]
    error = None
    with client.setup_kernel(), tqdm(todo, desc=path.stem, position=place, leave=False, unit="cell") as bar:
        for i in bar:
            try:
                client.execute_cell(nb.cells[i], i)
            except CellExecutionError as err:
                error = f"cell {i} of {path.name}: {err.ename}: {err.evalue}"
                break
            except DeadKernelError:
                return f"cell {i} of {path.name}: the kernel died (out of memory?)"
    save(path, nb)
    return error


def save(path, nb):
    "Write the notebook under a temporary name, rename it, and clean it as nbdev does; live widgets leave no trace."
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if "application/vnd.jupyter.widget-view+json" not in o.get("data", {})]
    tmp = path.with_suffix(".tmp")
    tmp.write_text(nbformat.writes(nb, version=4) + "\n", encoding="utf-8")
    os.replace(tmp, path)
    nbdev_clean(str(path))


def main():
    parser = argparse.ArgumentParser(description="Run the course's notebooks and write pages to _course/index.html.")
    parser.add_argument("names", nargs="*", help="notebooks to run, such as 03_ddpm; all by default")
    parser.add_argument("--flags", default="", help="run cells with these flags too, such as 'slow gpu'")
    parser.add_argument("--pages-only", action="store_true", help="run nothing, only write the pages")
    args = parser.parse_args()
    paths = sorted(NBS.glob("*.ipynb"))
    unknown = set(args.names) - {p.stem for p in paths}
    if unknown:
        sys.exit(f"no notebook named {', '.join(sorted(unknown))}: there are {', '.join(p.stem for p in paths)}")
    errors = []
    if not args.pages_only:
        chosen = [p for p in paths if not args.names or p.stem in args.names]
        bar = tqdm(chosen, desc="course", unit="notebook")
        for p in bar:
            start = time.perf_counter()
            errors.append(run_notebook(p, skipped_flags(args.flags.split()), 1))
            bar.write(f"{p.stem:35} {time.perf_counter() - start:6.1f} s  {errors[-1] or 'ok'}")
    add_playground(PAGES)
    write_pages()
    print(f"open {PAGES / 'index.html'}")
    sys.exit(any(errors))


if __name__ == "__main__":
    main()
