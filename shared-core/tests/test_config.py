import dataclasses
import datetime
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.core.config import difference, digest, dump_config, load_config, plain
from auscult.core.errors import ConfigError, InputError


@dataclass(frozen=True)
class Optimiser:
    learning_rate: float = 1e-4
    steps: int = 1000
    schedule: Literal["cosine", "constant", "off"] = "cosine"


@dataclass(frozen=True)
class Experiment:
    name: str
    beta: float = 0.1
    epsilon: float | None = None
    seed: int | Literal["random"] = 0
    verbose: bool = False
    data: Path = Path("data")
    layers: tuple[int, ...] = (8, 4)
    shape: tuple[int, float] = (1, 0.5)
    words: list[str] = field(default_factory=list)
    prices: dict[str, float] = field(default_factory=dict)
    sizes: dict[int, str] = field(default_factory=dict)
    optimiser: Optimiser = Optimiser()
    warmup: Optimiser | None = None
    stages: list[Optimiser] = field(default_factory=list)
    note: float | str = ""

    def __post_init__(self):
        if self.beta <= 0:
            raise ValueError(f"beta is {self.beta}: use a positive number")


def read(tmp_path, text, cls=Experiment):
    path = tmp_path / "run.yaml"
    path.write_text(text, "utf-8")
    return load_config(cls, path)


def test_a_yaml_file_becomes_the_dataclass(tmp_path):
    config = read(
        tmp_path,
        """
name: 体温
beta: 1
epsilon: null
seed: random
data: runs/a
layers: [16, 8]
shape: [2, 1]
words: [a, b]
prices: {m: 2}
sizes: {1: one}
optimiser: {schedule: constant}
warmup:
  steps: 5
stages:
  - {}
  - {steps: 3}
""",
    )
    assert config == Experiment(
        name="体温",
        beta=1.0,
        seed="random",
        data=Path("runs/a"),
        layers=(16, 8),
        shape=(2, 1.0),
        words=["a", "b"],
        prices={"m": 2.0},
        sizes={1: "one"},
        optimiser=Optimiser(schedule="constant"),
        warmup=Optimiser(steps=5),
        stages=[Optimiser(), Optimiser(steps=3)],
    )
    assert type(config.beta) is type(config.shape[1]) is type(config.prices["m"]) is float


@pytest.mark.parametrize(
    ("text", "value"), [("1e-4", 1e-4), ("1E5", 1e5), ("-2.5e3", -2500.0), (".5e1", 5.0), ("1.0e-4", 1e-4), ("3", 3.0)]
)
def test_a_number_with_an_exponent_is_a_number(tmp_path, text, value):
    config = read(tmp_path, f"name: x\nepsilon: {text}\noptimiser:\n  learning_rate: {text}\n")
    assert config.epsilon == config.optimiser.learning_rate == value


