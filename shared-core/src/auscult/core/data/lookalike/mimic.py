"""What the look-alikes of MIMIC-III and MIMIC-IV share: their rows, the traps of both, plain patients."""

import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from auscult.core.data.lookalike.scenario import Kind, Scenario, Stay
from auscult.core.data.mimic_vitals import DIASTOLIC, EYE, MEAN, MOTOR, SATURATION, SYSTOLIC, TOTAL, VERBAL
from auscult.core.errors import InputError

HEART_RATE, RATE, EYES = 220045, 220210, 220739
_WORDS = {
    EYE: (EYES, ("None", "To Pain", "To Speech", "Spontaneously")),
    MOTOR: (
        223901,
        (
            "No response", "Abnormal extension", "Abnormal Flexion", "Flex-withdraws", "Localizes Pain",
            "Obeys Commands",
        ),
    ),
    VERBAL: (223900, ("No Response", "Incomprehensible sounds", "Inappropriate Words", "Confused", "Oriented")),
}  # fmt: skip
# Feature: item, mean, spread, what a coming death adds.
_NUMBERS = {
    "Heart Rate": (HEART_RATE, 85.0, 12.0, 15.0),
    SYSTOLIC: (220179, 120.0, 15.0, -20.0),
    DIASTOLIC: (220180, 62.0, 9.0, -9.0),
    MEAN: (220181, 80.0, 10.0, -12.0),
    "Respiratory rate": (RATE, 18.0, 4.0, 4.0),
    SATURATION: (220277, 97.0, 1.5, -3.0),
    "Temperature": (223762, 36.9, 0.4, 0.3),
    "Glucose": (225664, 130.0, 25.0, 20.0),
}


class Ward(Scenario):
    """Rows of a MIMIC database; a subclass says what a patient, an admission and a stay look like there.

    Parameters
    ----------
    columns
        As :class:`Scenario` takes them.
    charts, labs, outputs
        Names of the tables of events.
    stay_column
        What they call a stay.
    """

    def __init__(
        self, columns: Mapping[str, Mapping[str, Kind]], *, charts: str, labs: str, outputs: str, stay_column: str
    ) -> None:
        super().__init__(columns)
        self.charts, self.labs, self.outputs, self.stay_column = charts, labs, outputs, stay_column
        self.people: dict[int, tuple[datetime, str]] = {}

    def age(self, born: datetime, at: datetime) -> float:
        """Return the age that the reader gives."""
        raise NotImplementedError

    def seed_age(self, born: datetime, at: datetime) -> float:
        """Return the age that it gives with the preset ``seed``."""
        raise NotImplementedError

    def patient(self, subject: int, born: datetime, sex: str = "F", dod: datetime | None = None) -> None:
        """Add a patient."""
        self.people[subject] = (born, sex)

    def admission(self, stay: Stay, *, before: float = 2, after: float = 24, **values: Any) -> None:
        """Add the admission of a stay, from some hours before its start to some hours after its end."""
        raise NotImplementedError

    def stay(self, stay: Stay, **values: Any) -> None:
        """Add the row of a stay."""
        raise NotImplementedError

    def known(self, stay: Stay, *, seed: Mapping[str, Any] | None = None, **labels: Any) -> None:
        """Say that the stay is in the cohort, with which labels, and what the preset ``seed`` says instead."""
        born, sex = self.people[stay.subject]
        usual = {"mortality": 0, "mortality_unit": 0, "readmission": 0, "los_days": stay.hours / 24}
        about = {"subject": stay.subject, "sex": sex, "age": self.age(born, stay.start)}
        self.stays[stay.stay] = {**about, **usual, **labels}
        self.seed[stay.stay] = {"age": self.seed_age(born, stay.start), **(seed or {})}

    def chart(
        self, stay: Stay, minutes: float, item: int, number: float | None, text: str | None = None, **values: Any
    ) -> None:
        """Add a charted row; ``stay_id`` and other columns may differ from the stay's own."""
        at = stay.start + timedelta(minutes=minutes)
        shown = text if text is not None or number is None else f"{number:g}"
        tie = {self.stay_column: values.pop("stay_id", stay.stay)}
        usual = {"subject_id": stay.subject, "hadm_id": stay.hadm, "storetime": at + timedelta(minutes=5)}
        self.add(
            self.charts,
            **{**usual, **tie, "itemid": item, "charttime": at, "value": shown, "valuenum": number, **values},
        )

    def lab(
        self, stay: Stay, minutes: float, item: int, number: float | None, text: str | None = None, **values: Any
    ) -> None:
        """Add a row of the laboratory."""
        at = stay.start + timedelta(minutes=minutes)
        shown = text if text is not None or number is None else f"{number:g}"
        usual = {"subject_id": stay.subject, "hadm_id": stay.hadm, "itemid": item, "charttime": at}
        self.add(self.labs, **{**usual, "value": shown, "valuenum": number, **values})

    def output(self, stay: Stay, minutes: float, item: int, value: float, **values: Any) -> None:
        """Add a row of what left the body."""
        at = stay.start + timedelta(minutes=minutes)
        usual = {"subject_id": stay.subject, "hadm_id": stay.hadm, self.stay_column: stay.stay, "charttime": at}
        self.add(self.outputs, **{**usual, "itemid": item, "value": value, "valueuom": "ml", **values})

    def seen(self, stay: Stay, minutes: float, item: int, number: float, feature: str = "Heart Rate") -> None:
        """Add a charted number that reaches the cohort as it is."""
        self.chart(stay, minutes, item, number)
        self.keep(stay.stay, minutes, feature, number)

    def by_seed(self, stay: Stay, minutes: float, feature: str, value: float | str | None) -> None:
        """Say what the cell is with the preset ``seed``."""
        self.seed_cells.append((stay.stay, minutes / 60, feature, value))


