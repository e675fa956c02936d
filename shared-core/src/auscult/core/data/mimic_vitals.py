"""The 17 bedside variables of the MIMIC benchmark, in MIMIC-III and in MIMIC-IV.

Harutyunyan et al., "Multitask learning and benchmarking with clinical time series data", Scientific Data 2019,
under the names that its successors kept, misspelling included; outer and valid bounds are its ranges, reference
ranges those that studies of prompting show. Item ids below 220000 are those of CareVue, the older of the two
bedside systems of MIMIC-III; MIMIC-IV has the newer, MetaVision, alone.

Where a source was a mistake (glucose and pH of urine, pH of other fluids) it is left out. The panels ``seed`` keep
it and the other habits of the scripts in wide use, so that their values can be made again: every oxygen fraction
divided by 100, Fahrenheit told by its size alone, the words of both systems as states of their own; and for
MIMIC-IV the ids of MIMIC-III, among which refill and the total score have none there, and inches that stay inches.
"""

from collections.abc import Mapping

from auscult.core.data.conversions import (
    NUMBER,
    NUMBER_OR_TEXT,
    PLAIN_TEXT,
    after_slash,
    before_slash,
    celsius,
    fahrenheit,
    levels,
    oxygen_fraction,
    percent,
    positions,
    times,
    unless_unit,
)
from auscult.core.data.feature import Feature, ReferenceRange
from auscult.core.data.panel import Bounds, Panel, Source, Variable

REFILL, OXYGEN, SATURATION = "Capillary refill rate", "Fraction inspired oxygen", "Oxygen saturation"
EYE, MOTOR, TOTAL, VERBAL = (
    f"Glascow coma scale {part}" for part in ("eye opening", "motor response", "total", "verbal response")
)
DIASTOLIC, MEAN, SYSTOLIC = (f"{part} blood pressure" for part in ("Diastolic", "Mean", "Systolic"))
POUND = 0.453592

# What CareVue (with a number in front) and MetaVision write, and the level it means; what a tube keeps from being
# tested counts as the lowest.
REFILL_WORDS = {"Normal <3 secs": 0, "Brisk": 0, "Abnormal >3 secs": 1, "Delayed": 1}
EYE_WORDS = {
    "1 No Response": 1, "2 To pain": 2, "3 To speech": 3, "4 Spontaneously": 4,
    "None": 1, "To Pain": 2, "To Speech": 3, "Spontaneously": 4,
}  # fmt: skip
MOTOR_WORDS = {
    "1 No Response": 1, "2 Abnorm extensn": 2, "3 Abnorm flexion": 3, "4 Flex-withdraws": 4, "5 Localizes Pain": 5,
    "6 Obeys Commands": 6, "No response": 1, "Abnormal extension": 2, "Abnormal Flexion": 3, "Flex-withdraws": 4,
    "Localizes Pain": 5, "Obeys Commands": 6,
}  # fmt: skip
VERBAL_WORDS = {
    "1 No Response": 1, "1.0 ET/Trach": 1, "2 Incomp sounds": 2, "3 Inapprop words": 3, "4 Confused": 4,
    "5 Oriented": 5, "No Response": 1, "No Response-ETT": 1, "Incomprehensible sounds": 2, "Inappropriate Words": 3,
    "Confused": 4, "Oriented": 5,
}  # fmt: skip
UNTESTABLE = ("1.0 ET/Trach", "No Response-ETT")


def _numeric(
    name: str, unit: str | None, decimals: int, normal: tuple[float | None, float | None] | None, bounds: Bounds
) -> tuple[Feature, Bounds]:
    ranges = () if normal is None else (ReferenceRange(*normal),)
    return Feature(name, unit=unit, decimals=decimals, reference_ranges=ranges), bounds


def _score(name: str, low: int, high: int) -> tuple[Feature, Bounds]:
    return Feature(name, _displayed(name), "ordinal", decimals=0), Bounds(low, high)


def _states(name: str, words: tuple[str, ...]) -> tuple[Feature, Bounds]:
    return Feature(name, _displayed(name), "categorical", levels=words), Bounds(0, len(words) - 1)


def _displayed(name: str) -> str:
    return name.replace("Glascow coma scale", "Glasgow Coma Scale")