def test_an_empty_file_or_section_means_the_defaults(tmp_path):
    assert read(tmp_path, "", Optimiser) == Optimiser()
    assert read(tmp_path, "name: x\noptimiser:\n") == Experiment("x")
    assert read(tmp_path, "name: x\nwarmup:\n").warmup is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\nbta: 1", "unknown key 'bta' in run.yaml: did you mean 'beta'?"),
        (
            "name: x\noptimiser: {learnign_rate: 1}",
            "unknown key 'learnign_rate' in section 'optimiser' of run.yaml: did you mean 'learning_rate'?",
        ),
        ("name: x\nwarmup: {step: 1}", "unknown key 'step' in section 'warmup' of run.yaml: did you mean 'steps'?"),
        (
            "name: x\nstages:\n  - {}\n  - {zz: 1}",
            "unknown key 'zz' in section 'stages[1]' of run.yaml: valid keys are learning_rate, steps, schedule",
        ),
        ("beta: 1", "key 'name' is missing in run.yaml: it has no default"),
        ("name: x\nbeta: high", "'beta' in run.yaml is 'high', but a number is expected"),
        ("name: x\nbeta: true", "'beta' in run.yaml is True, but a number is expected"),
        ("name: x\nbeta:", "'beta' in run.yaml is None, but a number is expected"),
        ("name: x\noptimiser: {steps: 2.5}", "'optimiser.steps' in run.yaml is 2.5, but a whole number is expected"),
        ("name: x\noptimiser: 3", "'optimiser' in run.yaml is 3, but a section with the keys learning_rate, steps,"),
        ("name: x\nlayers: [1, a]", "'layers[1]' in run.yaml is 'a', but a whole number is expected"),
        ("name: x\nlayers: ab", "'layers' in run.yaml is 'ab', but a list of a whole number is expected"),
        ("name: x\nshape: [1]", "'shape' in run.yaml is [1], but a list of 2 (a whole number, a number) is expected"),
        ("name: x\nprices: {m: a}", "'prices.m' in run.yaml is 'a', but a number is expected"),
        ("name: x\nverbose: 1", "'verbose' in run.yaml is 1, but true or false is expected"),
        ("name: x\nseed: rand", "'seed' in run.yaml is 'rand', but a whole number or 'random' is expected"),
        ("name: off", "'name' in run.yaml is False, but text is expected (YAML reads on, off, yes and no as"),
        ("name: 007", "'name' in run.yaml is 7, but text is expected (put the text in quotes)"),
        ("name: 2020-01-01", "but text is expected (put the text in quotes)"),
        (
            "name: x\noptimiser: {schedule: off}",
            "'optimiser.schedule' in run.yaml is False, but one of 'cosine', 'constant', 'off' is expected (YAML reads",
        ),
        ("name: x\nbeta: -1", "beta is -1.0: use a positive number (in run.yaml)"),
        ("name: x\nbeta: 1\nname: y", "key 'name' is given twice in run.yaml, lines 1 and 3: keep one"),
        ("name: x\noptimiser: {steps: 1, steps: 2}", "key 'steps' is given twice in run.yaml, lines 2 and 2"),
        ("name: x\nbeta: [1", "run.yaml, line 2 is not YAML: "),
        ("name: x\n  beta: 1", "run.yaml, line 2 is not YAML: mapping values are not allowed here"),
        ("- name", "run.yaml is ['name'], but a section with the keys name, beta"),
        ("name: !!python/object:os.system x", "is not YAML: could not determine a constructor"),
        ("name: \x00", "is not YAML: "),
    ],
)
def test_a_mistake_is_one_sentence_that_says_where(tmp_path, text, message):
    with pytest.raises(ConfigError) as mistake:
        read(tmp_path, text)
    sentence = str(mistake.value).replace(str(tmp_path) + "/", "")
    assert message in sentence
    assert "\n" not in sentence


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml cannot be read .*: give the path of a YAML file"):
        load_config(Optimiser, tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"schedule: caf\xe9")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load_config(Optimiser, tmp_path / "latin.yaml")


def test_a_mapping_is_read_too_with_numpy_numbers_and_ready_sections():
    source = {"name": "x", "beta": np.float32(0.5), "layers": (np.int64(3),), "optimiser": Optimiser(steps=1)}
    config = load_config(Experiment, source)
    assert config == Experiment("x", beta=0.5, layers=(3,), optimiser=Optimiser(steps=1))
    assert type(config.layers[0]) is int
    with pytest.raises(ConfigError, match=r"^unknown key 'bta' in the configuration: did you mean 'beta'\?$"):
        load_config(Experiment, {"name": "x", "bta": 1})


texts = st.text(max_size=8) | st.sampled_from(
    ["off", "NO", "1e-4", "007", "null", "~", "2020-01-01", "1:30", " a", "a: b"]
)
optimisers = st.builds(
    Optimiser,
    learning_rate=st.floats(allow_nan=False),
    steps=st.integers(),
    schedule=st.sampled_from(["cosine", "constant", "off"]),
)
experiments = st.builds(
    Experiment,
    name=texts,
    beta=st.floats(min_value=0, exclude_min=True),
    epsilon=st.none() | st.floats(allow_nan=False),
    seed=st.integers() | st.just("random"),
    verbose=st.booleans(),
    data=st.sampled_from([Path("data"), Path("/a b/c.csv"), Path("1e-4")]),
    layers=st.lists(st.integers(), max_size=3).map(tuple),
    shape=st.tuples(st.integers(), st.floats(allow_nan=False)),
    words=st.lists(texts, max_size=3),
    prices=st.dictionaries(texts, st.floats(allow_nan=False), max_size=2),
    sizes=st.dictionaries(st.integers(), texts, max_size=2),
    optimiser=optimisers,
    warmup=st.none() | optimisers,
    stages=st.lists(optimisers, max_size=2),
    note=st.floats(allow_nan=False) | texts,
)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(config=experiments)
def test_a_dumped_config_loads_back_equal_with_the_same_digest(tmp_path_factory, config):
    again = read(tmp_path_factory.mktemp("config"), dump_config(config))
    assert again == config
    assert digest(again) == digest(config)
    assert difference(again, config) == []


@settings(deadline=None, derandomize=True, max_examples=100)
@given(a=experiments, b=experiments)
def test_digest_difference_and_equality_agree(a, b):
    assert (digest(a) == digest(b)) == (difference(a, b) == []) == (a == b)


