"The command `diffmnist`, also as `python -m diffmnist`."
import sys


def main() -> int:  # exit status
    "The command line, which takes seconds to import: Ctrl-C may come before it is there."
    if sys.argv[1:] == ["--version"]:
        from . import __version__
        print(__version__)
        return 0
    try:
        from .cli import main
    except KeyboardInterrupt:
        return 130
    return main()


if __name__ == "__main__":
    sys.exit(main())
