"""Train models in the background: a few at a time, one thread each, each in a folder of its own; what was stopped goes on.

    nohup python tools/campaign.py FOLDER "ddpm" "flow" "second=reflow --teacher FOLDER/flow/model.safetensors" > campaign.log &

A job is the name of a model with options of `diffmnist train`, before it, if it is to differ, the name of its folder and "=".
A job that names weights which are not there yet waits for the job that makes them. A finished job is skipped.
"""
import argparse
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path


def parse(text, out):
    "A job's folder and its words."
    first, *options = shlex.split(text)
    folder, _, model = first.rpartition("=")
    return out / (folder or model), [model, *options]


def missing(words):
    "The weights that a job names and that are not there yet."
    return [path for word in words if (path := word.rpartition("=")[2]).endswith(".safetensors") and not Path(path).is_file()]


def log_of(folder):
    "Where a training's output goes."
    return folder.with_name(folder.name + ".txt")


def start(folder, words):
    "One training, with one thread and low priority, its output in a file beside the folder."
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "diffmnist", "train", *words, "--out", str(folder), "--resume"]
    with open(log_of(folder), "a") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=os.environ | {"OMP_NUM_THREADS": "1"},
                                preexec_fn=lambda: os.nice(10))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="FOLDER", help="where the folders go: outside of the repository")
    parser.add_argument("job", nargs="+", help="such as \"ddpm --epochs 20\"")
    parser.add_argument("--at-once", type=int, default=2, help="how many at a time (2)")
    args = parser.parse_args()
    jobs = [parse(text, args.out) for text in args.job]
    if len({folder for folder, _ in jobs}) < len(jobs):
        parser.error("two jobs have the same folder: name one of them differently, as in \"second=ddpm\"")
    running = {}
    try:
        return run(jobs, running, args.at_once)
    finally:
        for process in running.values():  # on an interrupt; each goes on from its last whole epoch when asked again
            process.terminate()


def run(waiting, running, at_once):
    "Start jobs as soon as they are ready; return whether one failed, or could not be started."
    say = lambda text: print(time.strftime("%Y-%m-%d %H:%M:%S"), text, flush=True)
    failed = []
    while waiting or running:
        for folder, words in list(waiting):
            if (folder / "model.safetensors").is_file():
                say(f"{folder.name}: done already")
                waiting.remove((folder, words))
            elif len(running) < at_once and not missing(words):
                say(f"{folder.name}: {' '.join(words)}")
                running[folder] = start(folder, words)
                waiting.remove((folder, words))
        if not running:
            break
        time.sleep(1)
        for folder, process in list(running.items()):
            if (status := process.poll()) is not None:
                del running[folder]
                say(f"{folder.name}: {'finished' if status == 0 else f'failed with status {status}, see {log_of(folder)}'}")
                failed += [folder.name] if status else []
    for folder, words in waiting:
        say(f"{folder.name}: not started, for want of {', '.join(missing(words))}")
    return bool(failed or waiting)


if __name__ == "__main__":
    sys.exit(main())
