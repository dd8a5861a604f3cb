"""Tests in a browser: python tools/browser.py [pages] [lab] [playground]; all by default.

Each of tools/browser_NAME.py holds functions test_*(browser); an assertion or any other exception is a failure. The browser is Chromium, found on
the PATH or named by $CHROMIUM; Playwright drives it.
"""
import importlib
import os
import shutil
import sys
import time
import traceback
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
NAMES = ("pages", "lab", "playground")
WIDTHS = {"desktop": (1366, 768), "phone": (390, 844)}
OFFLINE = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run", "--disable-background-networking",
           "--disable-component-update", "--disable-sync"]


@contextmanager
def open_browser():
    "Chromium, or the end of the program in one sentence that says what is missing."
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not path:
        sys.exit("The browser tests need Chromium: install it (Debian: apt install chromium), or name it in the variable CHROMIUM.")
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        sys.exit("The browser tests need Playwright: pip install playwright.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=OFFLINE)
        yield browser
        browser.close()


def main():
    names = sys.argv[1:] or [name for name in NAMES if Path(__file__).with_name(f"browser_{name}.py").exists()]
    if unknown := set(names) - set(NAMES):
        sys.exit(f"no browser tests named {', '.join(sorted(unknown))}: there are {', '.join(NAMES)}")
    passed = failed = 0
    with open_browser() as browser:
        for name in names:
            for key, test in vars(importlib.import_module(f"browser_{name}")).items():
                if key.startswith("test_"):
                    start, error = time.perf_counter(), None
                    try:
                        test(browser)
                    except Exception as err:
                        error = err
                        traceback.print_exc()
                    passed, failed = passed + (error is None), failed + (error is not None)
                    print(f"{'ok    ' if error is None else 'FAILED'} {name}: {test.__doc__ or key} ({time.perf_counter() - start:.0f} s)", flush=True)
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
