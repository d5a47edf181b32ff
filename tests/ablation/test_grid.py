"""The grid: which networks are trained, which are calibrated, and that nothing runs twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ablation_fakes import small_config
from squat.ablation import CELLS, Cell, crossed, register_cell, register_scheme
from squat.ablation.cells import get_cell, parent_of
from squat.ablation.grid import Coordinates, expand, job_at
from squat.ablation.presets import ALL_CELLS, PRESETS, preset
from squat.quant.spec import ThresholdCentered, Uniform


def test_one_data_set_needs_sixteen_trainings_a_seed() -> None:
    config = small_config(cells=ALL_CELLS, schemes=("uniform", "threshold_centered"), bits=(8, 4, 2), seeds=(0,))
    groups = expand(config)
    assert len(groups) == 1 + 3 * (1 + 2 + 2)
    assert sum(group.train.cell == "float" for group in groups) == 1
    calibrated = [job.cell for group in groups for job in group.calibrations]
    assert {cell: calibrated.count(cell) for cell in set(calibrated)} == {
        "weight-ptq": 3, "state-ptq": 6, "ptq": 6, "qat+state-ptq": 6, "squat+weight-ptq": 6,
    }  # fmt: skip


def test_calibrated_cells_start_from_the_right_network() -> None:
    parents = {name: parent_of(get_cell(name)).name for name in ALL_CELLS if not CELLS[name].trained}
    assert parents == {
        "state-ptq": "float", "weight-ptq": "float", "ptq": "float",
        "squat+weight-ptq": "squat", "qat+state-ptq": "qat",
    }  # fmt: skip
    for group in expand(small_config(cells=ALL_CELLS)):
        for job in group.calibrations:
            assert job.parent == group.train.id
            assert (job.seed, job.run.train, job.run.data) == (group.train.seed, group.train.run.train, job.run.data)


def test_specs_and_scale_rule_of_every_job() -> None:
    for group in expand(small_config(cells=ALL_CELLS, bits=((4, 2),))):
        for job in group.jobs:
            network, cell = job.run.network, get_cell(job.cell)
            assert (network.weights is None) == (cell.weights == "float")
            assert (network.states is None) == (cell.states == "float")
            assert network.weights is None or (network.weights.bits, network.weights.scale) == (4, "mse")
            assert network.states is None or network.states.bits == 2
            assert (job.calibrate_weights is not None) == (cell.weights == "ptq")
            assert (job.calibrate_states is not None) == (cell.states == "ptq")
            assert job.state_ranges == (
                (("published", "calibrated") if cell.states == "ptq" else ("published",)) if job.parent else ()
            )
            assert network.arithmetic == "integer"  # float weights or float states take the float rule by themselves


def test_parents_of_calibrated_cells_are_added() -> None:
    groups = expand(small_config(cells=("ptq",), schemes=("uniform",), seeds=(5,)))
    assert [job.cell for group in groups for job in group.jobs] == ["float", "ptq"]


def test_ids_are_stable_unique_and_follow_the_settings() -> None:
    config = small_config(cells=ALL_CELLS, bits=crossed((4, 2)))
    ids = [job.id for group in expand(config) for job in group.jobs]
    assert len(set(ids)) == len(ids)
    assert ids == [
        job.id for group in expand(small_config(cells=ALL_CELLS, bits=crossed((4, 2)))) for job in group.jobs
    ]
    slower = expand(replace(config, learning_rates={"float": 1e-4}))
    assert slower[0].train.id != ids[0]
    assert slower[0].train.run.train.learning_rate == 1e-4
    changed = [job.cell for group in slower for job in group.jobs if job.id not in ids]
    assert set(changed) == {"float", "state-ptq", "weight-ptq", "ptq"}  # with the network, what is calibrated from it


def test_crossed_bits_train_each_network_once() -> None:
    groups = expand(
        small_config(cells=("qat", "squat", "qat+squat"), schemes=("uniform",), bits=crossed((4, 2)), seeds=(0,))
    )
    cells = [group.train.cell for group in groups]
    assert (cells.count("qat"), cells.count("squat"), cells.count("qat+squat")) == (2, 2, 4)


def test_a_beta_per_scheme_and_bits_reaches_the_parents() -> None:
    config = small_config(cells=("float", "squat", "ptq"), seeds=(0,), betas={"uniform/4": 0.5})
    job = job_at(config, get_cell("squat"), Coordinates("uniform", None, 4), 0)
    assert job.run.network.beta == 0.5
    groups = expand(config)
    betas = {
        group.train.run.network.beta: [j.scheme for j in group.calibrations]
        for group in groups
        if group.train.cell == "float"
    }
    assert betas == {0.9: ["threshold_centered"], 0.5: ["uniform"]}


def test_registering() -> None:
    with pytest.raises(ValueError, match=r"cell 'float' is registered as .*; choose another name"):
        register_cell(Cell("float", "qat", "float"))
    with pytest.raises(ValueError, match="scheme 'uniform' is registered already; choose another name"):
        register_scheme("uniform", ThresholdCentered)
    register_scheme("uniform", Uniform)  # the same again: nothing to object to


@pytest.mark.parametrize("name", PRESETS)
def test_presets_expand_and_survive_json(name: str) -> None:
    config = preset(name)
    assert type(config).from_json(config.to_json()) == config
    assert expand(config)


def test_unknown_preset() -> None:
    with pytest.raises(
        ValueError, match=r"preset='nothing': expected one of 'demo', 'digits', .*'nmnist'; or give a JSON"
    ):
        preset("nothing")