def add_shared_cases(ward: Ward) -> None:
    """Write the patients whose stays hold the traps of both databases."""
    for case in (_lengths, _transfers, _readmissions, _deaths, _loose_events, _duplicates, _incomplete):
        case(ward)


def _lengths(ward: Ward) -> None:
    """Write a stay that is just too short and one just long enough, with an event at its end."""
    short, enough = (
        Stay(200201, 2, 100201, datetime(2180, 5, 1), 47.9),
        Stay(200202, 2, 100202, datetime(2180, 8, 1), 48),
    )
    ward.patient(2, datetime(2110, 5, 1), sex="M")
    for stay in (short, enough):
        ward.admission(stay)
        ward.stay(stay)
    ward.lose("drop short stays")
    ward.chart(short, 30, HEART_RATE, 81)
    ward.lose("find the stay")
    ward.seen(enough, 48 * 60, HEART_RATE, 82)
    ward.known(enough)


def _transfers(ward: Ward) -> None:
    """Write a move between units; the admission's other stay is plain, and the only one left of it."""
    moved = Stay(200401, 4, 100401, datetime(2141, 1, 1), 60)
    plain = Stay(200402, 4, 100401, datetime(2141, 1, 5), 60)
    ward.patient(4, datetime(2090, 1, 1))
    ward.admission(moved, after=24 * 10)
    ward.stay(moved, last_careunit="Surgical Intensive Care Unit (SICU)")
    ward.stay(plain)
    ward.lose("drop transfers")
    ward.chart(moved, 10, HEART_RATE, 70)
    ward.lose("find the stay")
    ward.seen(plain, 10, HEART_RATE, 71)
    ward.known(plain)


def _readmissions(ward: Ward) -> None:
    """Write two stays of one admission, and returns after 29.9 days, exactly 30, and a second more."""
    twice = [Stay(200501, 5, 100501, datetime(2130, 1, 1), 50), Stay(200502, 5, 100501, datetime(2130, 1, 5), 50)]
    soon = Stay(200503, 5, 100502, twice[1].end + timedelta(days=29.9), 72)
    edge = Stay(200504, 5, 100503, soon.end + timedelta(days=30), 72)
    late = Stay(200505, 5, 100504, edge.end + timedelta(days=30, seconds=1), 72)
    ward.patient(5, datetime(2080, 1, 1))
    ward.admission(twice[0], after=24 * 8)
    for stay in (*twice, soon, edge, late):
        ward.stay(stay)
        ward.chart(stay, 15, HEART_RATE, 75)
    ward.lose("one stay per admission", 2)
    ward.lose("find the stay", 2)
    # The scripts cut the gap to whole days.
    for stay, back, by_seed in ((soon, 1, 1), (edge, 0, 1), (late, 0, 0)):
        ward.admission(stay)
        ward.known(stay, readmission=back, seed={"readmission": by_seed})
        ward.keep(stay.stay, 15, "Heart Rate", 75)


