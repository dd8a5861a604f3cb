"""Everything that `make test` checks, one line a check; the last line counts them.

    python tools/check.py [NAME ...] [--flags "slow gpu"]
"""
import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from configparser import ConfigParser
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NBS, LIB, BIN = ROOT / "nbs", ROOT / "diffmnist", Path(sys.executable).parent
NOTEBOOKS = sorted(NBS.glob("*.ipynb"))
# numbers of notebooks that take longest, longest first: they start first, so that both processes end at about the same time
LONGEST = ("02c 08b 14 14a 13 13a 03b 92 07a 07b 08 08a 12a 03 09 10 11 05 12 03a 07 02 "
           "90a 90 10a 06 04 12b 91 05a 89 15 05b 11a 07c 12c 10b 92a 02d 04a 04b 03c 02b").split()
TEST_ENV = {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg",  # two notebooks at a time, one thread each
            # glibc keeps memory that was freed: to hand large tensors back and ask for them anew takes up to a third of a network's time
            "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}


def shell(*command, **env):
    "Run a command in the project; return its exit status and what it printed."
    run = subprocess.run([str(c) for c in command], cwd=ROOT, env=os.environ | {"PYTHONUTF8": "1"} | env, stdin=subprocess.DEVNULL, timeout=3600,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace")
    return run.returncode, run.stdout or f"{command[0]}: exit status {run.returncode}"


def program(name):
    "Where a program of this environment is; on Windows its name ends in .exe."
    return shutil.which(name, path=str(BIN))


def modules():
    "The exported modules, each with the name of its notebook."
    found = {}
    for path in NOTEBOOKS:
        if name := re.search(r"#\| default_exp (\w+)", path.read_text(encoding="utf-8")):
            found[name[1]] = path.stem
    return found


def exported():
    "The modules are what the notebooks say."
    before = {p.name: p.read_text(encoding="utf-8") for p in LIB.glob("*.py")}
    code, text = shell(program("nbdev_export"))  # on Windows it ends lines with \r\n, which Git undoes
    after = {p.name: p.read_text(encoding="utf-8") for p in LIB.glob("*.py")}
    changed = sorted(k for k in before | after if before.get(k) != after.get(k))
    stray = sorted(set(after) - {f"{m}.py" for m in modules()} - {"__init__.py", "__main__.py", "_modidx.py"})
    if code:
        return text
    if stray:
        return f"no notebook exports {', '.join(stray)}"
    return f"not exported before: {', '.join(changed)} (done now: run `make test` again, and commit)" if changed else ""


def cleaned():
    "The notebooks are as nbdev_clean leaves them."
    with tempfile.TemporaryDirectory() as folder:
        copies = [Path(shutil.copy(path, folder)) for path in NOTEBOOKS]
        code, text = shell(program("nbdev_clean"), "--fname", folder)
        dirty = [path.name for path, copy in zip(NOTEBOOKS, copies) if copy.read_bytes() != path.read_bytes()]
    if code:
        return text
    return f"run `make export`: {', '.join(dirty)} not clean" if dirty else ""


BASES = ("07_classifier_free_guidance", "08_flow_matching")  # what methods from 13 on may build on


def imports():
    """A module imports from lower numbers only, a method of other methods only the latent spaces (05, 06), what has its own number (08a of 08),
    and from 13 on guidance and flows."""
    config = ConfigParser(delimiters=["="])
    config.read(ROOT / "settings.ini", encoding="utf-8")
    needs = {re.split(r"[<>=]", r)[0] for r in config["DEFAULT"]["requirements"].split()}
    allowed = {module for module, packages in packages_distributions().items() if needs & set(packages)}  # cv2 is opencv-python-headless
    number, wrong = modules(), []
    for name in number:
        tree = ast.parse((LIB / f"{name}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            targets = []
            if isinstance(node, ast.Import):
                targets = [a.name for a in node.names]
            elif isinstance(node, ast.ImportFrom):  # nbdev writes imports of the package as relative ones
                targets = [f"diffmnist.{node.module}" if node.level else node.module]
            for target in targets:
                top, _, rest = target.partition(".")
                if top == "diffmnist" and rest and number[rest] >= number[name]:
                    wrong.append(f"{number[name]} imports from {number[rest]}")
                if top == "diffmnist" and rest and "07" <= number[rest] < "89" and number[name] < "89" and number[rest][:2] != number[name][:2] \
                        and not (number[name] >= "13" and number[rest] in BASES):
                    wrong.append(f"{number[name]} imports the method {number[rest]}: what two methods share moves down")
                if node in tree.body and top not in allowed | {"diffmnist"} | sys.stdlib_module_names:
                    wrong.append(f"{number[name]} imports {top} at its top")
    return "; ".join(wrong)


def linted():
    "ruff has nothing to say."
    code, text = shell(program("ruff"), "check", "-q", "nbs", "tools", "benchmarks", "setup.py")
    return text if code else ""


def tool(name):
    "What one of the tools says is wrong, asked with --check."
    code, text = shell(sys.executable, ROOT / "tools" / f"{name}.py", "--check")
    return text if code else ""


def readme():
    "README.md is what index.ipynb says."
    return tool("readme")


def study():
    "The glossary is what its data say, and no link to it or to a paper leads nowhere."
    return tool("study")


def student():
    "The lines that the student edition leaves out stand in their cells, and filling them in gives the notebooks back."
    return tool("student")


def site():
    "tools/docs.py leaves README.md alone, even if it is older than index.ipynb, and names all that links lead to; a stand-in takes Quarto's place."
    if os.name == "nt":
        return ""  # the stand-in is a script of the shell
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("nbs", "tools"):
            shutil.copytree(ROOT / name, copy / name)
        for name in ("settings.ini", "_quarto.yml", "README.md"):
            shutil.copy(ROOT / name, copy)
        os.utime(copy / "README.md", (0, 0))
        (copy / "quarto").write_text("#!/bin/sh\nmkdir _docs && cp _quarto.yml nbdev.yml site.css *.ipynb _docs\n")
        (copy / "quarto").chmod(0o755)
        code, text = shell(sys.executable, copy / "tools" / "docs.py", PATH=f"{copy}{os.pathsep}{os.environ['PATH']}")
        if code:
            return text
        pages = {path.stem: path.read_text(encoding="utf-8") for path in (copy / "_docs").glob("*.ipynb")}
        names = {stem: set(re.findall(r'\{id=\\"(.+?)\\"\}', page)) for stem, page in pages.items()}
        links = [(stem, *link) for stem, page in pages.items() for link in re.findall(r"\]\((\w+)\.ipynb#([^)]+)\)", page)]
        dead = {f"{stem}: {to}#{place}" for stem, to, place in links if place not in names[to]}
        if (copy / "README.md").read_bytes() != (ROOT / "README.md").read_bytes():
            return "README.md was changed"
        return f"dead links: {', '.join(sorted(dead))}" if dead else "" if len(pages) == len(NOTEBOOKS) else f"{len(pages)} of {len(NOTEBOOKS)} pages"


def devices():
    "All models and samplers give the CPU's digits on a stand-in for another device."
    code, text = shell(sys.executable, ROOT / "tools" / "devices.py", **TEST_ENV)
    return text if code else ""


def manifest():
    "The manifest lists all that ships with the package, with its hash, and the package stays small."
    return tool("manifest")


def faults():
    "Bad command lines, damaged files, kills, full disks and two runs in one folder end as they should: tools/faults.py in small; it prints its counts."
    if os.name == "nt":
        return ""  # it forks
    code, text = shell(sys.executable, ROOT / "tools" / "faults.py")
    if not code:
        print(text, end="", flush=True)
    return text if code else ""


def packaged():
    "An sdist builds, a wheel builds from it, and the wheel works where it is installed, in a folder with spaces in its path."
    with tempfile.TemporaryDirectory() as folder:
        code, text = shell(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ".")  # the wheel is built from the sdist
        if code:
            return text
        wheel, = Path(folder).glob("*.whl")
        site = Path(folder) / "a folder" / "site"
        code, text = shell(sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target", site, wheel)
        if code:
            return text
        script = "import diffmnist as dm; print(dm.__file__, dm.load('latent_one_step').sample(2).shape)"
        run = subprocess.run([sys.executable, "-c", script], cwd=folder, env=os.environ | {"PYTHONPATH": str(site)}, capture_output=True, text=True)
        if run.returncode or str(site) not in run.stdout:
            return f"{run.stdout}{run.stderr}"
        install = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-build-isolation"]
        code, text = shell(*install, "--target", Path(folder) / "two", ".")
        return text if code else ""


def quick_import():
    "`import diffmnist` needs no torch and takes under 0.3 s, and so does `import diffmnist.zoo` on top of torch, once the disk is warm."
    script = ("import time; t = time.perf_counter(); import diffmnist, sys; assert 'torch' not in sys.modules; a = time.perf_counter() - t; import torch; "
              "t = time.perf_counter(); import diffmnist.zoo; print(max(a, time.perf_counter() - t))")
    for _ in range(2):
        code, text = shell(sys.executable, "-c", script)
    return text if code or float(text.split()[-1]) > 0.3 else ""


def tested(path, flags):
    "Run one notebook's cells as tests, in a process of its own."
    code, text = shell(program("nbdev_test"), "--path", path, "--n_workers", "0", "--flags", flags, **TEST_ENV)
    return text if code else ""


def timed(name, check, *args):
    "A check's name, what it found, and the seconds it took."
    start = time.perf_counter()
    try:
        problem = check(*args)
    except Exception as err:  # a check that breaks has failed
        problem = f"{type(err).__name__}: {err}"
    return name, problem, time.perf_counter() - start


def length(path):
    "Where a notebook stands among the longest; after them all if it is not there."
    number = path.stem.partition("_")[0]
    return LONGEST.index(number) if number in LONGEST else len(LONGEST)


def main():
    parser = argparse.ArgumentParser(description="Export, check and test the course.")
    parser.add_argument("names", nargs="*", help="notebooks to test, such as 03_ddpm; all by default")
    parser.add_argument("--flags", default="", help="run cells with these flags too, such as 'slow gpu'")
    args = parser.parse_args()
    unknown = set(args.names) - {p.stem for p in NOTEBOOKS}
    if unknown:
        sys.exit(f"no notebook named {', '.join(sorted(unknown))}: there are {', '.join(p.stem for p in NOTEBOOKS)}")
    bad = total = 0

    def report(name, problem, seconds):
        nonlocal bad, total
        bad, total = bad + bool(problem), total + 1
        print(f"{'FAILED' if problem else 'ok':7}{name:32}{seconds:7.1f} s", flush=True)
        if problem:
            print(problem.rstrip(), flush=True)

    report(*timed("exported", exported))  # it may write the modules that the others read
    report(*timed("quick_import", quick_import))  # alone, since it is timed
    chosen = sorted((p for p in NOTEBOOKS if not args.names or p.stem in args.names), key=length)
    with ThreadPoolExecutor(2) as pool:
        checks = (packaged, faults, devices, cleaned, imports, linted, readme, study, student, site, manifest)
        jobs = [pool.submit(timed, check.__name__, check) for check in checks]
        jobs += [pool.submit(timed, path.stem, tested, path, args.flags) for path in chosen]
        for job in as_completed(jobs):
            report(*job.result())
    print(f"{total - bad} passed, {bad} failed")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
