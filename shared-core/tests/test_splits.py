import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.core.data import Split, few_shot, load_cohort, split_subjects
from auscult.core.errors import InputError, MissingDependencyError

PAPER = {"train": 0.3, "validation": 0.1, "test": 0.6}


@pytest.fixture(scope="module")
def tjh():
    return load_cohort("tjh")


@pytest.fixture(scope="module")
def paper_split(tjh):
    return split_subjects(tjh.subject_id, stratify=tjh.labels["mortality"], fractions=PAPER, seed=42)


def test_the_papers_tjh_split_has_its_sizes_and_ids(tjh, paper_split):
    index = paper_split.index(tjh.subject_id)
    deaths = {name: int(tjh.labels["mortality"][rows].sum()) for name, rows in index.items()}
    assert {name: len(rows) for name, rows in index.items()} == {"train": 108, "validation": 36, "test": 217}
    assert deaths == {"train": 50, "validation": 16, "test": 100}
    days = {name: int(tjh.length[rows].sum()) for name, rows in index.items()}
    assert days == {"train": 536, "validation": 182, "test": 986}
    assert paper_split.subjects["test"][:12].tolist() == [1, 2, 4, 5, 7, 8, 9, 11, 12, 14, 15, 18]
    assert paper_split.subjects["train"][:8].tolist() == [3, 6, 10, 13, 17, 19, 20, 25]


def test_the_papers_ten_shots(tjh, paper_split):
    rows = paper_split.index(tjh.subject_id)["train"]
    drawn = few_shot(tjh.subject_id[rows], tjh.labels["mortality"][rows], per_class=5, seed=0)
    assert drawn.tolist() == [186, 74, 156, 194, 79, 211, 252, 312, 300, 279]


def test_the_successors_test_set_of_two_hundred(tjh):
    fractions = {"train": 161 / 361 * 7 / 8, "validation": 161 / 361 / 8, "test": 200 / 361}
    index = split_subjects(tjh.subject_id, fractions=fractions, seed=42).index(tjh.subject_id)
    assert {name: len(rows) for name, rows in index.items()} == {"train": 140, "validation": 21, "test": 200}
    assert tjh.labels["mortality"][index["test"]].sum() == 91
    assert tjh.length[index["test"]].sum() == 967


def test_seventy_ten_twenty_is_the_default_and_that_of_two_plain_calls(tjh):
    from sklearn.model_selection import train_test_split

    ids, died = tjh.subject_id, tjh.labels["mortality"]
    rest, test = train_test_split(ids, test_size=20 / 100, random_state=42, stratify=died)
    died_of = dict(zip(ids.tolist(), died.tolist(), strict=True))
    train, validation = train_test_split(
        rest, test_size=10 / 80, random_state=42, stratify=[died_of[i] for i in rest.tolist()]
    )
    split = split_subjects(ids, stratify=died, seed=42)
    for name, expected in {"train": train, "validation": validation, "test": test}.items():
        np.testing.assert_array_equal(split.subjects[name], np.sort(expected))


