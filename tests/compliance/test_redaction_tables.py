"""Tables of what must be hidden, as what, and of what looks like it and must stay.

The sentences are ours; what the numbers must look like is named beside them.
"""

from __future__ import annotations

import pytest

from compliance.redaction.settings import RedactionSettings, Strength
from events.transcript import PiiKind
from tests.compliance.redaction_dialogues import AGENT, CUSTOMER, converse

VALUES = RedactionSettings(strength=Strength.VALUES)

ANSWERS = [
    # ISO/IEC 7812 card numbers; the digits are published test numbers.
    ("what is your card number", "four two four two four two four two four two four two four two four two",
     "[CARD_NUMBER]"),
    ("card number please", "sure it's thirty seven eighty two eight two two four six three one zero zero zero five",
     "sure it's [CARD_NUMBER]"),
    ("what's the long number on the card", "uh five five double five and then triple five five double four double four",
     "uh [CARD_NUMBER]"),
    ("can i get your credit card", "it's four two four two", "it's [CARD_NUMBER]"),
    ("can i have your card number", "four two no five two okay", "[CARD_NUMBER] okay"),
    # Card verification codes: PCI DSS 4.0, 3.3.1.2.
    ("and the three digits on the back", "one two three", "[VERIFICATION_CODE]"),
    ("what is the security code", "that would be nine oh four", "that would be [VERIFICATION_CODE]"),
    ("and the c v v", "it's one twenty three", "it's [VERIFICATION_CODE]"),
    ("and the cvv number", "seven to free", "[VERIFICATION_CODE]"),
    ("what is the verification code on the back of your card", "four eleven", "[VERIFICATION_CODE]"),
    ("and the four digit code on the front", "one two three four", "[VERIFICATION_CODE]"),
    ("what is the expiration date", "oh five twenty six", "[CARD_EXPIRY]"),
    ("when does it expire", "twelve twenty seven", "[CARD_EXPIRY]"),
    # Social security numbers: 20 CFR 422.103.
    ("what is your social security number", "two one nine oh nine nine nine nine nine", "[SSN]"),
    ("and the last four of your social", "six seven eight nine", "[SSN]"),
    ("can i verify your social", "yes two nineteen oh nine ninety nine ninety nine", "yes [SSN]"),
    # Telephone numbers: North American Numbering Plan, 555-01xx is for fiction.
    ("what is a good phone number", "two oh two five five five oh one four three", "[PHONE_NUMBER]"),
    ("your cell number please", "five five five oh one four three", "[PHONE_NUMBER]"),
    ("best number to reach you", "eight hundred five five five oh one hundred", "[PHONE_NUMBER]"),
    ("what is your e-mail address", "j o h n underscore smith at gmail dot com", "[EMAIL_ADDRESS]"),
    ("and your email", "it's mary dot jones at example dot org", "it's [EMAIL_ADDRESS]"),
    ("what's your email", "b as in boy o b eighty two at yahoo dot com", "[EMAIL_ADDRESS]"),
    ("your email address please", "j smith at hotmail", "[EMAIL_ADDRESS]"),
    ("may i have your name please", "laura hernandez", "[PERSON_NAME]"),
    ("who am i speaking with", "this is venkataraman iyer", "this is [PERSON_NAME]"),
    ("can you spell your last name", "k o w a l c z y k", "[PERSON_NAME]"),
    ("what is your account number", "six six one two", "[NUMBER]"),
    ("and your pin", "one two three four", "[NUMBER]"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("question", "answer", "hidden"), ANSWERS, ids=[a[1].replace(" ", "_")[:40] for a in ANSWERS]
)
def test_answer_to_a_request_is_hidden(question: str, answer: str, hidden: str) -> None:
    assert converse((AGENT, question), (CUSTOMER, answer), settings=VALUES)[1] == hidden


UNASKED = [
    ("my card number is four two four two four two four two four two four two four two four two",
     "my card number is [CARD_NUMBER]"),
    ("i think it ends four two four two four two four two four two four two four two four two thanks",
     "i think it ends [CARD_NUMBER] thanks"),
    ("my social security number is two one nine oh nine nine nine nine nine",
     "my social security number is [SSN]"),
    ("you can call me at two oh two five five five oh one four three", "you can call me at [PHONE_NUMBER]"),
    ("write to jane dot doe at example dot com please", "write to [EMAIL_ADDRESS] please"),
    ("the security code is nine nine one", "the security code is [VERIFICATION_CODE]"),
    ("nine nine one is the security code", "[VERIFICATION_CODE] is the security code"),
    ("my name is laura hernandez and i need help", "my name is [PERSON_NAME] and i need help"),
    ("am i speaking with mister okonkwo", "am i speaking with mister [PERSON_NAME]"),
    ("i talked to jennifer last week", "i talked to [PERSON_NAME] last week"),
    ("it's under my husband's name is zbigniew", "it's under my husband's name is [PERSON_NAME]"),
    ("the last name is szymanski", "the last name is [PERSON_NAME]"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "hidden"), UNASKED, ids=[said.replace(" ", "_")[:40] for said, _ in UNASKED])
def test_value_is_hidden_without_a_question(said: str, hidden: str) -> None:
    assert converse((CUSTOMER, said), settings=VALUES) == [hidden]


# What stays at strength "values": amounts, dates, times, counts, pronouns, harmless numbers, words that are names.
NEAR_MISSES = [
    "it takes two weeks",
    "the rate is five percent",
    "one moment please",
    "give me one second",
    "i have two questions for you",
    "that one is fine and the other one too",
    "it costs nineteen ninety nine a month",
    "the total is one hundred and twenty three dollars and forty five cents",
    "we open at nine thirty and close at five",
    "my appointment is at ten oh five in the morning",
    "it was in nineteen eighty two",
    "the year two thousand and twelve was good",
    "from ten to fifteen business days",
    "call nine one one in an emergency",
    "we are here twenty four seven",
    "she is twenty two years old",
    "your order number is five five one two",
    "the confirmation number is eight eight one four two",
    "flight two four one leaves from gate twelve",
    "i paid four hundred dollars on march third",
    "your balance is two thousand four hundred and six dollars",
    "option one or option two",
    "there are two of us for dinner at eight",
    "i want to go to the store for you too",
    "oh i see oh okay",
    "i ate one for lunch",
    "he won one game",
    "that will be fine i may go in june",
    "the price of the house on the hill is good",
    "i hope you have a long day in the park",
    "the u s a and the f b i",
    "we meet at the corner dot on time",
    "look at this at home",
    "the first of may is a holiday",
    "my card was declined",
    "i lost my credit card two weeks ago",
    "i have two credit cards",
    "this call may be recorded for quality",
    "hi how are you doing today",
    "i'm sorry to hear that",
    "this is not what i wanted",
    "thank you very much for your patience",
]


@pytest.mark.parametrize("said", NEAR_MISSES, ids=lambda said: said.replace(" ", "_")[:40])
@pytest.mark.parametrize("leg", [AGENT, CUSTOMER])
def test_near_miss_stays(said: str, leg: int) -> None:
    assert converse((leg, said), settings=VALUES) == [said]


AFTER_REQUEST = [
    "give me one moment",
    "sure hold on one second",
    "i need two minutes to find it",
    "which one do you need",
    "i don't have it with me",
    "is that the one on the front",
]


@pytest.mark.parametrize("said", AFTER_REQUEST, ids=lambda said: said.replace(" ", "_"))
def test_talk_between_request_and_number_stays(said: str) -> None:
    card = "four two four two four two four two four two four two four two four two"
    lines = converse((AGENT, "what is your card number"), (CUSTOMER, said), (CUSTOMER, card), settings=VALUES)
    assert lines[1:] == [said, "[CARD_NUMBER]"]


def test_probable_numbers_hides_what_values_keeps() -> None:
    said = (CUSTOMER, "it is five five one two")
    assert converse(said, settings=VALUES) == ["it is five five one two"]
    assert converse(said) == ["it is [NUMBER]"]
    assert converse((CUSTOMER, "it takes two weeks and costs five hundred dollars")) == [
        "it takes two weeks and costs five hundred dollars"
    ]


def test_region_hides_everything_between_request_and_end_of_the_answer() -> None:
    lines = converse(
        (AGENT, "what is your card number"),
        (CUSTOMER, "let me see it is my wife's"),
        (CUSTOMER, "four two four two four two four two four two four two four two four two"),
        (AGENT, "thank you that worked"),
        settings=RedactionSettings(strength=Strength.REGION),
    )
    assert lines == ["what is your card number", "[REGION]", "[CARD_NUMBER]", "thank you that worked"]


def test_a_whole_payment() -> None:
    """Several values in a row, each by its own name; the agent's own name stays, the customer's does not."""
    lines = converse(
        (AGENT, "thank you for calling this is kevin from acme how can i help"),
        (CUSTOMER, "hi my name is laura hernandez and i want to pay my bill it's two weeks late"),
        (AGENT, "sure may i have your card number please"),
        (CUSTOMER, "yes it's four two four two uh four two four two"),
        (AGENT, "uh huh"),
        (CUSTOMER, "four two for two four to four two"),
        (AGENT, "so that's four two four two four two four two four two four two four two four two"),
        (CUSTOMER, "yes"),
        (AGENT, "and the expiration date"),
        (CUSTOMER, "oh five twenty six"),
        (AGENT, "and the three digits on the back"),
        (CUSTOMER, "one two three"),
        (
            AGENT,
            "thanks laura your total is forty two dollars and fifty cents the order number is five five one two",
        ),
        (CUSTOMER, "great thank you kevin"),
        settings=VALUES,
    )
    assert lines == [
        "thank you for calling this is kevin from acme how can i help",
        "hi my name is [PERSON_NAME] and i want to pay my bill it's two weeks late",
        "sure may i have your card number please",
        "yes it's [CARD_NUMBER]",
        "uh huh",
        "[CARD_NUMBER]",
        "so that's [CARD_NUMBER]",
        "yes",
        "and the expiration date",
        "[CARD_EXPIRY]",
        "and the three digits on the back",
        "[VERIFICATION_CODE]",
        "thanks [PERSON_NAME] your total is forty two dollars and fifty cents the order number is five five one two",
        "great thank you kevin",
    ]


def test_policy_may_hide_agents_names_too() -> None:
    line = (AGENT, "thank you for calling this is kevin from acme")
    hidden = "thank you for calling this is [PERSON_NAME] from acme"
    assert converse(line, settings=RedactionSettings(keep_agent_names=False)) == [hidden]
    assert converse((CUSTOMER, line[1])) == [hidden]


def test_card_numbers_are_hidden_whatever_the_kinds_say() -> None:
    settings = RedactionSettings(strength=Strength.VALUES, kinds=())
    lines = converse(
        (AGENT, "what is your card number and the security code"),
        (CUSTOMER, "four two four two four two four two four two four two four two four two"),
        (CUSTOMER, "my name is laura"),
        settings=settings,
    )
    assert lines[1:] == ["[CARD_NUMBER]", "my name is laura"]


def test_part_of_a_known_card_number_is_hidden_minutes_later() -> None:
    filler = [(AGENT, "let me check on that for you it will take a while so please stay with me")] * 40
    lines = converse(
        (AGENT, "what is your card number"),
        (CUSTOMER, "four two four two nine one eight seven six five four three two one oh two"),
        *filler,
        (CUSTOMER, "it had nine one eight seven in it"),
        settings=VALUES,
    )
    assert lines[-1] == "it had [CARD_NUMBER] in it"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hold_back_ms": 9_000}, "hold_back_ms"),
        ({"probable_digits": 1}, "two digits"),
        ({"least_score": 2}, "score"),
    ],
)
def test_settings_refuse_what_cannot_work(changes: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RedactionSettings(**changes)  # type: ignore[arg-type]


def test_every_kind_has_a_placeholder_of_its_own() -> None:
    assert len({kind.placeholder for kind in PiiKind}) == len(PiiKind)
