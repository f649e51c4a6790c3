"""Vocabulary of spoken numbers, spelled letters and what stands between them. Tables only.

Homophones are what recognisers write for digits and letters: cmudict gives the pairs the same or nearly the
same pronunciation (FOR/FOUR, TO/TOO/TWO, WON/ONE, ATE/EIGHT, NEIN/NINE, TREE/THREE; SEE/C, ARE/R ...).
"""

from __future__ import annotations

from typing import Final


def word_set(text: str) -> frozenset[str]:
    """Return the words of a table."""
    return frozenset(text.split())


DIGITS: Final = {
    "zero": "0", "nought": "0", "naught": "0", "aught": "0",
    "one": "1", "two": "2", "three": "3", "four": "4", "five": "5",
    "six": "6", "seven": "7", "eight": "8", "nine": "9", "niner": "9",
}  # fmt: skip
"""Words that mean a digit wherever they stand."""

DIGIT_HOMOPHONES: Final = {
    "oh": "0", "o": "0", "owe": "0",
    "won": "1", "wan": "1",
    "to": "2", "too": "2", "tu": "2",
    "tree": "3", "free": "3", "threes": "3",
    "for": "4", "fore": "4", "forth": "4", "fours": "4", "fo": "4",
    "fife": "5", "fives": "5", "hive": "5",
    "sex": "6", "sicks": "6", "sixes": "6", "sics": "6",
    "sevens": "7", "heaven": "7",
    "ate": "8", "eights": "8", "ait": "8",
    "nein": "9", "nines": "9", "mine": "9", "nigh": "9",
    "ones": "1", "twos": "2", "zeros": "0", "zeroes": "0", "nil": "0", "null": "0",
}  # fmt: skip
"""Words that are a digit only among digits."""

TEENS: Final = {
    "ten": "10", "eleven": "11", "twelve": "12", "thirteen": "13", "fourteen": "14", "fifteen": "15",
    "sixteen": "16", "seventeen": "17", "eighteen": "18", "nineteen": "19",
}  # fmt: skip
TENS: Final = {
    "twenty": "20", "thirty": "30", "forty": "40", "fourty": "40", "fifty": "50", "sixty": "60",
    "seventy": "70", "eighty": "80", "ninety": "90",
}  # fmt: skip
SCALES: Final = {"hundred": 100, "thousand": 1000}
TIMES: Final = {"double": 2, "triple": 3, "treble": 3, "quadruple": 4}

FILLERS: Final = word_set(
    "uh um er erm eh ah hmm hm mm mhm uh-huh huh okay ok yeah yep yes right and then next like well so dash hyphen "
    "space comma alright sure it's its is the that's"
)
"""Words that may stand between the digits of one number without ending it."""

BACKCHANNEL: Final = FILLERS | word_set(
    "go on ahead got it i'm listening continue please good great perfect thanks thank you following with i have "
    "that the rest of keep going gotcha all here still there take your time no problem was last"
)
"""What the other party says while a number is being read."""

CORRECTIONS: Final = (
    ("let", "me", "start", "over"), ("let", "me", "start", "again"), ("let", "me", "say", "that", "again"),
    ("i", "mean"), ("i", "meant"), ("i'm", "sorry"), ("scratch", "that"), ("hold", "on"), ("excuse", "me"),
    ("start", "again"), ("start", "over"), ("make", "that"), ("no", "wait"), ("no", "sorry"), ("not", "that"),
    ("no",), ("sorry",), ("wait",), ("correction",), ("oops",), ("actually",), ("rather",), ("pardon",),
)  # fmt: skip
"""What announces that the digits just said were wrong."""

