"""Make README.md from nbs/index.ipynb; its pictures go to nbs/images.

    python tools/readme.py [--check]
"""
import base64
import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
IMAGES = Path("nbs") / "images"
BADGES = " ".join(f"[![{name}]({url}/badge.svg)]({url})" for name in ("test", "docs") for url in [f"https://github.com/diffmnist/diffmnist/actions/workflows/{name}.yml"])


def render():
    "The text of README.md, and its pictures by path."
    parts, pictures = [], {}
    for cell in nbformat.read(ROOT / "nbs" / "index.ipynb", as_version=4).cells:
        if cell.cell_type == "markdown":
            parts.append(re.sub(r"\]\((\w+\.ipynb|images/\w+\.png)\)", r"](nbs/\1)", cell.source))
        elif not cell.source.startswith("#| hide"):
            alt = re.search(r"^#\| fig-alt: (.*)", cell.source, re.M)
            alt = alt[1] if alt else ""
            if not cell.source.startswith("#| echo: false"):
                parts.append("```python\n" + re.sub(r"^#\|.*\n", "", cell.source, flags=re.M) + "\n```")
            for out in cell.outputs:
                if png := out.get("data", {}).get("image/png"):
                    path = IMAGES / f"readme_{len(pictures) + 1}.png"
                    pictures[path] = base64.b64decode(png)
                    parts.append(f"![{alt}]({path.as_posix()})")
                elif table := out.get("data", {}).get("text/markdown"):
                    parts.append(table)
                elif out.get("name") == "stdout":
                    parts.append(f"```\n{out.text.rstrip()}\n```")
    parts.insert(1, BADGES)
    parts.append("<!-- made from nbs/index.ipynb by `make export`; edit the notebook -->")
    return "\n\n".join(parts) + "\n", pictures


def main():
    text, pictures = render()
    if "--check" in sys.argv[1:]:  # of the pictures only that they are there: another machine draws other pixels
        if (ROOT / "README.md").read_text(encoding="utf-8") != text or not all((ROOT / p).exists() for p in pictures):
            sys.exit("run `make export`: README.md differs from nbs/index.ipynb")
        return
    (ROOT / IMAGES).mkdir(exist_ok=True)
    for path, content in ({Path("README.md"): text.encode()} | pictures).items():
        (ROOT / path).write_bytes(content)


if __name__ == "__main__":
    main()
