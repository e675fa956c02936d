import pytest

from auscult.core.errors import InputError
from auscult.ehr_prompt.budget import Budget, count_tokens
from auscult.ehr_prompt.examples import show_examples


@pytest.fixture(scope="module")
def renderer(make):
    renderer = make(shots=3, units=True, ranges="corrected")
    show_examples(renderer)
    return renderer


def fit(renderer, case, context):
    return Budget(context=context).fit(renderer, case, renderer.prompt(case))


def test_what_is_dropped_grows_in_the_declared_order_and_the_limit_holds(renderer, split, tjh):
    case = next(c for c in renderer.cases(split["test"]) if c.end >= 6 and not renderer.measured(c).all())
    full = count_tokens(renderer.prompt(case))
    stages = []
    for context in range(full + 200, 0, -97):
        if context <= 80:
            break
        fitted = fit(renderer, case, context)
        kinds = [word.split()[1] for word in fitted.dropped]
        assert kinds == ["examples", "of", "visits"][: len(kinds)] or kinds == ["examples", "visits"]
        stages.append(len(kinds))
        if fitted.prompt is None:
            assert fitted.tokens > context - 80
        else:
            assert count_tokens(fitted.prompt) == fitted.tokens <= context - 80
            whole = set(renderer.prompt(case).user.splitlines())
            heads = [line for line in fitted.prompt.user.splitlines() if not line.startswith(("- ", "Visits"))]
            assert set(heads) <= whole
    assert stages == sorted(stages)
    assert stages[0] == 0
    assert stages[-1] == 3


def test_sentences_hold_their_ranges_whatever_is_dropped(make, split):
    renderer = make(layout="text", units=True, ranges="corrected")
    case = next(c for c in renderer.cases(split["test"]) if c.end >= 6 and not renderer.measured(c).all())
    fitted = fit(renderer, case, count_tokens(renderer.prompt(case)))
    assert [word.split()[1] for word in fitted.dropped] == ["visits"]


def test_first_and_last_visits_stay(renderer, split, tjh):
    case = next(c for c in renderer.cases(split["test"]) if c.end >= 6)
    tightest = None
    for context in range(30_000, 500, -50):
        fitted = fit(renderer, case, context)
        if fitted.prompt is None:
            break
        tightest = fitted
    assert "Visits: 3, at" in tightest.prompt.user
    times = tjh.time[case.row, [0, case.end - 1, case.end]] / 24
    assert "at " + ", ".join(f"day {day:g}" for day in times) in tightest.prompt.user


def test_a_list_for_every_visit_drops_no_visit(make, split):
    renderer = make(task="los")
    case = max(renderer.cases(split["test"]), key=lambda case: case.end)
    assert fit(renderer, case, 1500).prompt is None


def test_a_tokenizer_is_used_where_there_is_one(renderer, split):
    case = renderer.cases(split["test"])[0]
    prompt = renderer.prompt(case)
    assert count_tokens(prompt, str.split) < count_tokens(prompt)
    assert count_tokens(prompt) >= len(prompt.user) / 2.5
    with pytest.raises(InputError, match="leaves no room"):
        fit(renderer, case, 64)
