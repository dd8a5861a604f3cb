"""Accidents, tried on purpose: bad command lines, damaged files, kills, full disks, two runs in one folder.

    python tools/faults.py [--large] [PART ...]

One line a part says how many went as they should; then come those that did not. All is drawn from fixed seeds. Needs Linux or macOS.
"""
import argparse
import contextlib
import io
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import typing
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path
from unittest.mock import patch

os.environ |= {"OMP_NUM_THREADS": "1", "DIFFMNIST_DEVICE": "cpu", "MPLBACKEND": "agg"}  # trainings that repeat to the last bit, and can be forked

import accelerate  # noqa: F401  now, and not in every child
import matplotlib.pyplot  # noqa: F401
import torch
import torch._dynamo
from PIL import Image
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from diffmnist import cli, core, evaluation, pictures, playground, recipe, runs, zoo

TINY = zoo.DDPM(epochs=2, limit=16, batch_size=8, widths=(4, 8), blocks=1, T=4, warmup=1, sample_every=1)
WORDS = ["train", "ddpm", "--resume", "--out"]


class TookTooLong(BaseException):
    "Not caught by anything on its way."


def snapshot(folder: Path) -> dict:
    "What lies in a folder: paths with size and time."
    return {p.relative_to(folder): (p.lstat().st_size, p.lstat().st_mtime_ns) for p in folder.rglob("*")}


def refused(action: Callable, names: tuple) -> str:
    "What is wrong with how an action is refused: by one sentence which contains one of the names; empty: nothing."
    try:
        action()
    except (ValueError, OSError) as err:
        text = str(err)
        return "" if any(str(name) in text for name in names) and "\n" not in text else f"{names}: {type(err).__name__}: {text}"
    except Exception as err:
        return f"{names}: {type(err).__name__}: {err}"
    return f"{names}: not refused"


def call(words: list[str]) -> tuple:
    "Exit status, standard output and standard error of a command line, within 30 seconds."
    def stop(*_):
        raise TookTooLong

    out, err = io.StringIO(), io.StringIO()
    signal.signal(signal.SIGALRM, stop)
    signal.alarm(30)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = cli.main(words)
    except BaseException as problem:  # the command line lets nothing through
        status = type(problem).__name__
    finally:
        signal.alarm(0)
    return status, out.getvalue(), err.getvalue()


def line_refused(words: list[str], names: tuple) -> str:
    "What is wrong with how a bad command line is refused here, in the working folder; empty: nothing."
    before = snapshot(Path())
    status, out, err = call(words)
    changed = set(snapshot(Path()).items()) ^ set(before.items())
    for path in sorted(Path().rglob("*"), reverse=True):  # what should not be there would be in the way of the next line
        if path not in before:
            path.rmdir() if path.is_dir() else path.unlink()
    shown = f"{[word[:60] for word in words]}: status {status}, {out[:200]!r}, {err[:500]!r}"
    if status not in (1, 2) or err.count("\n") != 1 or not err.endswith("\n"):
        return shown
    if any(bad in err for bad in ("a fault of diffmnist", "enforce fail", "Allocator", "Errno None")):
        return shown
    if not any(name in err for name in names):
        return f"{shown}, without {' or '.join(map(repr, names))}"
    return f"{shown}: changed {sorted({str(path) for path, _ in changed})}" if changed else ""


# ---- command lines

NO_INT = ("x", "", "1.5", "nan", "inf", "1e3", "0x10", "9" * 5000, "\x1b[31m", "1\n2", "\udcff", "1" * 20 + "x")
NO_FLOAT = ("x", "", "1,5", "1e", "\x1b[31m", "1\n2", "\udcff", "--")
HUGE = "9" * 20