_FEATURES: list[tuple[Feature, Bounds]] = [
    _states(REFILL, ("normal", "abnormal")),
    _score(EYE, 1, 4),
    _score(MOTOR, 1, 6),
    _score(TOTAL, 3, 15),
    _score(VERBAL, 1, 5),
    _numeric(DIASTOLIC, "mmHg", 0, (None, 80), Bounds(0, 375)),
    _numeric(OXYGEN, None, 2, (0.21, None), Bounds(0.2, 1.1, 0.21, 1)),
    _numeric("Glucose", "mg/dL", 0, (70, 100), Bounds(0, 2200, 33, 2000)),
    _numeric("Heart Rate", "/min", 0, (60, 100), Bounds(0, 390, 0, 350)),
    _numeric("Height", "cm", 0, None, Bounds(0, 275, 0, 240)),
    _numeric(MEAN, "mmHg", 0, (None, 100), Bounds(0, 375, 14, 330)),
    _numeric(SATURATION, "%", 0, (95, 100), Bounds(0, 150, 0, 100)),
    _numeric("Respiratory rate", "/min", 0, (15, 18), Bounds(0, 330, 0, 300)),
    _numeric(SYSTOLIC, "mmHg", 0, (None, 120), Bounds(0, 375)),
    _numeric("Temperature", "°C", 1, (36.1, 37.2), Bounds(14.2, 47, 26, 45)),
    _numeric("Weight", "kg", 1, None, Bounds(0, 250)),
    _numeric("pH", None, 2, (7.35, 7.45), Bounds(6.3, 10, 6.3, 8.4)),
]
_TOTALS = tuple(map(str, range(3, 16)))
_SEED_FEATURES = {
    EYE: _states(EYE, tuple(EYE_WORDS)),
    MOTOR: _states(MOTOR, tuple(MOTOR_WORDS)),
    TOTAL: _states(TOTAL, _TOTALS),
    VERBAL: _states(VERBAL, tuple(VERBAL_WORDS)),
}
# What those scripts never made a number of before they sorted it.
_SORTED_AS_TEXT = (EYE, MOTOR, TOTAL, VERBAL, "Heart Rate", MEAN, "Respiratory rate")

_DIASTOLIC_4, _DIASTOLIC_3 = (
    (220051, 225310, 220180, 224643),
    (8368, 8555, 8441, 8502, 8440, 8503, 8504, 8507, 8506),
)
_MEAN_4, _MEAN_3 = (220052, 225312, 224322, 220181), (52, 224, 6702, 456, 3312, 3314, 3316, 3322, 3320)
_SYSTOLIC_4, _SYSTOLIC_3 = (
    (220050, 225309, 220179, 224167, 227243),
    (51, 6701, 455, 3313, 3315, 442, 3317, 3323, 3321),
)
DIASTOLIC_ITEMS, MEAN_ITEMS, SYSTOLIC_ITEMS = _DIASTOLIC_3 + _DIASTOLIC_4, _MEAN_3 + _MEAN_4, _SYSTOLIC_3 + _SYSTOLIC_4
_CHARTED_PH = (780, 1126, 3839, 1673, 223830, 4753, 4202, 860, 220274)
_CELSIUS, _FAHRENHEIT = (3655, 677, 676, 223762), (3654, 678, 679, 223761)


def charts(codes: tuple[int, ...], value: str = NUMBER) -> tuple[Source, ...]:
    """Return the source of items that are charted at the bedside."""
    return (Source("chartevents", codes, value),)


def labs(codes: tuple[int, ...], value: str = NUMBER) -> tuple[Source, ...]:
    """Return the source of items of the laboratory."""
    return (Source("labevents", codes, value),)


