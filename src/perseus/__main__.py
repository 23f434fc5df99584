"""Where `perseus` and `python -m perseus` begin: Ctrl-C counts from the first import on."""

import sys


def main() -> None:
    """Run the command line and exit; quietly with 130 where Ctrl-C comes while it is still being loaded."""
    try:
        from perseus.cli import main as command_line
    except KeyboardInterrupt:
        sys.exit(130)
    command_line()


if __name__ == "__main__":
    main()
