import json
import stat
from dataclasses import replace

import numpy as np
import pyarrow.parquet
import pytest

from auscult.core.endpoint import RequestFailedError
from auscult.core.errors import InputError, RunMismatchError
from auscult.core.testing import assert_self_contained
from auscult.o2m_attack import AttackConfig, Templates, campaign
from auscult.o2m_attack.campaign import MOST_UNANSWERED, read_entries, read_png
from auscult.o2m_attack.defences import STOPPED, AskingDetector, Jpeg
from auscult.o2m_attack.exports import export_run
from auscult.o2m_attack.judges import PhraseJudge, judge_run
from auscult.o2m_attack.judges.judging import judges_of, plain, read_judged
from auscult.o2m_attack.judges.relevance import relevance_run
from auscult.o2m_attack.presentation import write_report
from auscult.o2m_attack.transfer import read_replies, transfer_run

CONFIG = AttackConfig(steps=2, search_width=4, topk=8, suffix_length=3, epsilon=8 / 255, image_steps=1, new_tokens=4)


class Clerk:
    """Another model: refuses what it was told about labels, counts what it was asked."""

    def __init__(self, name="clerk"):
        self.name, self.asked = name, []

    def generate(self, queries, *, max_new_tokens=64):
        self.asked += queries
        return ["Sorry, no." if "label" in query.question else "Sure." for query in queries]


@pytest.fixture(scope="module")
def finished(llava, new_record, tmp_path_factory):
    """A small run of everything, on a random model."""
    folder = tmp_path_factory.mktemp("run") / "run"
    records = [new_record(seed, policy=policy) for seed, policy in enumerate(["Matching", "Selection"])]
    campaign.run(
        llava, records, folder, conditions=("normal", "2m"), optimizers=("none", "gcg", "pgd", "mcm"), config=CONFIG
    )
    return folder


@pytest.fixture
def run(finished, tmp_path):
    import shutil

    return shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("driver.lock"))


def test_another_model_is_asked_what_the_run_found(run):
    clerk = Clerk()
    result = transfer_run(run, clerk, batch_size=3)
    assert result == {
        "model": "clerk", "defence": "", "entries": 16, "done": 16, "stopped": 0, "failed": 0, "reasons": {}
    }  # fmt: skip
    entries = list(read_entries(run))
    for entry, query in zip(entries, clerk.asked, strict=True):
        expected = read_png(entry["image"] or entry["clean_image"])
        np.testing.assert_array_equal(query.image, expected)
        assert (query.question, query.suffix, query.claim) == (entry["question"], entry["suffix"], entry["claim"])
        if entry["optimizer"] == "gcg":
            assert entry["image"] is None
            assert query.suffix


def test_a_transfer_goes_on_and_repeats_nothing(run):
    class Tired(Clerk):
        def generate(self, queries, *, max_new_tokens=64):
            if len(self.asked) >= 6:
                raise KeyboardInterrupt
            return super().generate(queries, max_new_tokens=max_new_tokens)

    with pytest.raises(KeyboardInterrupt):
        transfer_run(run, Tired(), batch_size=3)
    clerk = Clerk()
    assert transfer_run(run, clerk, batch_size=3)["done"] == 10
    assert len(clerk.asked) == 10
    assert transfer_run(run, clerk)["done"] == 0


class Moody(Clerk):
    """A server's model that fails on some requests, each by its place in the order of asking."""

    def __init__(self, fails):
        super().__init__("moody")
        self.fails = fails

    def generate(self, queries, *, max_new_tokens=64):
        answers = super().generate(queries)
        if any(self.fails(query) for query in queries):
            raise RequestFailedError("status 400: moderated")
        return answers


def test_a_request_that_fails_costs_no_other_reply(run):
    result = transfer_run(run, Moody(lambda query: query.suffix != "" and "label" in query.question), batch_size=5)
    assert (result["done"], result["failed"], result["reasons"]) == (12, 4, {"failed: status 400: moderated": 4})
    assert len([reply for reply in read_replies(run) if reply["model"] == "moody"]) == 12
    again = Moody(lambda query: False)
    assert transfer_run(run, again)["done"] == 4
    assert len(again.asked) == 4


