"""Some of the damaged tars, indices and manifests that tests/fuzz/fuzz_shards.py takes by the ten thousand."""

import pytest
from fuzz.fuzz_shards import MOST_BYTES, TRIES, peak_bytes, run


@pytest.mark.parametrize("kind", TRIES)
def test_what_is_damaged_ends_in_an_answer_or_in_one_line(kind: str):
    before = peak_bytes()
    answers = run(kind, seed=1, numbers=range(60))
    assert sum(answers.values()) == 60
    assert {part for answer in answers for part in answer.split("/")} <= {"ok", "DataError", "StorageError"}
    assert len(answers) > 1
    assert peak_bytes() - before < MOST_BYTES // 4