def test_the_digest_depends_on_the_content_alone():
    one = {"a": 1, "b": {"c": (1, 2), "d": Path("x/y")}, "e": np.float64(0.5), "f": np.array([1, 2])}
    two = {"f": [1, 2], "e": 0.5, "b": {"d": "x/y", "c": [np.int64(1), 2.0]}, "a": True + 0}
    assert digest(one) == digest(two)
    assert digest(Optimiser()) == digest(dataclasses.asdict(Optimiser()))
    assert digest({"a": 1}) != digest({"a": True})
    assert digest({"a": 1}) != digest({"a": "1"})
    assert digest({"a": float("nan")}) == digest({"a": float("nan")}) != digest({"a": None})
    # printf '{"a":1,"b":[0.5,null,"\\u00e9"]}' | sha256sum
    assert digest({"b": (0.5, None, "é"), "a": 1.0}) == (
        "02be5fc41400da8c933b486555cc225fc1a3d8420410f4f48aa81ab4070b334d"
    )


def test_what_has_no_plain_form_is_refused():
    with pytest.raises(InputError, match="a value of type set cannot be stored or hashed"):
        digest({"a": {1, 2}})
    with pytest.raises(InputError, match=r"the key \(1, 2\) of type tuple cannot be stored"):
        digest({(1, 2): 0})
    assert plain(datetime.date(2020, 1, 2)) == "2020-01-02"
    assert math.isinf(plain(np.float64("inf")))


def test_the_difference_names_what_changed():
    old = {"a": 1, "b": {"c": [1, 2], "gone": "x"}, "same": [1]}
    new = {"a": 2.0, "b": {"c": [1, 3], "new": None}, "same": (1.0,)}
    assert difference(old, new) == [
        "a: 1 -> 2",
        "b.c[1]: 2 -> 3",
        'b.gone: "x" -> (absent)',
        "b.new: (absent) -> null",
    ]
    assert difference({"a": [1]}, {"a": [1, 2]}) == ["a: [1] -> [1, 2]"]


def test_the_difference_of_long_texts_shows_where_they_part():
    prompt = "You are a physician. " * 20
    (line,) = difference({"template": prompt + "Answer yes or no."}, {"template": prompt + "Answer with a number."})
    assert "yes or no" in line
    assert "with a number" in line
    assert len(line) < 160


class TestPydantic:
    """The same rules for pydantic models, which two libraries use; the core does not require pydantic."""

    @pytest.fixture
    def models(self):
        pydantic = pytest.importorskip("pydantic")

        class Backend(pydantic.BaseModel):
            url: str = "http://localhost"
            temperature: float = 0.0

        class Study(pydantic.BaseModel):
            name: str
            backend: Backend = Backend()
            others: tuple[Backend, ...] = ()
            maybe: Backend | None = None
            folder: Path = Path("x")

        return Study, Backend

    def test_round_trip_and_digest(self, models, tmp_path):
        Study, Backend = models
        config = Study(name="a", maybe=Backend(temperature=1e-4), others=(Backend(),))
        assert read(tmp_path, dump_config(config), Study) == config
        assert digest(config) == digest(config.model_dump())

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("name: a\nbackedn: {}", "unknown key 'backedn' in run.yaml: did you mean 'backend'?"),
            ("name: a\nbackend: {ulr: x}", "unknown key 'ulr' in section 'backend' of run.yaml: did you mean 'url'?"),
            ("name: a\nmaybe: {ulr: x}", "unknown key 'ulr' in section 'maybe' of run.yaml"),
            ("name: a\nothers: [{}, {ulr: x}]", "unknown key 'ulr' in section 'others[1]' of run.yaml"),
            (
                "name: a\nbackend: {temperature: hot}",
                "'backend.temperature' in run.yaml: Input should be a valid number",
            ),
            ("backend: {}", "'name' in run.yaml: Field required"),
        ],
    )
    def test_mistakes(self, models, tmp_path, text, message):
        with pytest.raises(ConfigError) as mistake:
            read(tmp_path, text, models[0])
        assert message in str(mistake.value).replace(str(tmp_path) + "/", "")

    def test_a_check_of_its_own_speaks_alone(self, tmp_path):
        pydantic = pytest.importorskip("pydantic")

        class Pair(pydantic.BaseModel):
            low: int = 0
            high: int = 1

            @pydantic.model_validator(mode="after")
            def ordered(self):
                if self.low > self.high:
                    raise ValueError("low lies above high: swap them")
                return self

        class Whole(pydantic.BaseModel):
            pair: Pair = Pair()

        for cls, content, message in (
            (Pair, {"low": 2}, "low lies above high: swap them"),
            (Whole, {"pair": {"low": 2}}, "'pair' in the configuration: low lies above high: swap them"),
        ):
            with pytest.raises(ConfigError) as mistake:
                load_config(cls, content)
            assert str(mistake.value) == message
        with pytest.raises(ConfigError, match=r"^low lies above high: swap them \(in .*run.yaml\)$"):
            read(tmp_path, "low: 2", Pair)
