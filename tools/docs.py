"""Build the documentation site with Quarto: the notebooks, as readers want them, go to _proc, and Quarto renders that folder into _docs.

    python tools/docs.py

nbdev_docs is not used: it rewrites README.md if that is older than index.ipynb, leaves out what stands below a notebook's title and promise,
and shows definitions twice. The order of pages is that of _quarto.yml, and cells are folded and left out as in the pages of pages.py.
"""
import json
import os
import re
import shutil
import subprocess
import sys

import nbformat
import yaml
from nbdev.quarto import refresh_quarto_yml
from pages import NBS, ROOT, directives, fold, heading_name, read_pages

PROC, SITE = ROOT / "_proc", ROOT / "_docs"


def with_names(text):
    "Markdown with its headings named as JupyterLab names them; Quarto's own names differ, and links would be dead."
    parts = re.split(r"(```.*?```)", text, flags=re.S)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"^(##+) (.+)$", lambda m: f'{m[0]} {{id="{heading_name(m[2])}"}}', parts[i], flags=re.M)
    return "".join(parts)


def for_site(page):
    "A notebook's cells for Quarto: the title with its number, nothing hidden, no directives but Quarto's, what only imports or tests folded."
    first, *cells = page.cells
    promise = re.search(r"^> (.+)$", first.source, flags=re.M)
    head = {"title": page.name(), "description": promise[1] if promise else ""}
    yield nbformat.v4.new_raw_cell(f"---\n{yaml.safe_dump(head, allow_unicode=True)}---", id="front-matter")
    first.source = re.sub(r"^# .+\n*|^> .+\n*", "", first.source, flags=re.M)
    for cell in [first, *cells]:
        given, cell.source = directives(cell)
        if "hide" in given or not cell.source and not cell.get("outputs"):
            continue
        if cell.cell_type == "markdown":
            cell.source = with_names(cell.source)
        else:
            kept = {key: given[key] for key in ("echo", "fig-alt") if key in given}
            if summary := fold(cell.source, given, cell.outputs):
                kept |= {"code-fold": "true", "code-summary": summary}
            lines = [f"#| {key}: {value if value in ('true', 'false') else json.dumps(value, ensure_ascii=False)}" for key, value in kept.items()]
            cell.source = "\n".join([*lines, cell.source])
        yield cell


def prepare():
    "Everything that Quarto needs, in _proc."
    os.chdir(ROOT)  # where nbdev looks for settings.ini
    shutil.rmtree(PROC, ignore_errors=True)
    PROC.mkdir()
    refresh_quarto_yml()  # nbdev.yml, from settings.ini
    for name in ("_quarto.yml", "nbdev.yml", "site.css"):
        shutil.copy(NBS / name, PROC)
    shutil.copytree(NBS / "images", PROC / "images")
    kernel = {"name": "python3", "display_name": "python3", "language": "python"}
    for page in read_pages():
        nbformat.write(nbformat.v4.new_notebook(cells=list(for_site(page)), metadata={"kernelspec": kernel}), PROC / f"{page.stem}.ipynb")


def main():
    prepare()
    if not shutil.which("quarto"):
        sys.exit(f"{PROC} is ready; to render it needs Quarto: https://quarto.org/docs/get-started/")
    subprocess.run(["quarto", "render", "--no-cache"], cwd=PROC, check=True)
    shutil.rmtree(SITE, ignore_errors=True)
    shutil.move(PROC / SITE.name, SITE)


if __name__ == "__main__":
    main()