def test_a_server_that_answers_nothing_ends_a_transfer(run):
    silent = Moody(lambda query: True)
    with pytest.raises(RequestFailedError):
        transfer_run(run, silent, batch_size=1)
    assert len(silent.asked) == MOST_UNANSWERED


def test_replies_to_another_wording_are_not_mixed(run):
    transfer_run(run, Clerk())
    other = Clerk()
    other.templates = Templates(turn="{question} {image} {suffix}")
    with pytest.raises(RunMismatchError, match="turn"):
        transfer_run(run, other)
    assert not other.asked


def test_a_run_s_own_model_is_asked_again_only_behind_a_defence(run):
    """Its replies would be counted twice."""
    clerk = Clerk("tiny-llava-0")
    with pytest.raises(InputError, match="is the run's own model"):
        transfer_run(run, clerk)
    assert transfer_run(run, clerk, defence=Jpeg(50))["done"] == 16


def test_a_claim_without_modality_and_region_is_judged_as_well(new_record, tmp_path):
    record = new_record(original_attribute="Angiogram", unmatch_attribute="Biopsy")
    campaign.run(Clerk(), [record], tmp_path, optimizers=("none",), config=CONFIG)
    summary = judge_run(tmp_path)["prefix"]
    assert (summary["rates"][0]["n"], summary["by_stratum"]) == (1, [])


def test_defences_and_models_have_replays_of_their_own(run):
    transfer_run(run, Clerk(), defence=Jpeg(50), optimizers=["none"])
    detector = AskingDetector(question="Is it {claim}?", fits=lambda reply, claim: claim == "CT and Chest")
    result = transfer_run(run, Clerk(), defence=detector)
    assert result["stopped"] == 8
    replies = list(read_replies(run))
    assert len(replies) == 16 + 4 + 16
    assert {reply["defence"] for reply in replies} == {"", "JPEG 50", detector.name}
    assert all((reply["response"] == STOPPED) == reply["blocked"] for reply in replies if reply["replayed"])
    assert {reply["condition"] for reply in replies if reply["blocked"]} == {"2m"}


def test_what_was_replayed_is_private(run):
    transfer_run(run, Clerk())
    judge_run(run)
    for path in run.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode & 0o077 == 0, path


def test_verdicts_are_given_once_and_add_up(run):
    transfer_run(run, Clerk())
    seen = []
    judge = PhraseJudge("count", lambda text: bool(seen.append(text)) or "Sorry" in text)
    first = judge_run(run, judges=[judge, "reference39"])
    distinct = len(seen)
    assert judge_run(run, judges=[judge, "reference39"])["count"]["rates"][0] == first["count"]["rates"][0]
    assert len(seen) == distinct, "a reply was judged twice"
    assert judges_of(run) == ["count", "reference39"]
    rows = {(row["model"], row["condition"], row["optimizer"]): row for row in first["reference39"]["rates"]}
    assert rows["clerk", "normal", "none"]["asr"].value == 1.0
    assert rows["clerk", "2m", "mcm"]["asr"].value == 0.0
    assert len(rows) == 16
    benign = [row for row in first["reference39"]["false_refusals"] if row["model"] == "clerk"]
    assert all(row["refusal_rate"].value == 0 for row in benign)
    assert {row["policy"] for row in first["reference39"]["by_policy"]} == {"Matching", "Selection"}
    assert {row["stratum"] for row in first["reference39"]["by_stratum"]} == {"both"}
    assert all(row["first"] != row["second"] and row["pairs"] == 2 for row in first["count"]["comparisons"])


