"""The notebooks as HTML pages with a search, to read without a server or a network; called by course.py.

What a page shows: code that only tests is folded, hidden cells are left out, pictures lie beside the page. The order of the pages and their
sections are those of the sidebar in _quarto.yml.
"""
import ast
import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
from html import escape
from pathlib import Path
from typing import NamedTuple

import mistune
import nbformat
import yaml
from latex2mathml.converter import convert as to_mathml
from PIL import Image
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound
from tqdm import tqdm

TOOLS = Path(__file__).resolve().parent
ROOT = TOOLS.parent
NBS, PAGES = ROOT / "nbs", ROOT / "_course"
NAMED = re.compile(r"(?<!<msup>)(?<!<msub>)(<mi>(?:log|exp|sin|cos|tan|cot|det)</mi>)(?=<m(?!o))")  # log p needs a space that latex2mathml leaves out


class Page(NamedTuple):
    stem: str
    section: str
    number: str
    title: str
    cells: list

    def name(self):
        return f"{self.number} {self.title}".strip()

    def label(self):
        title = escape(self.title, quote=False)
        return f'<span class="number">{self.number}</span> {title}' if self.number else title


def sidebar():
    "The notebooks' names in the order of _quarto.yml, each with its section."
    for item in yaml.safe_load((ROOT / "_quarto.yml").read_text(encoding="utf-8"))["website"]["sidebar"]["contents"]:
        names = item["contents"] if isinstance(item, dict) else [item]
        yield from ((name.removesuffix(".ipynb"), item["section"] if isinstance(item, dict) else "") for name in names)


def read_pages():
    "All notebooks in this order, each with its number and the title that its first heading gives."
    listed, there, pages = dict(sidebar()), {path.stem for path in NBS.glob("*.ipynb")}, []
    if odd := listed.keys() ^ there:
        sys.exit(f"either in the sidebar of _quarto.yml or in nbs, not in both: {', '.join(sorted(odd))}")
    for stem, section in listed.items():
        cells = nbformat.read(NBS / f"{stem}.ipynb", as_version=4).cells
        pages.append(Page(stem, section, stem.split("_")[0] if stem[0].isdigit() else "", re.match(r"# (.+)", cells[0].source)[1], cells))
    return pages


def write(path, content):
    "Write a file under a temporary name, and rename it."
    tmp = path.with_name(f".{path.name}.tmp")
    tmp.write_bytes(content if isinstance(content, bytes) else content.encode())
    os.replace(tmp, path)


def code_html(source, language="python"):
    "Coloured code; a line too long for the screen goes on below, indented more than it began."
    try:
        lines = highlight(source, get_lexer_by_name(language, stripnl=False), HtmlFormatter(nowrap=True)).rstrip("\n").split("\n")
    except ClassNotFound:
        lines = escape(source.rstrip("\n")).split("\n")
    indents = (len(line) - len(line.lstrip()) for line in source.splitlines() + [""])
    return '<pre class="code"><code>' + "".join(f'<span class="line" style="--in:{n}ch">{line}\n</span>' for n, line in zip(indents, lines)) + "</code></pre>"


def heading_name(text):
    "What JupyterLab names a heading: links in the notebooks use these names."
    return re.sub(r"<[^>]+>|`", "", text).replace(" ", "-")


class Prose(mistune.HTMLRenderer):
    "Markdown as HTML: links to notebooks lead to pages, and headings are named as JupyterLab names them, and kept."

    def __init__(self):
        super().__init__(escape=False)
        self.headings = []

    def heading(self, text, level, **attrs):
        name = heading_name(text)
        if level > 1:
            self.headings.append((level, name, text))
        return f'<h{level} id="{name}">{text} <a class="anchor" href="#{name}" aria-label="Link to this section">#</a></h{level}>\n'

    def link(self, text, url, title=None):
        return super().link(text, re.sub(r"^(\w+)\.ipynb(?=#|$)", r"\1.html", url), title)

    def block_code(self, code, info=None):
        return code_html(code, info or "text")

    def table(self, text):
        return f'<div class="table"><table>{text}</table></div>\n'


