"""Settings for an ablation, chosen on validation: beta on `float`, one learning rate per trained cell.

    python tools/tune.py digits runs/tune-digits

tries the same learning rates in every trained cell at 4 bits, with one seed and fewer epochs than the preset,
and writes its choice to `tuned.json` in the folder. The test split is not read. The chosen values stand in
`squat/ablation/presets.py`.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from squat.ablation.presets import preset
from squat.ablation.runner import Options
from squat.ablation.tune import Tuned, tune

GRIDS: dict[str, dict[str, Any]] = {
    "digits": {"epochs": 10, "learning_rates": (1e-3, 2e-3, 4e-3, 8e-3), "betas": (0.9, 0.95)},
    "digits-rcubalif": {"epochs": 10, "learning_rates": (1e-3, 2e-3, 4e-3), "betas": (0.5, 0.65, 0.8)},
    "digits-ralif": {"epochs": 10, "learning_rates": (2e-3, 4e-3, 8e-3), "betas": (0.6, 0.7, 0.8, 0.9)},
    "fashion": {"epochs": 3, "learning_rates": (5e-4, 1e-3, 2e-3), "betas": (0.9, 0.95)},
    "nmnist": {"epochs": 6, "learning_rates": (2e-3, 4e-3, 8e-3), "betas": (0.8, 0.9, 0.95)},
}


def tune_preset(name: str, folder: str, n_jobs: int = 1, **grid: list[float]) -> Tuned | None:
    """Tune a preset on its grid, or on another one; a killed tuning goes on where it was."""
    options = {**GRIDS[name], **{key: tuple(values) for key, values in grid.items() if values}}
    config = preset(name)
    base = replace(config.base, train=replace(config.base.train, epochs=options.pop("epochs")))
    short = replace(config, base=base, bits=(4,), seeds=(0,), learning_rates={}, betas={})
    return tune(short, folder, **options, options=Options(n_jobs=n_jobs))


def main() -> None:
    """Tune as the command line says and print the table and the choice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", choices=GRIDS)
    parser.add_argument("folder")
    parser.add_argument("--learning-rates", type=float, nargs="+", help="another grid, where the best lay at an end")
    parser.add_argument("--betas", type=float, nargs="+")
    arguments = parser.parse_args()
    tuned = tune_preset(
        arguments.preset, arguments.folder, learning_rates=arguments.learning_rates, betas=arguments.betas
    )
    for row in tuned.table if tuned else ():
        print(row)
    print(tuned and {"beta": tuned.beta, "learning_rates": tuned.learning_rates})


if __name__ == "__main__":
    main()