_MIMIC3 = {
    REFILL: charts((3348, 115, 8377), levels(REFILL_WORDS)),
    EYE: charts((184, 220739), levels(EYE_WORDS)),
    MOTOR: charts((454, 223901), levels(MOTOR_WORDS)),
    TOTAL: charts((198,), NUMBER_OR_TEXT),
    VERBAL: charts((723, 223900), levels(VERBAL_WORDS)),
    DIASTOLIC: charts(DIASTOLIC_ITEMS, after_slash(NUMBER_OR_TEXT)),
    OXYGEN: charts((3420, 3422, 189, 727, 223835), oxygen_fraction(NUMBER_OR_TEXT)),
    "Glucose": charts((807, 811, 1529, 3745, 225664, 220621, 226537), PLAIN_TEXT) + labs((50931, 50809), PLAIN_TEXT),
    "Heart Rate": charts((211, 220045), NUMBER_OR_TEXT),
    "Height": charts((226730,), NUMBER_OR_TEXT) + charts((1394, 226707), times(2.54, NUMBER_OR_TEXT)),
    MEAN: charts(MEAN_ITEMS, NUMBER_OR_TEXT),
    SATURATION: charts((834, 8498, 646, 220227, 220277), percent(PLAIN_TEXT)) + labs((50817,), percent(PLAIN_TEXT)),
    "Respiratory rate": charts((618, 3603, 614, 651, 615, 220210, 224689, 224422, 224690), NUMBER_OR_TEXT),
    SYSTOLIC: charts(SYSTOLIC_ITEMS, before_slash(NUMBER_OR_TEXT)),
    "Temperature": charts(_CELSIUS, celsius(NUMBER_OR_TEXT)) + charts(_FAHRENHEIT, fahrenheit(NUMBER_OR_TEXT)),
    "Weight": charts((763, 224639, 226512, 3580, 3693), NUMBER_OR_TEXT)
    + charts((3581, 226531), times(POUND, NUMBER_OR_TEXT))
    + charts((3582,), times(POUND / 16, NUMBER_OR_TEXT)),
    "pH": charts(_CHARTED_PH, PLAIN_TEXT) + labs((50820,), PLAIN_TEXT),
}
_MIMIC3_SEED = _MIMIC3 | {
    EYE: charts((184, 220739), positions(tuple(EYE_WORDS))),
    MOTOR: charts((454, 223901), positions(tuple(MOTOR_WORDS))),
    TOTAL: charts((198,), positions(_TOTALS, NUMBER_OR_TEXT)),
    VERBAL: charts((723, 223900), positions(tuple(VERBAL_WORDS))),
    OXYGEN: charts((3420, 3422, 189, 727, 223835), unless_unit("%torr%", times(0.01, NUMBER_OR_TEXT), NUMBER_OR_TEXT)),
    "Glucose": _MIMIC3["Glucose"] + labs((51478,), PLAIN_TEXT),
    "Temperature": charts(_CELSIUS + _FAHRENHEIT, celsius(NUMBER_OR_TEXT)),
    "pH": _MIMIC3["pH"] + labs((51491, 51094, 50831), PLAIN_TEXT),
}
# Numbers are taken from the number column alone: the text may be masked. The total score is a sum.
_MIMIC4 = {
    REFILL: charts((223951, 224308), "CASE WHEN text ILIKE '%abnormal%' THEN 1 WHEN text ILIKE '%normal%' THEN 0 END"),
    EYE: charts((220739,), levels(EYE_WORDS | {"No Response": 1})),
    MOTOR: charts((223901,), levels(MOTOR_WORDS)),
    VERBAL: charts((223900,), levels(VERBAL_WORDS)),
    DIASTOLIC: charts(_DIASTOLIC_4),
    OXYGEN: charts((223835,), oxygen_fraction()),
    "Glucose": charts((225664, 220621, 226537)),
    "Heart Rate": charts((220045,)),
    "Height": charts((226730,)) + charts((226707,), times(2.54)),
    MEAN: charts(_MEAN_4),
    SATURATION: charts((220227, 220277), percent()),
    "Respiratory rate": charts((220210, 224689, 224422, 224690)),
    SYSTOLIC: charts(_SYSTOLIC_4),
    "Temperature": charts((223762,), celsius()) + charts((223761,), fahrenheit()),
    "Weight": charts((226512, 224639)) + charts((226531,), times(POUND)),
    "pH": charts((220274, 223830)),
}
_MIMIC4_SEED = _MIMIC3_SEED | {
    OXYGEN: charts((223835,), times(0.01)),
    "Height": charts((226730, 226707)),
}


def _panel(sources: Mapping[str, tuple[Source, ...]], *, seed: bool = False) -> Panel:
    variables = []
    for default in _FEATURES:
        name = default[0].name
        feature, bounds = _SEED_FEATURES.get(name, default) if seed else default
        parts = (EYE, MOTOR, VERBAL) if name == TOTAL and not seed else ()
        found = sources.get(name, ())
        variables.append(Variable(feature, found, bounds, sum_of=parts, by_text=name in _SORTED_AS_TEXT))
    return Panel("vitals17", tuple(variables))


MIMIC3, MIMIC3_SEED = _panel(_MIMIC3), _panel(_MIMIC3_SEED, seed=True)
MIMIC4, MIMIC4_SEED = _panel(_MIMIC4), _panel(_MIMIC4_SEED, seed=True)
# To add to a panel of one's own: whether a verbal score of 1 means that a tube kept it from being tested.
VERBAL_UNTESTABLE = Variable(
    Feature("verbal_untestable", "Verbal response not testable", "categorical", levels=("no", "yes")),
    charts((723, 223900), levels({word: int(word in UNTESTABLE) for word in VERBAL_WORDS})),
)