def prose_html(text, prose):
    "Markdown as HTML, its formulas as MathML, which browsers draw without a network."
    formulas = []

    def keep(match):
        if match[1] or match[2]:
            display, tex = ("block", match[1]) if match[1] else ("inline", match[2])
            tex = re.sub(r"\\[bB]igg?[lrm]?(?=\\\|)", "", tex.strip())  # latex2mathml does not know a norm's bar after \\big
            mathml = re.sub(NAMED, r'\1<mspace width="0.17em"/>', to_mathml(tex, display=display))
            formulas.append(f'<span class="formula {display}">{mathml}</span>')
            return f"\ue000{len(formulas) - 1}\ue001"
        return match[0]  # code, where a dollar is a dollar

    text = re.sub(r"```.*?```|`[^`\n]*`|\$\$(.+?)\$\$|(?<![\\$\w])\$([^$\n]+?)\$", keep, text, flags=re.S)
    html = mistune.create_markdown(renderer=prose, plugins=["table", "strikethrough", "url"])(text)
    return re.sub("\ue000(\\d+)\ue001", lambda m: formulas[int(m[1])], html)


def fold(source, given, outputs):
    "What a cell is folded under, if it is: what imports and no more than a call, what only tests (prints and draws nothing), and what says so."
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a command for IPython or the shell
        tree = ast.Module([])
    kinds = [type(node) for node in tree.body]
    if not outputs and kinds[:1] in ([ast.Import], [ast.ImportFrom]) and set(kinds) <= {ast.Import, ast.ImportFrom, ast.Expr}:
        return "Imports"
    tests = (isinstance(n, ast.Assert) or isinstance(n, ast.Call) and getattr(n.func, "id", "").startswith("test_") for n in ast.walk(tree))
    if not outputs and given.keys().isdisjoint({"export", "exports"}) and any(tests):
        return "Test"
    return given.get("code-summary", "Code") if given.get("code-fold") == "true" else ""


def picture_html(data, mime, size, name, alt):
    "A picture in a file of its own, drawn as large as the notebook does; its size stands in the page, so that nothing jumps when it loads."
    content = base64.b64decode(data)
    with Image.open(io.BytesIO(content)) as image:
        scale = 96 / image.info.get("dpi", (96, 96))[0]
        width, height = size.get("width", image.width * scale), size.get("height", image.height * scale)
    path = PAGES / "pictures" / f"{name}.{mime.split('/')[1]}"
    write(path, content)
    return f'<figure><img src="pictures/{path.name}" alt="{escape(alt)}" width="{width:.0f}" height="{height:.0f}" loading="lazy" decoding="async"></figure>'


def output_html(output, name, alt):
    "An output: its picture if it has one, else its text, without what a progress bar wrote over."
    data = output.get("data", {})
    for mime in ("image/gif", "image/png", "image/jpeg"):
        if mime in data:
            return picture_html(data[mime], mime, output.metadata.get(mime, {}), name, alt)
    text = output.get("text") or data.get("text/plain") or "\n".join(output.get("traceback", []))
    text = re.sub(r"\x1b\[[\d;]*m|[^\n]*\r(?!\n)", "", text)
    return f'<pre class="output">{escape(text.rstrip())}</pre>' if text.strip() else ""


def directives(cell):
    "A cell's directives, such as {'fig-alt': 'a curve'}, and its source without them."
    lines = cell.source.splitlines()
    given = dict(re.match(r"#\| *([\w-]+):? *(.*)", line).groups() for line in lines if re.match(r"#\| *\w", line))
    return {key: value.strip('"') for key, value in given.items()}, "\n".join(line for line in lines if not line.startswith("#|")).strip("\n")


def cell_html(cell, name, prose):
    "A cell as a reader wants it, or nothing if it is hidden."
    given, source = directives(cell)
    if "hide" in given:
        return ""
    if cell.cell_type == "markdown":
        return prose_html(source, prose)
    html = code_html(source) if source and given.get("echo") != "false" else ""
    if html and (summary := fold(source, given, cell.outputs)):
        html = f'<details class="fold"><summary>{escape(summary)}</summary>{html}</details>'
    alt = given.get("fig-alt", "")
    html += "".join(output_html(output, f"{name}_{i}", alt) for i, output in enumerate(cell.outputs))
    return f'<div class="cell">{html}</div>\n' if html else ""