def test_what_a_defence_stopped_is_refused_for_every_judge(run):
    transfer_run(run, Clerk(), defence=AskingDetector(question="Is it {claim}?"))
    seen = []
    judge = PhraseJudge("yielding", lambda text: bool(seen.append(text)))
    rows = judge_run(run, judges=[judge])["yielding"]["rates"]
    assert STOPPED not in seen
    assert {row["asr"].value for row in rows if row["defence"]} == {0.0}
    assert {row["asr"].value for row in rows if not row["defence"]} == {1.0}


def test_a_judge_without_a_verdict_is_asked_again(run):
    class Unsure:
        name = "unsure"

        def __init__(self, verdict):
            self.verdict = verdict

        def refused(self, answers):
            return [self.verdict] * len(answers)

    assert judge_run(run, judges=[Unsure(None)])["unsure"]["rates"][0]["no_verdict"] == 2
    assert judge_run(run, judges=[Unsure(True)])["unsure"]["rates"][0]["refusal_rate"].value == 1.0
    assert {reply["refused"] for reply in read_judged(run, "unsure")} == {True}


def test_summaries_are_json(run):
    summary = plain(judge_run(run)["prefix"])
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert set(summary["rates"][0]["asr"]) == {"value", "ci"}


def test_relevance_is_to_the_claim_and_prompt_of_the_condition_and_the_clean_image(run, new_record):
    class Encoder:
        logit_scale = 50.0

        def __init__(self):
            self.references, self.images = set(), []

        def similarity(self, first, second):
            self.references |= set(first)
            return np.ones(len(first))

        def cosine(self, images, texts):
            self.images += images
            return np.full(len(images), 0.5)

    encoder = Encoder()
    records = [new_record(seed, policy=policy) for seed, policy in enumerate(["Matching", "Selection"])]
    rows = relevance_run(run, records, text_encoder=encoder, image_encoder=encoder, n_boot=50)
    assert encoder.references == {
        "CT and Chest What colour is the marker?", "MRI and Brain Which name is on the label?"}  # fmt: skip
    assert {(row["condition"], row["optimizer"]) for row in rows} == {
        (c, o) for c in ("normal", "2m") for o in ("none", "gcg", "pgd", "mcm")}  # fmt: skip
    assert all(row["n"] == 2 and row["text_score"].value == 1 and row["image_score"].value == 25 for row in rows)
    assert all(any(image is record.image for record in records) for image in encoder.images)
    with pytest.raises(InputError, match="no encoder"):
        relevance_run(run, records)
    with pytest.raises(InputError, match="a reply about record 'r1'"):
        relevance_run(run, records[:1], text_encoder=encoder)
    with pytest.raises(InputError, match="record 'r1' is another one than the run's"):
        relevance_run(run, [records[0], replace(records[1], image=255 - records[1].image)], text_encoder=encoder)
    other_claims = [replace(record, unmatch_attribute="CT and Brain") for record in records]
    assert relevance_run(run, other_claims, text_encoder=encoder, n_boot=50)[0]["n"] == 2


def test_the_report_tells_all_and_shows_no_text(run):
    transfer_run(run, Clerk())
    transfer_run(run, type("Llava", (Clerk,), {})("tiny-llava-0"), defence=Jpeg(50))
    path = write_report(run)
    page = path.read_text("utf-8")
    assert_self_contained(page)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for words in (
        "Before any optimisation", "What each optimiser achieved", "Images before and after", "Behind defences",
        "On other models", "By judge", "JPEG 50", "clerk", "data:image/png", "CT and Chest", "Selection",
    ):  # fmt: skip
        assert words in page, words
    private = {e[name] for e in read_entries(run) for name in ("question", "response", "suffix") if e.get(name)}
    assert private
    assert not [text for text in private if len(text) > 3 and text in page]
    shown = write_report(run, run / "open.html", show_text=True).read_text("utf-8")
    assert "Which name is on the label?" in shown


