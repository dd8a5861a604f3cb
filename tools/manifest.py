"""diffmnist/manifest.txt: the SHA-256 of every data file that ships with the package, by which `package_bytes` (00) knows that it is whole.

    python tools/manifest.py [--check]
"""
import sys
from configparser import ConfigParser
from pathlib import Path

from diffmnist.core import atomic, seal, sha256

ROOT = Path(__file__).resolve().parent.parent
LIB = ROOT / "diffmnist"
MOST = 80 * 2**20  # bytes of the whole package


def shipped():
    "The data files of the package, but for the manifest itself."
    config = ConfigParser(delimiters=["="])
    config.read(ROOT / "settings.ini", encoding="utf-8")
    found = {p for pattern in config["DEFAULT"]["package_data"].split() for p in LIB.glob(pattern) if p.is_file()}
    return sorted(found - {LIB / "manifest.txt"}, key=lambda path: path.as_posix())  # Windows would ignore case


def manifest():
    "What the manifest must hold."
    return seal("".join(f"{sha256(path.read_bytes())}  {path.relative_to(LIB).as_posix()}\n" for path in shipped()).encode())


def problem():
    "What is wrong with the manifest, or with what ships; empty: nothing."
    is_code = lambda path: path.suffix == ".py" or "__pycache__" in path.parts
    size = sum(path.stat().st_size for path in LIB.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    if left_out := {p for p in LIB.rglob("*") if p.is_file() and not is_code(p)} - {*shipped(), LIB / "manifest.txt"}:
        return f"package_data in settings.ini leaves out {', '.join(sorted(p.relative_to(LIB).as_posix() for p in left_out))}"
    if not (LIB / "manifest.txt").is_file() or (LIB / "manifest.txt").read_bytes() != manifest():
        return "diffmnist/manifest.txt is not that of the files: run `make export`, and commit"
    return f"the package is {size / 2**20:.1f} MiB, more than {MOST / 2**20:.0f}" if size > MOST else ""


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(problem() or 0)
    with atomic(LIB / "manifest.txt") as tmp:
        tmp.write_bytes(manifest())
