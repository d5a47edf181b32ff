"""`python -m squat.cli`: the command without its entry point."""

from squat.cli import main

main()