def materials() -> None:
    "Files to be misused, in the working folder."
    Image.new("L", (40, 40), 255).save("blank.png")
    digit = torch.zeros(40, 40).byte()
    digit[5:35, 18:22] = 255
    Image.fromarray(digit.numpy()).save("one.png")
    Path("cut.png").write_bytes(Path("one.png").read_bytes()[:60])
    Path("words.txt").write_text("words\n")
    Path("table.csv").write_text("a,b\n1,2\n")
    Path("words.png").write_text("words\n")
    Path("empty.png").touch()
    Path("folder.png").mkdir()
    Path("full").mkdir()
    Path("full/notes.txt").write_text("mine\n")
    whole = runs.weights_path("latent_one_step").read_bytes()
    Path("cut.safetensors").write_bytes(whole[:5000])
    Path("flipped.safetensors").write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    Path("words.safetensors").write_text("words\n")
    Path("empty.safetensors").touch()
    save_file({"x": torch.zeros(3)}, "foreign.safetensors")


MEANT = [  # lines that are well formed, and ask for what cannot be; with what their message must contain
    *((f"sample {name}", name) for name in ("nobody", "cut.safetensors", "flipped.safetensors", "words.safetensors", "empty.safetensors",
                                            "foreign.safetensors", "full", "words.txt", "none/x.safetensors")),
    ("sample classifier", "model must"), ("sample noisy_classifier", "model must"),
    *((f"sample ddpm --out {name}", said) for name, said in (("x.txt", "ends in"), ("none/x.png", "none"), ("folder.png", "folder.png"),
                                                           ("one.png", "one.png"), ("words.txt/x.png", "words.txt"), ("/dev/null/x.png", "/dev/null"))),
    *((f"sample latent_ddpm --animation {name}", said) for name, said in (("x.png", "x.png"), ("none/x.gif", "none"), ("words.txt/x.gif", "words.txt"))),
    *((f"sample controlnet --edges {name}", name) for name in ("words.png", "empty.png", "folder.png", "cut.png", "blank.png", "none.png", "words.txt")),
    ("sample controlnet --edges one.png --out one.png --overwrite", "one.png"), ("sample latent_ddpm --out x.gif --animation x.gif", "x.gif"),
    ("sample latent_ddpm --edges one.png", "edges"), ("sample ddpm --label 3", "label"), ("sample cfg_film --label 10", "label"),
    ("sample cfg_film --label -1", "label"), (f"sample cfg_film --label {HUGE}", "label"), ("sample cfg_film --classifier", "class"),
    ("sample flow --classifier", "class"), ("sample vae --steps 3", "steps"), ("sample latent_flow --eta 0.5", "eta"),
    ("sample latent_ddpm --guidance nan --classifier --label 1", "guidance"), ("sample cfg_film --guidance inf --label 1", "guidance"),
    ("sample latent_ddpm --eta nan --sampler ddim", "eta"), ("sample latent_ddpm --eta -1 --sampler ddim", "eta"),
    ("sample latent_ddpm --start 0", "start"), ("sample latent_ddpm --start 1001", "start"), ("sample latent_ddpm --cache 0", "cache"),
    *((f"sample latent_ddpm --{name} {value}", name) for name in ("n", "steps", "ncol", "cache") for value in ("0", "-1", HUGE)[: 2 + (name != "cache")]),
    (f"sample latent_ddpm --seed 9{HUGE}", "seed"),
    ("evaluate", "--all"), ("evaluate latent_ddpm --all", "--all"), ("evaluate --all --steps 5", "--all"), ("evaluate nobody", "nobody"),
    ("evaluate flipped.safetensors", "flipped.safetensors"), ("evaluate --all --out none/x.csv", "none"), ("evaluate --all --out x.png", "x.png"),
    ("evaluate --all --out table.csv", "table.csv"), ("evaluate --all --out folder.png", "folder.png"),
    *((f"evaluate latent_ddpm --n {value}", "n must") for value in ("0", "-1", "9", "10001", HUGE)),
    *((f"evaluate latent_ddpm --seeds {value}", "seeds") for value in ("0", "-1")),
    ("train", "--all"), ("train nobody", "nobody"), ("train ddpm --resume", "ddpm"), ("train ddpm --resume --out none", "none"),
    ("train ddpm --resume --out full", "full"), ("train ddpm --limit 32 --batch-size 32 --out full", "full"),
    ("train ddpm --limit 32 --batch-size 32 --out words.txt", "words.txt"), ("train ddpm --limit 32 --batch-size 32 --out words.txt/run", "words.txt"),
    ("train ddpm --limit 32 --batch-size 32 --out /dev/null/run", "/dev/null/run"), ("train ddpm --limit 32", "batch_size"),
    (f"train ddpm --batch-size {HUGE}", "batch_size"), ("train cfg_film --space nobody", "nobody"), ("train cfg_film --space words.txt", "words.txt"),
    ("train cfg_film --space cut.safetensors", "cut.safetensors"), ("train cfg_film --space ddpm", "ddpm"), ("train reflow --teacher nobody", "nobody"),
    ("train reflow --teacher flipped.safetensors", "flipped.safetensors"), ("train reflow --teacher ddpm --limit 256", "ddpm"),
    ("train reflow --teacher vae --limit 256", "vae"), ("train controlnet --base nobody", "nobody"), ("train controlnet --base foreign.safetensors", "foreign"),
    *((f"train ddpm --limit 32 --batch-size 32 --data {name}", name) for name in ("none", "words.txt", "full")),
    ("train --all --out words.txt", "words.txt"),
    ("playground --pages x", "--pages"), ("playground --out full", "full"), ("playground --out words.txt", "words.txt"),
    *((f"playground --no-browser --port {value}", "ort") for value in ("-1", "70000", HUGE)), ("list list", "list"), ("smaple ddpm", "smaple"),
    ("", "train"), ("--foo", "--foo"), ("--resume", "--resume"), ("Sample ddpm", "Sample"), ("train -x", "-x"),
]


