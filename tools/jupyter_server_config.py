"""Settings of `make lab`, which names this folder in JUPYTER_CONFIG_PATH: to run a notebook and save it is no change that git sees."""
import subprocess
from pathlib import Path

import nbdev.config
import nbformat
from nbdev.clean import clean_nb


def committed_cells(path):
    "The code cells of the notebook in git's last commit; none if it is not there, or git is not."
    try:
        text = subprocess.run(["git", "show", f"HEAD:./{path.name}"], cwd=path.parent, capture_output=True, check=True).stdout
        return [cell for cell in nbformat.reads(text.decode(), as_version=4).cells if cell.cell_type == "code"]
    except (OSError, subprocess.CalledProcessError):
        return []


def keep_committed_outputs(model, path, contents_manager, **_):
    """Clean a notebook as nbdev does, before it is saved; up to the first code cell that its reader changed, outputs stay as committed.

    What a cell prints, such as a time, differs from run to run. `make course` is what renews the outputs of a notebook.
    """
    if model["type"] != "notebook":
        return
    notebook, settings = model["content"], nbdev.config.get_config(path=Path(__file__).parent)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for cell, committed in zip(code, committed_cells(Path(contents_manager.root_dir, path.strip("/")))):
        if cell["source"] != committed["source"]:
            break
        cell["outputs"] = committed["outputs"]
    clean_nb(notebook, allowed_cell_metadata_keys=settings.allowed_cell_metadata_keys.split(), clean_ids=settings.clean_ids)


get_config().ContentsManager.pre_save_hook = keep_committed_outputs  # noqa: F821 (Jupyter gives this function to its configuration files)