def test_the_replies_of_run_and_replays_are_exported_with_their_verdicts(run, tmp_path):
    transfer_run(run, Clerk())
    transfer_run(run, Clerk(), defence=AskingDetector(question="Is it {claim}?"))
    judge_run(run, judges=["prefix", PhraseJudge("own", lambda text: text == "Sure.")])
    files = export_run(run, tmp_path, prefix="a-")
    assert {path.name for path in files} >= {"a-replies.jsonl", "a-replies.parquet"}
    rows = [json.loads(line) for line in (tmp_path / "a-replies.jsonl").read_text().splitlines()]
    assert [row["replayed"] for row in rows] == [False] * 16 + [True] * 32
    assert "label" not in (tmp_path / "a-replies.jsonl").read_text()
    for row in rows[16:32]:
        restricted = row["condition"] == "2m"
        assert row["refused"] == {"prefix": restricted, "own": not restricted}
    assert all(row["blocked"] and set(row["refused"].values()) == {True} for row in rows[32:])
    counts = {row["optimizer"]: row["n"] for row in judge_run(run, judges=["prefix"])["prefix"]["rates"]}
    assert counts == {row["optimizer"]: 2 for row in rows}


def test_half_a_character_in_a_reply_is_kept_and_shown(new_record, tmp_path):
    """Servers send them: JSON can hold what UTF-8 cannot."""

    class Halved(Clerk):
        def generate(self, queries, *, max_new_tokens=64):
            return ["half \ud83d of " + " ".join(f"word{n}" for n in range(99)) for _ in queries]

    campaign.run(Halved(), [new_record()], tmp_path, optimizers=("none",), config=CONFIG)
    assert judge_run(tmp_path)["prefix"]["rates"][0]["n"] == 1
    write_report(tmp_path, show_text=True)
    files = {path.name: path for path in export_run(tmp_path, show_text=True)}
    for table in ("entries", "replies"):
        kept = pyarrow.parquet.read_table(files[f"{table}.parquet"])["response"][0].as_py()
        assert kept.startswith("half \\ud83d of")
        assert "half \\ud83d of" in files[f"{table}.jsonl"].read_text("utf-8")


def test_a_report_judges_what_has_come_since(run):
    """Before, replies that were replayed after the judging were missing in its rates without a word."""

    class Newcomer(Clerk):
        def generate(self, queries, *, max_new_tokens=64):
            return [f"Sorry, {query.suffix}" for query in queries]

    own = PhraseJudge("own", lambda text: False)
    judge_run(run, judges=["prefix", own])
    transfer_run(run, Newcomer("newcomer"))
    page = write_report(run).read_text("utf-8")
    assert "have no verdict" not in page
    assert all(reply["refused"] for reply in read_judged(run, "prefix") if reply["replayed"])
    assert "16 of 32 replies have no verdict of this judge" in write_report(run, judge="own").read_text("utf-8")
    with pytest.raises(InputError, match="'reference39' has not judged"):
        write_report(run, judge="reference39")


def test_a_report_of_replies_alone(tmp_path, new_record):
    campaign.run(Clerk(), [new_record()], tmp_path / "run", conditions=("2m",), optimizers=("none",), config=CONFIG)
    page = write_report(tmp_path / "run").read_text("utf-8")
    assert_self_contained(page)
    assert "What each optimiser achieved" not in page


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
def test_the_report_in_a_browser(run, width):
    from auscult.core.testing.browser import find_chromium, open_in_chromium

    if find_chromium() is None:
        pytest.skip("no Chromium on the path")
    transfer_run(run, Clerk())
    seen = open_in_chromium(write_report(run), width)
    assert seen.title == "What the model refused, and what it was led to"
    assert seen.scroll_width <= width
    assert not seen.console_errors
    assert not seen.requests


@pytest.mark.parametrize("call", [judge_run, write_report, lambda folder: transfer_run(folder, Clerk())])
def test_a_folder_without_a_run_is_one_sentence(call, tmp_path):
    with pytest.raises(InputError, match="holds no run"):
        call(tmp_path)


def test_a_transfer_of_nothing(run):
    with pytest.raises(InputError, match="no entry to replay"):
        transfer_run(run, Clerk(), optimizers=["other"])