def kinds(hint) -> set:
    "The simple types in a type with alternatives."
    return {hint} if not typing.get_args(hint) or typing.get_origin(hint) is typing.Literal else set().union(*map(kinds, typing.get_args(hint)))


def wrong_values(kind: type, name: str) -> Iterator[str]:
    "Values that a field cannot take."
    allowed = kinds(typing.get_type_hints(kind, include_extras=False)[name]) - {type(None), ...}
    choices = [typing.get_args(hint) for hint in allowed if typing.get_origin(hint) is typing.Literal]
    if choices and len(allowed) == 1:
        yield from ("foo", "", choices[0][0].upper() + "x")
    elif allowed == {int}:
        yield from NO_INT
    elif allowed == {float} or allowed == {int, float}:
        yield from NO_FLOAT
    elif allowed == {bool} and typing.get_type_hints(kind)[name] is not bool:  # a plain one is a flag
        yield from ("maybe", "", "2")
    if issubclass(kind, recipe.Recipe):
        if name in kind.at_least:
            yield from ("-1", f"-{HUGE}")
        if name in kind.at_least and allowed == {float}:
            yield from ("nan", "inf")
        if name in kind.at_most:
            yield HUGE
        if name in kind.shares or name == "ema":
            yield from ("-0.1", "1.5", "nan", "inf")
        if name == "widths":
            yield from ("0", "-8", HUGE)


def generated() -> Iterator[tuple]:
    "Command lines that are bad in one option, made from the fields of verbs and recipes; with what their message must contain."
    bases = [([verb, *{"sample": ["latent_ddpm"], "evaluate": ["latent_ddpm"], "playground": ["--no-browser"], "train": ["--all"]}.get(verb, [])], kind)
             for verb, kind in cli.VERBS.items()]
    bases += [(["train", name], kind) for name, made in zoo.recipes.items() for kind in (type(made), cli.Training)]
    for base, kind in bases:
        yield [*base, "--zzz", "3"], ("--zzz",)
        yield [*base, "stray\x07"], ("stray",)
        for f in fields(kind):
            hint, option = typing.get_type_hints(kind)[f.name], f"--{f.name.replace('_', '-')}"
            if f.default is MISSING or f.name == "model":  # given by its place
                continue
            yield [*base, f"{option}x", "1"], (f"{option}x",)
            if hint is bool:
                yield [*base, option, "maybe"], ("maybe",)
                continue
            yield [*base, option], (option, f"{f.name} must")
            for value in wrong_values(kind, f.name):
                yield [*base, option, value], (option, f"{f.name} must")


