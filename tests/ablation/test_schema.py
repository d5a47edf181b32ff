"""Documents of a results folder: what is missing or of another kind is named with its file."""

import json
from pathlib import Path

import pytest

from squat.ablation.schema import check_data, check_record

PATH = Path("results/records/a.json")
EVALUATION = {"accuracy": 0.5, "tied_share": 0.0, "predictions": [0, 2], "spike_rates": {"0 LIF": 0.1}}
RECORD = {"id": "a", "cell": "qat", "seconds": 1.5, "status": "ok", "validation": EVALUATION, "test": EVALUATION}
RECORD |= {"size": {"weights": 3, "states": 2}}
DATA = {"name": "digits", "classes": 3, "steps": 4, "samples": {"train": 2}, "test_labels": [0, 1]}


def test_whole_documents_pass():
    assert check_data(PATH, DATA) is DATA
    check_data(PATH, DATA | {"test_labels": {"0": [0, 1], "1": [2]}})
    assert check_record(PATH, RECORD) is RECORD
    check_record(PATH, RECORD | {"test": None})
    check_record(PATH, {"id": "a", "cell": "qat", "seconds": 0, "status": "failed", "error": "ValueError: none"})


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key in DATA for value in (None, -1, [-1], {"more": [None]})]
)
def test_data_of_another_kind_are_named(key, value):
    with pytest.raises(ValueError, match=rf"a.json: damaged, {key}=.* is not what `squat ablate` writes; delete it"):
        check_data(PATH, DATA | {key: value})


@pytest.mark.parametrize(
    ("place", "value"),
    [("id", 1), ("cell", None), ("seconds", -1.0), ("seconds", True), ("status", "half"), ("size", [1]),
     ("size.weights", 1.5), ("validation", None), ("test", 3), ("test.accuracy", 1e300), ("test.predictions", [0, -1]),
     ("test.spike_rates", {"0 LIF": None}), ("validation.tied_share", "none")],
)  # fmt: skip
def test_records_of_another_kind_are_named(place, value):
    record = json.loads(json.dumps(RECORD))
    where, _, key = place.rpartition(".")
    (record[where] if where else record)[key] = value
    with pytest.raises(ValueError, match=rf"a.json: damaged, {place}="):
        check_record(PATH, record)
