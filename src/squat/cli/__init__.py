"""The command `squat`: thin verbs over the library, one file each. Heavy imports happen inside the verbs."""

from squat.cli.app import app, main

__all__ = ["app", "main"]
