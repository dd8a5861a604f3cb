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


def render():
    "The text of README.md, and its pictures by path."
    parts, pictures = [], {}
    for cell in nbformat.read(ROOT / "nbs" / "index.ipynb", as_version=4).cells:
        if cell.cell_type == "markdown":
            parts.append(re.sub(r"\]\((\w+\.ipynb)\)", r"](nbs/\1)", cell.source))
        elif not cell.source.startswith("#| hide"):
            if not cell.source.startswith("#| echo: false"):
                parts.append(f"```python\n{cell.source}\n```")
            for out in cell.outputs:
                if png := out.get("data", {}).get("image/png"):
                    path = IMAGES / f"readme_{len(pictures) + 1}.png"
                    pictures[path] = base64.b64decode(png)
                    parts.append(f"![]({path.as_posix()})")
                elif out.get("name") == "stdout":
                    parts.append(f"```\n{out.text.rstrip()}\n```")
    parts.append("<!-- made from nbs/index.ipynb by `make export`; edit the notebook -->")
    return "\n\n".join(parts) + "\n", pictures


def main():
    text, pictures = render()
    files = {Path("README.md"): text.encode()} | pictures
    if "--check" in sys.argv[1:]:
        stale = [str(p) for p, content in files.items() if not (ROOT / p).exists() or (ROOT / p).read_bytes() != content]
        if stale:
            sys.exit(f"run `make export`: {', '.join(stale)} differ from nbs/index.ipynb")
        return
    (ROOT / IMAGES).mkdir(exist_ok=True)
    for path, content in files.items():
        (ROOT / path).write_bytes(content)


if __name__ == "__main__":
    main()
