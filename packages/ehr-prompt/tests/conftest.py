import numpy as np
import pytest

from auscult.core import cli
from auscult.core.data import Cohort, Feature, load_cohort, split_subjects
from auscult.core.testing import Completed
from auscult.ehr_prompt import baselines
from auscult.ehr_prompt.cli import app
from auscult.ehr_prompt.config import PromptConfig
from auscult.ehr_prompt.panel import Panel, PanelFeature, load_panel
from auscult.ehr_prompt.rendering import Renderer


@pytest.fixture(scope="session", autouse=True)
def few_trees():
    """Let the baselines of most runs be small: one test asks for those of the real size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "TREES", 10)
        yield


@pytest.fixture
def command(capsys):
    """Return a function that runs the command in this process and returns what it answered."""

    def command(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.run(app, [str(one) for one in arguments])
        said = capsys.readouterr()
        return Completed(int(end.value.code or 0), said.out, said.err)

    return command


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """Return the folder of a causal language model of two small layers, random but for its seed, with a tokenizer."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<pad>", "<s>", "</s>", "<|user|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
    )  # fmt: skip
    bare.train_from_iterator(
        ["Yes No Reply with a probability between 0 and 1. The patient in question: visit"], trainer
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bare, pad_token="<pad>", bos_token="<s>", eos_token="</s>", model_max_length=4096
    )
    tokenizer.chat_template = (
        "{% for message in messages %}<|user|>{{ message.content }}</s>{% endfor %}"
        "{% if add_generation_prompt %}<|user|>{% endif %}"
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=4096, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        )
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("tiny")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def few(tmp_path_factory, tjh):
    """Return the path of a split with the usual training patients and six others, and of a panel of three variables."""
    from auscult.core.data.splits import Split

    folder = tmp_path_factory.mktemp("few")
    shares = {"train": 0.3, "validation": 0.1, "test": 0.6}
    whole = split_subjects(tjh.subject_id, stratify=tjh.labels["mortality"], fractions=shares, seed=42)
    rest = np.concatenate([whole.subjects["validation"], whole.subjects["test"][6:]])
    parts = {"train": whole.subjects["train"], "validation": np.sort(rest), "test": whole.subjects["test"][:6]}
    Split(parts, 42, True).save(folder / "split.json")
    (folder / "panel.yaml").write_text(
        "name: three\npersona: You are a physician.\nvisit: day\ntime_unit: day\nfeatures:\n"
        "- {name: Lactate dehydrogenase, unit: U/L, range: 140 - 280}\n- {name: albumin}\n- {name: Urea}\n"
    )
    return {"split": str(folder / "split.json"), "panel": str(folder / "panel.yaml")}


@pytest.fixture(scope="session")
def tjh():
    return load_cohort("tjh")


@pytest.fixture(scope="session")
def split(tjh):
    shares = {"train": 0.3, "validation": 0.1, "test": 0.6}
    split = split_subjects(tjh.subject_id, stratify=tjh.labels["mortality"], fractions=shares, seed=42)
    return split.index(tjh.subject_id)


@pytest.fixture(scope="session")
def make(tjh, split):
    """Return a function that makes a renderer of the TJH cohort, or of a changed copy, with some settings."""

    def make(cohort=None, **settings):
        cohort = cohort or tjh
        return Renderer(cohort, load_panel(None, tjh), PromptConfig(**settings), split["train"])

    return make


@pytest.fixture
def small():
    """Return three tiny stays, and a renderer of them with settings."""
    nan = np.nan
    cohort = Cohort(
        record_id=["a", "b", "c"],
        subject_id=[1, 2, 3],
        time=[[0, 24, 72], [12, nan, nan], [0, 6, nan]],
        values=[
            [[250, nan, nan], [nan, 3.25, nan], [301.5, nan, nan]],
            [[nan, 4.0, nan], [nan] * 3, [nan] * 3],
            [[100, 3.0, 1], [200, nan, nan], [nan] * 3],
        ],
        length=[3, 1, 2],
        features=(Feature("LDH "), Feature("K"), Feature("state", kind="categorical", levels=("calm", "agitated"))),
        static=[[1, 52], [0, 61.4], [np.nan, np.nan]],
        static_features=(Feature("sex", kind="categorical", levels=("female", "male")), Feature("age")),
        labels={"mortality": [1, 0, 0], "los_days": [[9, 8, 6], [3, nan, nan], [2, 1, nan]]},
        anchor=np.array(["2020-02-01", "2020-02-02", "2020-02-03"], "datetime64[us]"),
    )
    panel = Panel(
        name="small",
        persona="You are a physician.",
        features=(
            PanelFeature(name="K", unit="mmol/L", range="3.5 - 5.0"),
            PanelFeature(name="LDH ", unit="U/L", range="< 250"),
            PanelFeature(name="state"),
        ),
    )

    def make(train=(2,), **settings):
        return Renderer(cohort, panel, PromptConfig(**settings), list(train))

    return make
