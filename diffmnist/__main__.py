"The command `diffmnist`, also as `python -m diffmnist`."
import sys


def main() -> int:  # exit status
    "The command line, which takes seconds to import: Ctrl-C may come before it is there."
    try:
        from .cli import main
    except KeyboardInterrupt:
        return 130
    return main()


if __name__ == "__main__":
    sys.exit(main())