def command_lines(draw: random.Random, large: bool) -> Iterator[str]:
    "Each bad line gives status 1 or 2, one line on standard error that names what is bad, and no file."
    meant, made = [(line.split(), (name,)) for line, name in MEANT], list(generated())
    lines = meant + draw.sample(made, 300) if large else draw.sample(meant, 20) + draw.sample(made, 20)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        materials()
        for words, names in lines:
            yield line_refused(words, names)


# ---- damaged files

def flipped(content: bytes, draw: random.Random) -> bytes:
    "A content with one bit of one byte changed."
    changed = bytearray(content)
    changed[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def read_bundled(name: str) -> None:
    "Read a file of the package by the public function that uses it."
    folder, _, file = name.partition("/")
    if folder == "weights":
        zoo.load(file.removesuffix(".safetensors"))
    elif file.endswith(".gz"):
        core.mnist_bytes(file.startswith("train"))
    elif name == "data/results.csv":
        evaluation.read_table()
    elif folder == "web":
        playground.playground_files.cache_clear()
        playground.playground_files()
    else:
        core.package_bytes("data/results.csv" if name == "manifest.txt" else name)


def bundled_files(draw: random.Random, large: bool) -> Iterator[str]:
    "Each file of the package is refused by name once one bit of it is wrong."
    real, names = core.package_file(""), [*core.manifest(), "manifest.txt"]
    with tempfile.TemporaryDirectory() as folder, patch.object(core, "files", lambda _: folder):
        for name in names:
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / name).symlink_to(real / name)
        for name in names * (5 if large else 1):
            path = Path(folder) / name
            path.unlink()
            path.write_bytes(flipped((real / name).read_bytes(), draw))
            yield refused(lambda: read_bundled(name), (path,))
            path.unlink()
            path.symlink_to(real / name)
        for name in names[:: 1 if large else 9]:
            try:
                read_bundled(name)
            except Exception as err:
                yield f"{name}, undamaged: {err}"


@cache
def finished_run() -> Path:
    "The folder of a small training."
    folder = Path(tempfile.mkdtemp(dir=SCRATCH.name)) / "run"
    if said := forked(lambda: runs.train(TINY, folder) and ""):
        raise RuntimeError(said)
    return folder


def damages(content: bytes, others: list[bytes], draw: random.Random, n: int) -> Iterator[bytes]:
    "A content cut off, emptied, with wrong bits, and what is no such content at all."
    yield from (b"", b"words\n", b"\0" * 100, *others, content + b"x", content[:-1])
    for _ in range(n):
        yield content[: draw.randrange(len(content))]
        yield flipped(content, draw)
        start = draw.randrange(len(content))
        yield content[:start] + bytes(min(512, len(content) - start)) + content[start + 512 :]  # a sector of zeros