def _deaths(ward: Ward) -> None:
    """Write deaths that dates alone would miss, on the ward, in the unit and after discharge."""
    start = datetime(2160, 1, 1, 14)
    dead = {"mortality": 1, "readmission": None}

    def patient(number: int, dod: datetime, **admission: Any) -> Stay:
        stay = Stay(200600 + number, 60 + number, 100600 + number, start, 60)
        ward.patient(stay.subject, datetime(2100, 1, 1, 14), dod=dod)
        ward.admission(stay, **admission)
        ward.stay(stay)
        ward.seen(stay, 30, HEART_RATE, 80)
        return stay

    death = start + timedelta(hours=58)
    # The date of death is the midnight before the admission. A last stay that ends in death is a return to scripts.
    stay = patient(1, datetime(2160, 1, 1), after=-1, deathtime=death, hospital_expire_flag=1)
    ward.known(stay, **dead, mortality_unit=1, seed={"readmission": 1})
    # The time of death is a day after the discharge.
    death = start + timedelta(hours=60 + 48)
    stay = patient(2, datetime(2160, 1, 6), deathtime=death, hospital_expire_flag=1)
    ward.known(stay, **dead, seed={"mortality": 0, "readmission": 1})
    # At home, ten days after the discharge.
    ward.known(patient(3, datetime(2160, 1, 15)))
    # On the ward, three days after the stay.
    death = start + timedelta(hours=60 + 72)
    stay = patient(4, datetime(2160, 1, 7), after=72, deathtime=death, hospital_expire_flag=1)
    ward.known(stay, **dead, seed={"readmission": 1})
    # Flagged as dead without a time, discharged when the stay ends.
    stay = patient(5, datetime(2160, 1, 4), after=0.5, hospital_expire_flag=1)
    ward.known(stay, **dead, mortality_unit=1, seed={"readmission": 0})


def _loose_events(ward: Ward) -> None:
    """Write events that no id, or a wrong one, ties to the stay, and events outside of it."""
    stay = Stay(200701, 7, 100701, datetime(2155, 9, 1, 8), 60)
    ward.patient(7, datetime(2105, 9, 1, 8))
    ward.admission(stay)
    ward.stay(stay)
    ward.known(stay)
    # The scripts need the admission, and take any time for the stay that lacks its own id.
    for minutes, number, ties in (
        (10, 71, {"hadm_id": None}), (20, 72, {"stay_id": None}), (30, 73, {"hadm_id": None, "stay_id": None}),
    ):  # fmt: skip
        ward.chart(stay, minutes, HEART_RATE, number, **ties)
        ward.keep(stay.stay, minutes, "Heart Rate", number)
        ward.by_seed(stay, minutes, "Heart Rate", None if "hadm_id" in ties else number)
    ward.chart(stay, 50, HEART_RATE, 74, stay_id=999999)
    ward.chart(stay, -120, HEART_RATE, 75, stay_id=None)
    ward.chart(stay, 60, HEART_RATE, 75, subject_id=999, hadm_id=999, stay_id=999)
    ward.lose("find the stay", 3)
    ward.chart(stay, -1, HEART_RATE, 76)
    ward.lose("drop what precedes the stay")
    ward.chart(stay, 60 * 60 + 1, HEART_RATE, 77)
    ward.lose("drop what follows the stay")
    ward.chart(stay, 48 * 60 + 1, HEART_RATE, 78)
    ward.chart(stay, 60 * 60, HEART_RATE, 79)
    ward.lose("drop what follows the window", 2)


def _duplicates(ward: Ward) -> None:
    """Write several values of one time."""
    stay = Stay(200801, 8, 100801, datetime(2170, 2, 1), 60)
    ward.patient(8, datetime(2110, 2, 1), sex="M")
    ward.admission(stay)
    ward.stay(stay)
    ward.known(stay)
    for minutes, item, numbers, feature, by_seed in (
        (10, HEART_RATE, (100, 99), "Heart Rate", 99), (20, HEART_RATE, (80, 80), "Heart Rate", 80),
        (30, RATE, (9, 12), "Respiratory rate", 9), (40, 226730, (170, 172), "Height", 172),
    ):  # fmt: skip
        for number in numbers:
            ward.seen(stay, minutes, item, number, feature)
        ward.by_seed(stay, minutes, feature, by_seed)
    for level, word, stored in ((4, "Spontaneously", 70), (2, "To Pain", 65)):
        ward.chart(stay, 60, EYES, level, word, storetime=stay.start + timedelta(minutes=stored))
        ward.keep(stay.stay, 60, EYE, level)
    ward.settle(stay.stay, 60, EYE, 4)
    ward.by_seed(stay, 60, EYE, "To Pain")