UNITS: Final = word_set(
    "dollar dollars cent cents buck bucks pound pounds euro euros pence percent per "
    "second seconds sec secs minute minutes min hour hours day days night nights week weeks weekend weekends month "
    "months year years moment o'clock a.m p.m am pm times time mile miles feet foot inch inches degrees gig gigs "
    "megabytes gigabytes mbps people person persons items item pieces piece orders order accounts account lines "
    "line cards card kids children cars car rooms bedroom bedrooms bags bag business working thing things "
    "payment payments installments options option steps step more other others others' of or hundred thousand "
    "million billion grand k point half quarter quarters gallons pounds kilos liters sizes ways phones devices "
    "stars star bit"
)
"""Words after a cardinal that make it an amount, a duration or a count."""

BEFORE_QUANTITY: Final = word_set(
    "this that another which each every any no some good great bad new old first next last other wrong right only "
    "big small best same particular the not either neither someone number's day"
)
"""Words before a lone "one" (or so) that make it a pronoun: "this one", "the other one"."""

YEAR_CUES: Final = word_set(
    "in since year of from until by during before after summer spring fall winter january february march april may "
    "june july august september october november december early late mid first second third fourth fifth sixth "
    "seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth "
    "nineteenth twentieth thirtieth"
)
"""Words before a four-digit pair ("nineteen eighty two") that make it a year."""

MONTHS: Final = word_set("january february march april may june july august september october november december")

CLOCK_CUES: Final = word_set("at around by before after until till between from about")

LETTERS: Final = frozenset("bcdefghjklmnpqrstuvwxyz")
"""Single letters that are never words. "a", "i" and "o" are letters only among letters."""

LETTER_HOMOPHONES: Final = {
    "a": "a", "i": "i", "o": "o", "ay": "a", "be": "b", "bee": "b", "see": "c", "sea": "c", "cee": "c", "dee": "d",
    "ee": "e", "eff": "f", "ef": "f", "gee": "g", "aitch": "h", "age": "h", "eye": "i", "jay": "j", "kay": "k",
    "okay": "k", "el": "l", "ell": "l", "em": "m", "en": "n", "oh": "o", "owe": "o", "pea": "p", "pee": "p",
    "queue": "q", "cue": "q", "are": "r", "ar": "r", "our": "r", "ess": "s", "es": "s", "tea": "t", "tee": "t",
    "you": "u", "yu": "u", "vee": "v", "ex": "x", "why": "y", "wye": "y", "zee": "z", "zed": "z",
}  # fmt: skip

NATO: Final = {
    word: word[0]
    for word in word_set(
        "alpha alfa bravo charlie delta echo foxtrot golf hotel india juliet juliett kilo lima mike november oscar "
        "papa quebec romeo sierra tango uniform victor whiskey whisky x-ray xray yankee zulu"
    )
}

ACRONYMS: Final = word_set(
    "us usa uk eu atm pin cvv cvc cvn ssn apr aprs fdic irs dmv ups usps fbi cia tv dvd cd pc pdf url www hd id it hr "
    "ceo cfo vip faq diy ac dc am pm bc ad ira llc inc nsf ach dob eta asap aka gps sim lte usb rv suv bbb ftc cfpb "
    "fcc sec ptsd er md rn phd ba ma mba ok tsa nyc la dj mr ms hsbc rbc td pnc bbt bmw kfc nbc cbs abc espn hbo cnn "
    "iban bic swift vpn wifi dsl isp sms fax po hmo ppo ekg mri"
)
"""Spelled letters that are a word of their own and nobody's name."""

DOMAIN_WORDS: Final = word_set(
    "gmail hotmail yahoo outlook icloud aol msn live comcast verizon att protonmail proton example ymail mail"
)
TOP_LEVEL: Final = word_set(
    "com net org edu gov co io us uk biz info me ca de fr eu au in tv dev app mil calm come comm"
)
"""The last three of the list are what recognisers make of "com"."""


def plain(text: str) -> str:
    """Return the word as the tables spell it: "B." is "b", "Four," is "four"."""
    return text.lower().strip(".,?!;:\"'") if len(text) > 1 else text.lower()