def own_files(draw: random.Random, large: bool) -> Iterator[str]:
    "Each file of a user's run is refused by name if it is damaged, and nothing is written."
    run, n = finished_run(), 100 if large else 5
    content = {name: (run / name).read_bytes() for name in ("model.safetensors", "checkpoint.pt", "config.json", "samples/epoch_0001.png", "log.csv")}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        mine = Path(folder).resolve() / "run"
        shutil.copytree(run, mine)
        readers = {"model.safetensors": [zoo.load, runs.weights_meta, runs.tensors_sha256], "checkpoint.pt": [lambda path: runs.load_checkpoint(path, {})]}
        for name, read in readers.items():
            others = [other for key, other in content.items() if key != name]
            for k, wrong in enumerate(damages(content[name], others, draw, n)):
                if wrong == content[name]:  # zeros in place of zeros
                    continue
                (mine / name).write_bytes(wrong)
                yield refused(lambda: read[k % len(read)](mine / name), (mine / name,))
            (mine / name).write_bytes(content[name])
        for name in ("checkpoint.pt", "config.json"):
            for wrong in (content[name][:99], b"\xff\xfe", content["log.csv"]):
                (mine / name).write_bytes(wrong)
                yield line_refused([*WORDS, str(mine)], (str(mine / name),))
            (mine / name).unlink()
            (mine / name).mkdir()
            yield line_refused([*WORDS, str(mine)], (str(mine),))
            (mine / name).rmdir()
            (mine / name).write_bytes(content[name])
        config = json.loads(content["config.json"])
        for _ in range(20 * n):
            try:
                meta = runs.read_json(flipped(content["config.json"], draw), mine / "config.json")
                yield "" if {key: meta.get(key) for key in config if key != "sha256"} == {key: config[key] for key in config if key != "sha256"} else f"{meta}"
            except ValueError as err:
                yield "" if str(mine / "config.json") in str(err) else str(err)
        rows = (core.package_file("data/results.csv")).read_text().splitlines()
        numbers = rows[1].split(",")
        for text in ("", "words\n", "a,b\n1,2\n", "\x00\xff\n", f"{rows[0]}\n{rows[1]},1\n", f"{rows[0]}\n{rows[1][:30]}\n", f'{rows[0]}\n"{rows[1]}\n',
                     f"{rows[0]}\n{','.join('x' for _ in numbers)}\n", json.dumps({"a": 1})):
            Path("own.csv").write_text(text, encoding="latin1")
            yield refused(lambda: evaluation.read_table("own.csv"), ("own.csv",))
        yield line_refused(["evaluate", "--all", "--out", "own.csv"], ("own.csv",))


ODD = (None, 5, -1, 0.5, "x", "", [], ["x"], [[]], {}, {"x": 1}, True, float("inf"), float("nan"), 10**30)


def mutated(meta: dict, draw: random.Random) -> dict:
    "What a header or a config.json says, with one value missing or of another kind, at the top or in the recipe."
    meta = json.loads(json.dumps(meta))
    part = draw.choice([meta, meta["recipe"], meta["recipe"]])
    key = draw.choice(sorted(part))
    if draw.random() < 0.1:
        del part[key]
    else:
        part[key] = draw.choice(ODD)
    return meta


def used(path: Path) -> None:
    "All that reads a header."
    meta = runs.weights_meta(path)
    cli.training_line(meta), pictures.data_classes(meta), pictures.data_name(meta)
    zoo.load(path).sample(1, steps=1)


def headers(draw: random.Random, large: bool) -> Iterator[str]:
    "A header, or a config.json, with any value of another kind is refused by name, if it is not as good as before."
    run, n = finished_run(), 400 if large else 30
    net, header, config = zoo.load(run / "model.safetensors").net, runs.weights_meta(run / "model.safetensors"), json.loads((run / "config.json").read_text())
    with tempfile.TemporaryDirectory() as folder:
        path, other = Path(folder) / "model.safetensors", Path(folder) / "config.json"
        for _ in range(n):
            odd = mutated(header, draw)
            runs.save_weights(net, path, **odd)
            problem = refused(lambda: used(path), (path,))
            yield "" if problem.endswith("not refused") else f"{odd}: {problem}" if problem else ""
            odd = mutated(config, draw)
            other.write_text(json.dumps(odd))
            problem = refused(lambda: zoo.recipe_from(runs.read_json(other.read_bytes(), other), other), (other,))
            yield "" if problem.endswith("not refused") else f"{odd}: {problem}" if problem else ""


# ---- kills, full disks, two at once

def forked(action: Callable, kill_after: float | None = None) -> str | None:
    "What an action returns, or raises, in a process of its own; None: it was killed, after so many seconds."
    reads, writes = os.pipe()
    if not (pid := os.fork()):
        os.close(reads)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        try:
            said = action() or ""
        except BaseException as err:
            said = f"{type(err).__name__}: {err}"
        os.write(writes, said.encode()[:60_000])
        os._exit(0)
    os.close(writes)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(pid, signal.SIGKILL)
    with open(reads, "rb") as pipe:
        said = pipe.read().decode()
    _, status = os.waitpid(pid, 0)
    return None if os.WIFSIGNALED(status) else said


