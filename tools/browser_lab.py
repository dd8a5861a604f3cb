"""JupyterLab as `make lab` starts it, on a copy of the project: four notebooks are run in full, and every slider in them is moved by the keyboard."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import expect

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("Makefile", "settings.ini", "setup.py", "tools", "nbs")  # what `make lab` needs of the project
NAMES = ("03b_metrics", "05_vae", "03_ddpm", "01_forward_process")  # those with sliders that take least; the longest first
NOT_A_COURSE_OUTPUT = re.compile(r"Traceback|Error displaying|Loading widget|[a-z]Error\b|model not found")
SLOW = re.compile(r"(#\|.*\n)*#\| *(slow|gpu)\n")
OPEN_AND_RUN = """async (names) => {
  const app = jupyterapp, running = [];
  for (const name of ["index", ...names]) {
    const panel = await app.commands.execute("docmanager:open", {path: name + ".ipynb"});
    await panel.context.ready;
    await panel.sessionContext.ready;
    app.shell.activateById(panel.id);
    while (app.shell.currentWidget !== panel) await new Promise((done) => setTimeout(done, 50));
    if (name !== "index") running.push(app.commands.execute("notebook:run-all-cells"));
  }
  await Promise.all(running);
}"""
SHOW_CELL = """async ([name, i]) => {
  const panel = await jupyterapp.commands.execute("docmanager:open", {path: name + ".ipynb"});
  panel.content.activeCellIndex = i;
  await panel.content.scrollToItem(i, "start");
}"""
CELLS = """async (name) => {
  const panel = await jupyterapp.commands.execute("docmanager:open", {path: name + ".ipynb"});
  return panel.content.model.sharedModel.toJSON().cells;
}"""
EDIT_AND_SAVE = """async ([name, i, line]) => {
  const panel = await jupyterapp.commands.execute("docmanager:open", {path: name + ".ipynb"});
  if (line) { const cell = panel.content.widgets[i].model.sharedModel; cell.setSource(cell.getSource() + line); }
  await panel.context.save();
}"""


@contextmanager
def project():
    "A copy of what `make lab` needs, in a git repository of its own: nothing of the original is touched."
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder) / "diffmnist"
        folder.mkdir()
        for name in COPIED:
            (shutil.copytree if (ROOT / name).is_dir() else shutil.copy2)(ROOT / name, folder / name)
        for command in (("init", "-q"), ("add", "."), ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "all")):
            subprocess.run(["git", *command], cwd=folder, check=True)
        yield folder


@contextmanager
def lab(folder):
    "`make lab`, without a browser of its own; yields the page that it would have opened."
    settings = folder.parent / "jupyter"  # not the user's
    env = {key: value for key, value in os.environ.items() if key not in ("DIFFMNIST_SLOW", "IN_TEST", "JUPYTER_CONFIG_PATH")}
    env |= {f"JUPYTER_{name}_DIR": str(settings / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    env |= {f"JUPYTERLAB_{name}_DIR": str(settings / name.lower()) for name in ("SETTINGS", "WORKSPACES")} | {"OMP_NUM_THREADS": "1"}
    args = ("--no-browser --ServerApp.port=0 --LabApp.expose_app_in_browser=True "
            "--LabApp.news_url=None --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate")
    with open(settings.parent / "log", "w") as log:
        server = subprocess.Popen(["make", "lab", f"--old-file={sys.prefix}/.installed", f"VENV={sys.prefix}", f"LAB_ARGS={args}"],
                                  cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        while not (found := list(settings.glob("runtime/jpserver-file-to-run-*-open.html"))):
            assert server.poll() is None, Path(log.name).read_text()
            time.sleep(0.2)
        yield found[0].as_uri()
    finally:
        os.killpg(server.pid, 15)  # make and the server, which ends its kernels
        server.wait()
        while list(settings.glob("runtime/jpserver-*.json")):  # until it has
            time.sleep(0.2)


def outputs_are_whole(name, cells, committed):
    "No error, nothing lost; slow cells say so and show what is stored. Returns the indices of the cells with sliders."
    sliders = []
    for i, (cell, before) in enumerate(zip(cells, committed, strict=True)):
        outputs = cell.get("outputs", [])
        text = "".join(str(out.get("text", "")) + str(out.get("data", {}).get("text/plain", "")) + str(out.get("traceback", "")) for out in outputs)
        assert not NOT_A_COURSE_OUTPUT.search(text), (name, i, text)
        assert bool(outputs) >= bool(before.get("outputs")), (name, i, "no output")
        if SLOW.match(cell["source"]):
            assert text.startswith("Skipped ("), (name, i, text)
            stored, shown = ([out["data"]["image/png"].strip() for out in z if "image/png" in out.get("data", {})] for z in (before["outputs"], outputs))
            assert stored == shown and len(outputs) == 1 + len(before["outputs"]), (name, i, "the stored output is not shown")
        if re.search(r"^explore\(", cell["source"], re.M):
            sliders.append(i)
    return sliders


def move(cell, slider, key):
    "Press a key on a slider. If its value changes, wait for the picture to change; returns whether it did."
    picture, value = cell.locator(".jp-OutputArea-output img"), slider.locator(".widget-readout")
    before, old = picture.get_attribute("src"), value.inner_text()
    slider.locator(".noUi-handle").press(key)
    if value.inner_text() == old:  # at its end already
        return False
    expect(picture).not_to_have_attribute("src", before, timeout=60_000)
    return True


def move_sliders(page, name, i):
    "Every slider of a cell to its ends and a step back."
    page.evaluate(SHOW_CELL, [name, i])
    cell = page.locator(f".jp-NotebookPanel:not(.lm-mod-hidden) [data-windowed-list-index='{i}']")
    sliders = cell.locator(".widget-slider")
    assert sliders.count(), (name, i, "no slider")
    for k in range(sliders.count()):
        assert sliders.nth(k).locator(".widget-label").inner_text(), (name, i, "a slider without a name")
        changes = [move(cell, sliders.nth(k), key) for key in ("Home", "End", "ArrowLeft")]
        assert sum(changes) >= 2, (name, i, changes)
    assert not NOT_A_COURSE_OUTPUT.search(cell.locator(".jp-OutputArea").inner_text()), (name, i)
    return sliders.count()


def test_slow_cells(browser):
    "every slow cell says how long it takes, in a notebook that skips it"
    for path in sorted((ROOT / "nbs").glob("*.ipynb")):
        sources = ["".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
        skips = [i for i, source in enumerate(sources) if re.search(r"^(dm\.)?picture_style\(\)", source, re.M)]
        for i, source in enumerate(sources):
            if SLOW.match(source):
                assert re.search(r"^# slow: .*; to run it: %env DIFFMNIST_SLOW=1$", source, re.M), (path.name, source[:200])
                assert skips and skips[0] < i, (path.name, "no picture_style() before its slow cells")


def test_lab(browser):
    "make lab: index first, four notebooks run, slow cells skipped, sliders moved, nothing to commit"
    with project() as folder, lab(folder) as address:
        committed = {name: json.loads((folder / "nbs" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"] for name in NAMES}
        page = browser.new_page(viewport={"width": 1366, "height": 900})
        page.goto(address)
        page.wait_for_url("**/lab/tree/index.ipynb*")
        page.wait_for_selector(".jp-NotebookPanel h1 >> visible=true")
        page.evaluate(OPEN_AND_RUN, NAMES)
        moved = 0
        for name in NAMES:
            sliders = outputs_are_whole(name, page.evaluate(CELLS, name), committed[name])
            assert sliders, (name, "no sliders")
            moved += sum(move_sliders(page, name, i) for i in sliders)
            page.evaluate(EDIT_AND_SAVE, [name, 0, ""])
        status = lambda: subprocess.run(["git", "diff", "--stat"], cwd=folder, capture_output=True, text=True).stdout
        assert not status(), f"saving after a run is a change to git: {status()}"
        page.evaluate(EDIT_AND_SAVE, [name, sliders[0], "\n# mine"])
        assert f"{name}.ipynb" in status() and "1 file changed" in status(), f"an edit is lost: {status()}"
        page.close()
        print(f"{moved} sliders moved")
