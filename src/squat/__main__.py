"""`python -m squat`: the command `squat` without its entry point."""

from squat.cli import main

main()