def body_html(page):
    "The page's text and its headings."
    prose = Prose()
    html = "".join(cell_html(cell, f"{page.stem}_{i}", prose) for i, cell in enumerate(page.cells))
    html = re.sub(r"<h1[^>]*>.*?</h1>", f"<h1>{page.label()}</h1>", html, count=1)
    return html.replace("<blockquote>", '<blockquote class="lead">', 1), prose.headings


def navigation(pages, current):
    "The course's contents by section, with the current page marked, and the playground if it has been built."
    html, section = [], ""
    for page in pages:
        if page.section != section:
            html, section = html + [f"<h2>{escape(page.section)}</h2>" if page.section else "<hr>"], page.section
        mark = ' aria-current="page"' if page is current else ""
        html.append(f'<a href="{page.stem}.html"{mark}>{page.label()}</a>')
        if page.stem == "index" and (PAGES / "playground" / "index.html").exists():
            html.append('<a href="playground/index.html">Playground</a>')
    return "\n".join(html)


def neighbours(pages, current):
    "Links to the page before and the page after."
    i = pages.index(current)
    before = f'<a rel="prev" href="{pages[i - 1].stem}.html"><small>Previous</small>{pages[i - 1].label()}</a>' if i else "<span></span>"
    after = f'<a rel="next" href="{pages[i + 1].stem}.html"><small>Next</small>{pages[i + 1].label()}</a>' if i + 1 < len(pages) else ""
    return before + after


def plain(text):
    "Markdown without its marks, and TeX without its commands for fonts and sizes."
    text = re.sub(r"^#\|.*$|^# .*$|</?\w+>|\]\([^)]*\)|\[(?=[^]]*\]\()|[*`$>|]+", " ", text, flags=re.M)
    return re.sub(r"\\(?:operatorname|math\w+|text\w*|[dt]?frac|[Bb]ig\w*|left|right|begin|end|[,;!])(?![a-z])|[{}\\&]", " ", text)


def entries(page):
    "For the search: the sections of a page as (file, name of the heading, heading, text)."
    found = [[f"{page.stem}.html", "", page.name(), ""]]
    for cell in page.cells:
        for i, part in enumerate(re.split(r"^##+ (.+)$", cell.source, flags=re.M) if cell.cell_type == "markdown" else [cell.source]):
            if i % 2:
                found.append([f"{page.stem}.html", heading_name(part), part, ""])
            elif not cell.source.startswith("#| hide"):
                found[-1][3] += " " + re.sub(r" (?=[.,;:)])", "", " ".join((plain(part) if cell.cell_type == "markdown" else part).split()))
    return found


def add_playground(site):
    "The playground as a folder of a site whose pages have the notebooks' names."
    subprocess.run([sys.executable, "-m", "diffmnist", "playground", "--out", site / "playground", "--pages", "../{}.html"], cwd=ROOT, check=True)


def write_pages():
    "All notebooks as pages, the pictures and the index of the search beside them."
    pages = read_pages()
    shutil.rmtree(PAGES / "pictures", ignore_errors=True)
    (PAGES / "pictures").mkdir(parents=True)
    shutil.copytree(NBS / "images", PAGES / "images", dirs_exist_ok=True)
    template = (TOOLS / "pages.html").read_text(encoding="utf-8")
    for page in tqdm(pages, desc="pages", unit="page"):
        body, headings = body_html(page)
        levels = {2, 3} if len(headings) < 40 else {2}
        parts = {"title": escape(page.name()), "navigation": navigation(pages, page), "body": body, "neighbours": neighbours(pages, page),
                 "contents": "\n".join(f'<a class="level{level}" href="#{name}">{text}</a>' for level, name, text in headings if level in levels)}
        write(PAGES / f"{page.stem}.html", re.sub(r"\{\{(\w+)\}\}", lambda m, parts=parts: parts[m[1]], template))
    for path in PAGES.glob("*.html"):
        if path.stem not in {page.stem for page in pages}:
            path.unlink()  # a notebook that was renamed
    write(PAGES / "search.js", f"const INDEX = {json.dumps([e for p in pages for e in entries(p)], ensure_ascii=False, separators=(',', ':'))};\n")
    for name in ("pages.css", "pages.js"):
        write(PAGES / name, (TOOLS / name).read_bytes())