@settings(deadline=None, derandomize=True)
@given(
    st.lists(st.integers(0, 40), max_size=60),
    st.integers(0, 5),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_no_subject_lies_on_two_sides_and_the_order_of_rows_does_not_matter(subjects, seed, as_text, random):
    subject_id = np.array([*subjects, *range(10)])
    subject_id = subject_id.astype(str) if as_text else subject_id
    split = split_subjects(subject_id, seed=seed)
    parts = [set(ids.tolist()) for ids in split.subjects.values()]
    assert set.union(*parts) == set(subject_id.tolist())
    assert sum(map(len, parts)) == len(set(subject_id.tolist()))
    index = split.index(subject_id)
    assert sorted(np.concatenate(list(index.values())).tolist()) == list(range(len(subject_id)))
    order = list(range(len(subject_id)))
    random.shuffle(order)
    again = split_subjects(subject_id[order], seed=seed)
    for name, ids in split.subjects.items():
        np.testing.assert_array_equal(ids, again.subjects[name])


def test_a_subject_counts_as_the_largest_class_of_its_records():
    subject_id = np.repeat(np.arange(40), 2)
    died = np.zeros(80, dtype=int)
    died[1:40:2] = 1  # the second stay of subjects 0 to 19
    split = split_subjects(subject_id, stratify=died, fractions={"train": 0.5, "test": 0.5}, seed=1)
    assert [int((ids < 20).sum()) for ids in split.subjects.values()] == [10, 10]


def test_sizes_are_rounded_up_without_the_dust_of_decimal_fractions():
    # 100 * 0.55 is 55.000000000000007 in binary.
    fractions = {"train": 0.45, "test": 0.55}
    assert len(split_subjects(np.arange(100), fractions=fractions, seed=0).subjects["test"]) == 55
    assert len(split_subjects(np.arange(101), fractions=fractions, seed=0).subjects["test"]) == 56


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fractions": {"train": 0.7, "test": 0.2}}, "give positive shares that sum to 1"),
        ({"fractions": {"train": 1.2, "test": -0.2}}, "give positive shares that sum to 1"),
        ({"fractions": {}}, "give positive shares that sum to 1"),
        ({"stratify": [0, 1]}, "10 records have .* classes: give one class per record"),
        ({"stratify": [0.0] * 9 + [np.nan]}, "class is missing"),
        ({"stratify": ["a"] * 9 + [None]}, "class is missing"),
        ({"stratify": [0] * 9 + [1]}, "10 subjects cannot give 2 to 'test'"),
        ({"fractions": {"train": 0.05, "test": 0.95}}, "10 subjects cannot give 10 to 'test'"),
    ],
)
def test_what_cannot_be_split_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        split_subjects(np.arange(10), seed=0, **options)


def test_splitting_without_scikit_learn_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.model_selection", None)
    with pytest.raises(MissingDependencyError, match="pip install 'scikit-learn'"):
        split_subjects(np.arange(10), seed=0)


@pytest.mark.parametrize("dtype", [int, str])
def test_a_saved_split_comes_back(tmp_path, dtype):
    ids = np.arange(30).astype(dtype)
    split = split_subjects(ids, seed=3)
    split.save(tmp_path / "new" / "split.json")
    again = Split.load(tmp_path / "new" / "split.json")
    assert (again.seed, again.stratified, list(again.subjects)) == (3, False, ["train", "validation", "test"])
    for name, expected in split.index(ids).items():
        np.testing.assert_array_equal(again.index(ids)[name], expected)


def test_a_split_of_other_data_is_refused():
    split = split_subjects(np.arange(10), seed=0)
    with pytest.raises(InputError, match="subject 10 is in no part of the split"):
        split.index(np.arange(11))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no saved split"),
        ("[]", "is no saved split"),
        ('{"seed": 1, "stratified": true}', "is no saved split"),
        (json.dumps({"seed": 1, "stratified": True, "subjects": {"a": [1, 2], "b": [2]}}), "subject 2 is in two parts"),
    ],
)
def test_a_file_that_is_no_split_is_refused(tmp_path, text, message):
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(InputError, match=message):
        Split.load(tmp_path / "split.json")


def test_a_missing_split_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        Split.load(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("subject_id", "message"),
    [
        ([1, 2, np.nan, np.nan], "a record's subject is missing"),
        (["a", None, "b", "c"], "a record's subject is missing"),
        (np.array([1, "a", 2, 3], object), "mixes types"),
        (np.zeros((2, 2)), "give one subject for each record"),
    ],
)
def test_subjects_that_are_none_are_refused(subject_id, message):
    with pytest.raises(InputError, match=message):
        split_subjects(subject_id, fractions={"train": 0.5, "test": 0.5}, seed=0)


def test_few_shot_draws_each_class_and_refuses_too_many():
    subject_id, label = np.arange(20), np.arange(20) % 2
    drawn = few_shot(subject_id, label, per_class=3, seed=5)
    assert (drawn % 2).tolist() == [0, 0, 0, 1, 1, 1]
    order = np.random.default_rng(0).permutation(20)
    assert few_shot(subject_id[order], label[order], per_class=3, seed=5).tolist() == drawn.tolist()
    with pytest.raises(InputError, match="a class has 10 subjects, fewer than per_class=11"):
        few_shot(subject_id, label, per_class=11, seed=5)
    with pytest.raises(InputError, match="per_class is -1: draw one"):
        few_shot(subject_id, label, per_class=-1, seed=5)
