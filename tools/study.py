"""Write nbs/glossary.ipynb (symbols, glossary, bibliography) and nbs/formulas.ipynb from the data in nbs/study, and check what the notebooks link to.

    python tools/study.py [--check]
"""
import argparse
import json
import re
import sys
from pathlib import Path

import yaml

NBS = Path(__file__).resolve().parent.parent / "nbs"
LINK = re.compile(r"\]\(glossary\.ipynb#([^)]+)\)")
PAPER = re.compile(r"\]\((https://(?:arxiv\.org|doi\.org|openreview\.net|jmlr\.org)(?:[^\s()]|\([^\s()]*\))*)\)")


def data(name):
    "One of the files in nbs/study."
    return yaml.safe_load((NBS / "study" / f"{name}.yml").read_text(encoding="utf-8"))


def title(stem):
    "The title of a notebook."
    cells = json.loads((NBS / f"{stem}.ipynb").read_text(encoding="utf-8"))["cells"]
    return "".join(cells[0]["source"]).splitlines()[0].removeprefix("# ")


def link(stem):
    "A link to a notebook, by its number and title."
    return f"[{stem.partition('_')[0]} {title(stem)}]({stem}.ipynb)"


def pages():
    "The glossary's cells, as markdown."
    yield "# Symbols, glossary, bibliography\n\n> What each letter means, what each term means and where it is explained, and what to read."
    rows = [f"| ${s['tex']}$ | `{s['code']}` | {s['text']} | {link(s['see'])} |" for s in data("symbols")]
    yield "## Symbols\n\n| | in code | meaning | defined in |\n|---|---|---|---|\n" + "\n".join(rows)
    yield "## Glossary"
    for term, entry in sorted(data("glossary").items(), key=lambda item: item[0].lower()):
        yield f"### {term}\n\n{entry['text']} See {link(entry['see'])}."
    papers = [f"- {r['authors']} ({r['year']}). [{r['title']}]({r['url']}). {r['where']}." for r in data("references").values()]
    yield "## Bibliography\n\n" + "\n".join(papers)


def formulas():
    "The formula sheet's cells, as markdown: a table for each section."
    yield ("# Formula sheet\n\n> The formulas of the course on two pages, to print; each links to the notebook that derives it.\n\n"
           "The letters are those of the [index of symbols](glossary.ipynb). t is noisier than s; $\\xi$ is fresh noise, $\\epsilon$ the noise inside $x_t$.")
    for section, rows in data("formulas").items():
        lines = [f"| {name} | ${tex}$ | [{see.partition('_')[0]}]({see}.ipynb) |" for name, tex, see in rows]
        yield f"## {section}\n\n| | | |\n|---|---|---|\n" + "\n".join(lines)


def notebook(pages):
    "The whole notebook, as text."
    cells = [{"cell_type": "markdown", "id": f"g{i:03}", "metadata": {}, "source": text.splitlines(keepends=True)} for i, text in enumerate(pages)]
    kernel = {"display_name": "python3", "language": "python", "name": "python3"}
    content = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def problems():
    "Links to terms that the glossary lacks, papers that the bibliography lacks, and terms that their notebook does not link."
    terms, papers = {t.replace(" ", "-"): entry["see"] for t, entry in data("glossary").items()}, {r["url"] for r in data("references").values()}
    linked = {}
    for path in sorted(NBS.glob("[0-9]*.ipynb")):
        text = "\n".join("".join(c["source"]) for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "markdown")
        linked[path.stem] = set(LINK.findall(text))
        yield from (f"{path.stem}: {term} is not in the glossary" for term in sorted(linked[path.stem] - terms.keys()))
        yield from (f"{path.stem}: {url} is not in the bibliography" for url in sorted(set(PAPER.findall(text)) - papers))
    yield from (f"{stem} does not link {term}, which it is to explain" for term, stem in terms.items() if term not in linked.get(stem, ()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the page is old, or a link leads nowhere")
    args = parser.parse_args()
    found = list(problems())
    for name, cells in (("glossary", pages()), ("formulas", formulas())):
        path, text = NBS / f"{name}.ipynb", notebook(cells)
        if not args.check:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            found.append(f"nbs/{name}.ipynb is older than nbs/study: run make export")
    print(*found, sep="\n")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
