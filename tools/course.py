"""Run the notebooks on a real Jupyter kernel, keep their outputs, and write pages to look at.

    python tools/course.py [NAME ...] [--flags "slow gpu"] [--pages-only]

Cells that carry a flag of `tst_flags` (settings.ini) are skipped unless --flags names it, and keep the output they have.
"""
import argparse
import os
import re
import sys
import time
from configparser import ConfigParser
from html import escape
from pathlib import Path

import nbformat
from latex2mathml.converter import convert as to_mathml
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbconvert import HTMLExporter
from nbdev.clean import nbdev_clean
from nbdev.process import first_code_ln
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
NBS, PAGES = ROOT / "nbs", ROOT / "_course"
# for the kernels: glibc keeps memory that was freed, as in check.py; a network's passes take up to a third less time
os.environ |= {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}


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


def with_mathml(text):
    "Formulas as MathML, which browsers draw without a network; code is left alone."
    parts = re.split(r"(```.*?```|`[^`\n]*`)", text, flags=re.S)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"\$\$(.+?)\$\$", lambda m: to_mathml(m[1].strip(), display="block"), parts[i], flags=re.S)
        parts[i] = re.sub(r"(?<![\\$\w])\$([^$\n]+?)\$", lambda m: to_mathml(m[1].strip()), parts[i])
    return "".join(parts)


def for_readers(cells):
    "The cells as a reader wants them: no hidden ones, no directives, formulas as MathML, links to pages."
    for cell in cells:
        lines = cell.source.splitlines()
        directives = [line.removeprefix("#|").strip() for line in lines if line.startswith("#|")]
        cell.source = "\n".join(line for line in lines if not line.startswith("#|"))
        cell.metadata["alt"] = next((d.removeprefix("fig-alt:").strip() for d in directives if d.startswith("fig-alt:")), "picture drawn by the cell above")
        if cell.cell_type == "markdown":
            cell.source = with_mathml(re.sub(r"\]\((\w+)\.ipynb(#[^)]*)?\)", r"](\1.html\2)", cell.source))
        if "echo: false" in directives:
            cell.source = ""
        if "hide" not in directives and (cell.source.strip() or cell.get("outputs")):
            yield cell


def write_page(path, links):
    "One notebook as an HTML page with its pictures inside."
    nb = nbformat.read(path, as_version=4)
    nb.cells = list(for_readers(nb.cells))
    exporter = HTMLExporter(mathjax_url="", require_js_url="", mermaid_js_url="", jquery_url="", sanitize_html=False,
                            exclude_input_prompt=True, exclude_output_prompt=True)
    body, _ = exporter.from_notebook_node(nb, {"metadata": {"name": path.stem}})
    alts = iter([escape(c.metadata["alt"]) for c in nb.cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})])
    body = re.sub("No description has been provided for this image", lambda _: next(alts), body)  # which is what nbconvert gives all of them
    style = "<style>main{max-width:62em;margin:0 auto;padding:0 1em}nav{padding:.7em 2em;font:14px sans-serif}nav a{margin-right:1em}</style>"
    body = body.replace("</head>", style + "</head>", 1).replace("<main>", f"<nav>{links}</nav><main>", 1)
    (PAGES / f"{path.stem}.html").write_text(body, encoding="utf-8")


def write_pages(paths):
    "All notebooks as pages; index.ipynb becomes the first one."
    PAGES.mkdir(exist_ok=True)
    names = {p.stem: "diffmnist" if p.stem == "index" else p.stem.split("_")[0] for p in paths}
    links = "".join(f"<a href='{k}.html' title='{k}'>{v}</a>" for k, v in sorted(names.items(), key=lambda kv: kv[0] != "index"))
    for p in tqdm(paths, desc="pages", unit="page"):
        write_page(p, links)


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
    write_pages(paths)
    print(f"open {PAGES / 'index.html'}")
    sys.exit(any(errors))


if __name__ == "__main__":
    main()