def plain(value):
    "Nested tensors as what can be compared."
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.numpy().tobytes()
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, (list, tuple)) else value


def left_by(folder: Path) -> dict:
    "All that a run leaves, to the last bit, except when it was and how long it took."
    left = {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}
    state, config = runs.load_checkpoint(folder / "checkpoint.pt", {}), json.loads(left["config.json"])
    meta = runs.weights_meta(folder / "model.safetensors")
    for timed in (state["history"], meta["history"]):
        del timed["seconds"]
    del config["written"], config["sha256"]
    return left | {"checkpoint.pt": plain(state), "config.json": config, "model.safetensors": (plain(load_file(folder / "model.safetensors")), meta),
                   "summary.txt": left["summary.txt"].decode().splitlines()[2:]}


def difference(folder: Path, whole: dict) -> str:
    "In what a folder differs from what a training leaves that nothing happened to; empty: in nothing."
    left = left_by(folder)
    return ", ".join(sorted(name for name in left | whole if name not in left or name not in whole or left[name] != whole[name]))


def kills(draw: random.Random, large: bool) -> Iterator[str]:
    "A training is killed at any moment, from before its folder is there to its last file, and goes on; then all is as if nothing had happened."
    whole, train = left_by(finished_run()), lambda folder: lambda: runs.train(TINY, folder, resume=True) and ""
    start, folder = time.perf_counter(), Path(tempfile.mkdtemp(dir=SCRATCH.name)) / "run"
    forked(train(folder))
    takes = time.perf_counter() - start
    for _ in range(100 if large else 2):
        killed = False
        while not killed:  # it may have ended before
            folder, moment = Path(tempfile.mkdtemp(dir=SCRATCH.name)) / "run", draw.uniform(0, takes)
            killed = forked(train(folder), moment) is None
        problem = forked(train(folder)) or difference(folder, whole)
        yield problem and f"killed after {moment:.3f} s: {problem}"


