"""`python -m perseus`: the command line."""

from perseus.cli import main

main()