def _incomplete(ward: Ward) -> None:
    """Write stays without an event, without an end, without an admission, and one that ends before it starts."""
    stays = [Stay(200901 + i, 9, 100901 + i, datetime(2175, 4, 1) + timedelta(days=60 * i), 60) for i in range(4)]
    silent, endless, backwards, lost = stays
    ward.patient(9, datetime(2115, 4, 1))
    ward.stay(silent)
    ward.stay(endless, outtime=None, los=None)
    ward.stay(backwards, outtime=backwards.start - timedelta(hours=1))
    ward.stay(lost)
    for stay in (silent, endless, backwards):
        ward.admission(stay)
    ward.known(silent)
    ward.lose("drop stays without an end")
    ward.lose("drop impossible times")
    ward.lose("join admissions and patients")


def add_plain_patients(ward: Ward, count: int, seed: int) -> None:
    """Write adults with one to three stays of 49 to 200 hours, the last of which may end in death.

    Their values go with the outcome; 39 events a stay, without a trap.
    """
    if count < 0:
        raise InputError(f"n_patients is {count}: give 0 or more")
    draw = random.Random(seed)
    for subject in range(10000, 10000 + count):
        born = datetime(2060 + draw.randrange(50), draw.randint(1, 12), draw.randint(1, 28))
        start = born.replace(year=born.year + draw.randint(20, 88)) + timedelta(minutes=draw.randrange(400000))
        stays: list[Stay] = []
        for number in range(draw.choice((1, 1, 1, 2, 3))):
            ids = 10 * subject + number
            stays.append(Stay(300000 + ids, subject, 400000 + ids, start, draw.randint(49, 200)))
            start = stays[-1].end + timedelta(days=draw.randint(3, 60), minutes=draw.randrange(1440))
        died = draw.random() < 0.25
        midnight = stays[-1].end.replace(hour=0, minute=0, second=0)
        ward.patient(subject, born, draw.choice("FM"), midnight if died else None)
        for stay, following in zip(stays, [*stays[1:], None], strict=True):
            _plain_stay(ward, draw, stay, following, ends=died and following is None)


def _plain_stay(ward: Ward, draw: random.Random, stay: Stay, following: Stay | None, *, ends: bool) -> None:
    death: dict[str, Any] = {"deathtime": stay.end, "hospital_expire_flag": 1, "after": 0} if ends else {}
    ethnicity = draw.choice(("WHITE", "ASIAN - CHINESE", "BLACK/AFRICAN AMERICAN", "UNKNOWN"))
    ward.admission(stay, ethnicity=ethnicity, **death)
    ward.stay(stay)
    gap = timedelta(days=999) if following is None else following.start - stay.end
    back = int(gap <= timedelta(days=30))
    by_seed = int(ends or gap < timedelta(days=31))
    labels = {"mortality": int(ends), "mortality_unit": int(ends), "readmission": None if ends else back}
    ward.known(stay, **labels, seed={"readmission": by_seed})
    for minutes in draw.sample(range(48 * 60), 10):
        for feature in draw.sample(sorted(_NUMBERS), 3):
            item, mean, spread, shift = _NUMBERS[feature]
            ward.seen(stay, minutes, item, round(draw.gauss(mean + ends * shift, spread), 1), feature)
    for minutes in draw.sample(range(48 * 60), 3):
        total = 0
        for feature, (item, words) in _WORDS.items():
            level = max(1, len(words) - draw.choice((0, 0, 0, 1, 1 + 2 * ends)))
            total += level
            ward.chart(stay, minutes, item, level, words[level - 1])
            ward.keep(stay.stay, minutes, feature, level)
        ward.settle(stay.stay, minutes, TOTAL, total, summed=True)