def half_written(draw: random.Random, large: bool) -> Iterator[str]:
    "A training is killed in the middle of writing a file, each of its files in turn, and goes on."
    whole, write = left_by(finished_run()), Path.write_bytes

    def killed_at(folder: Path, k: int) -> str:
        "Train, and be killed half-way through the k-th write."
        counts = iter(range(k + 1))

        def write_bytes(self, content):
            if next(counts, k) == k:
                write(self, content[: len(content) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return write(self, content)
        with patch.object(Path, "write_bytes", write_bytes), patch.object(Path, "write_text", lambda self, text, **_: self.write_bytes(text.encode())):
            runs.train(TINY, folder)
        return "not killed"

    k = 0
    while True:
        folder = Path(tempfile.mkdtemp(dir=SCRATCH.name)) / "run"
        if forked(lambda: killed_at(folder, k)) is not None:
            break  # there are no more files
        problem = forked(lambda: runs.train(TINY, folder, resume=True) and "") or difference(folder, whole)
        yield problem and f"write {k}: {problem}"
        k += 1 if large else 5
    yield "" if k > 8 else f"only {k} writes were met"


def full_disks(draw: random.Random, large: bool) -> Iterator[str]:
    "Where a file cannot be written, an error names it, what was there is whole, nothing is left, and a training goes on as soon as there is room."
    run = finished_run()
    whole, most = left_by(run), (run / "checkpoint.pt").stat().st_size
    limit = lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))  # such a write fails as on a full disk
    writes = TINY.epochs * 3 + 5  # of a training: of each epoch checkpoint, log and picture; config.json twice, weights, curves and summary

    def failing(k):
        "os.fsync, which fails at the k-th file."
        counts = iter(range(k + 1))

        def fsync(_):
            if next(counts, k) == k:
                raise OSError(28, "No space left on device")
        return fsync

    def starved(folder: Path, k: int | None) -> str:
        "Train where the k-th file finds the disk full, or, without k, a file beyond a size drawn before."
        def train():
            with patch("os.fsync", failing(k)) if k is not None else contextlib.nullcontext(limit(size)):
                runs.train(TINY, folder, resume=True)
        return refused(train, (folder,))

    for k in range(writes) if large else draw.sample(range(writes), 1):
        folder = Path(tempfile.mkdtemp(dir=SCRATCH.name)) / "run"
        problem = forked(lambda: starved(folder, k))
        left = [p.name for p in folder.rglob("*.tmp*")]
        problem = problem or left and f"left {left}" or forked(lambda: runs.train(TINY, folder, resume=True) and "") or difference(folder, whole)
        yield problem and f"file {k}: {problem}"
    for _ in range(20 if large else 1):
        folder, size = Path(tempfile.mkdtemp(dir=SCRATCH.name)) / "run", draw.randrange(most)
        problem = forked(lambda: starved(folder, None))
        left = [p.name for p in folder.rglob("*.tmp*")]
        problem = problem or left and f"left {left}" or forked(lambda: runs.train(TINY, folder, resume=True) and "") or difference(folder, whole)
        yield problem and f"{size} bytes: {problem}"

    def saved_over(size: int) -> str:
        "Write weights over others; the old ones must stay."
        path = Path(tempfile.mkdtemp(dir=SCRATCH.name)) / "own.safetensors"
        net = zoo.load(run / "model.safetensors").net
        before = runs.save_weights(net, path).read_bytes()
        limit(size)
        problem = refused(lambda: runs.save_weights(net, path), (path,))
        return problem or ("" if path.read_bytes() == before and len(list(path.parent.iterdir())) == 1 else "the old weights are gone, or more is there")

    def sampled(words: list[str], name: str, size: int) -> str:
        "Sample into files that cannot be written."
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            limit(size)
            status, out, err = call(words)  # progress bars come before
            said = err.splitlines()[-1] if err else ""
            fine = status == 1 and not out and said.startswith("diffmnist: ") and name in said and not list(Path().iterdir())
            return "" if fine else f"{words}: status {status}, {out}, {said}, {list(Path().iterdir())}"

    for _ in range(5 if large else 1):
        size = draw.randrange(most // 20)
        yield forked(lambda: saved_over(size))
    for suffix in ("png", "jpg", "bmp", "gif", "webp") if large else ("jpg",):
        for size in (0, 100, 1000) if large else (100,):
            yield forked(lambda: sampled(["sample", str(run / "model.safetensors"), "--steps", "2", "--out", f"x.{suffix}"], f"x.{suffix}", size))
    for size in (0, 1000) if large else (100,):
        words = ["sample", str(run / "model.safetensors"), "--steps", "3", "--out", "x.png", "--animation", "x.gif"]
        yield forked(lambda: sampled(words, "x.gif", size))


def two_runs(draw: random.Random, large: bool) -> Iterator[str]:
    "A second training in a folder is refused by name and changes nothing; once the first is killed, another goes on."
    whole, folder = left_by(finished_run()), Path(tempfile.mkdtemp(dir=SCRATCH.name)) / "run"
    if not (pid := os.fork()):
        try:
            with patch.object(runs, "fit", lambda *_: time.sleep(60)):
                runs.train(TINY, folder)
        finally:
            os._exit(0)
    try:
        for _ in range(600):
            if (folder / "config.json").exists():
                break
            time.sleep(0.05)
        before = snapshot(folder)
        yield refused(lambda: runs.train(TINY, folder, resume=True), (f"{folder} is in use",))
        with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
            yield line_refused([*WORDS, str(folder)], (f"{folder} is in use",))
        yield "" if snapshot(folder) == before else "the refused runs changed the folder"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    yield forked(lambda: runs.train(TINY, folder, resume=True) and "") or difference(folder, whole)


WATCHED = """
import os, sys
asked, wrote = os.getcwd(), []
DOES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.utime"}

def watch(event, args):
    if event == "open" and isinstance(args[0], (str, bytes)) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        wrote.append(os.fsdecode(args[0]))
    elif event in DOES:
        wrote.extend(os.fsdecode(name) for name in args[:2] if isinstance(name, (str, bytes)))

sys.addaudithook(watch)
from diffmnist.__main__ import main
sys.argv[0] = "diffmnist"
status = main()
places = asked, os.environ["TMPDIR"], os.devnull
print("\\n".join({name for name in map(os.path.abspath, wrote) if not name.startswith(places)}), file=open(os.environ["WROTE"], "w"))
sys.exit(status)
"""


def written(draw: random.Random, large: bool) -> Iterator[str]:
    "A command writes where it was asked to, and nowhere else: here with a home that cannot be written to."
    lines = {"sample latent_one_step --n 4 --animation x.gif": {"samples.png", "x.gif"}}
    if large:
        lines |= {"list": set(), "--version": set(), "sample cfg_film --label 3 --n 4 --steps 3 --out x.jpg": {"x.jpg"}, "sample nobody": set(),
                  "evaluate latent_one_step --n 10 --seeds 1": set(), "playground --out page": {"page"}}
    for line, wanted in lines.items():
        with tempfile.TemporaryDirectory() as folder:
            place, temporary, list_of = (Path(folder).resolve() / name for name in ("place", "temporary", "wrote"))
            place.mkdir()
            temporary.mkdir()
            env = os.environ | {"HOME": "/dev/null/home", "TMPDIR": str(temporary), "WROTE": str(list_of)}
            env.pop("TORCHINDUCTOR_CACHE_DIR", None)  # torch makes it wherever temporary files go
            run = subprocess.run([sys.executable, "-B", "-c", WATCHED, *line.split()], cwd=place, env=env, capture_output=True, text=True)
            found, elsewhere = {p.name for p in place.iterdir()}, list_of.read_text().split() if list_of.exists() else [run.stderr]
            left = [p.name for p in temporary.iterdir() if not p.name.startswith("torchinductor_")]
            yield "" if (found, elsewhere, left) == (wanted, [], []) else f"{line}: {found} in its folder, {elsewhere} elsewhere, {left} left in TMPDIR"


PARTS = {  # what is tried, and what is to be said of those that went well
    "command lines": (command_lines, "refused in one line"),
    "bundled files": (bundled_files, "refused by name with one wrong bit"),
    "own files": (own_files, "refused by name when damaged"),
    "headers": (headers, "refused by name, or harmless, with a value of another kind"),
    "kills": (kills, "resumed to the same bits, with nothing left behind"),
    "half-written": (half_written, "of its files, at each of which a training was killed half-way, and resumed to the same bits"),
    "full disks": (full_disks, "said in one line, with nothing lost or left behind"),
    "two runs": (two_runs, "as they should be"),
    "written": (written, "wrote what was asked for and nothing else"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"only these: {', '.join(PARTS)}")
    parser.add_argument("--large", action="store_true", help="as many as there are: minutes")
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"no part named {', '.join(unknown)}: there are {', '.join(PARTS)}")
    torch.set_num_threads(1)
    tqdm.set_lock(threading.RLock())  # its own is shared with children: one that is killed would keep it
    tqdm.monitor_interval = 0  # no second thread, which a child would not have
    bad = 0
    with SCRATCH, patch.object(recipe, "data_split", cache(recipe.data_split)):  # the digits are read once
        recipe.data_split(None, True), recipe.data_split(None, False)
        for name in args.parts or PARTS:
            tries, well = PARTS[name]
            start, results = time.perf_counter(), []
            try:
                results += tries(random.Random(name), args.large)
            except Exception as err:
                results += [f"{type(err).__name__}: {err}"]
            wrong = [problem for problem in results if problem]
            print(f"{name}: {len(results) - len(wrong)} of {len(results)} {well} ({time.perf_counter() - start:.0f} s)", *wrong, sep="\n    ", flush=True)
            bad += len(wrong)
    sys.exit(bad > 0)


SCRATCH = tempfile.TemporaryDirectory()

if __name__ == "__main__":
    main()
