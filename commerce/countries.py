"""Countries by ISO 3166 code or name. Names and codes are those of CLDR, which Babel brings."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

from babel import Locale
from babel.core import get_global

INVALID_COUNTRY = "must be a country: an ISO 3166 code like GB, or a name like United Kingdom"
MAX_CACHED = 10_000  # texts
ALPHA_2 = re.compile(r"[A-Z]{2}")
NOT_COUNTRIES = {"EU", "EZ", "QO", "UN", "XA", "XB", "ZZ"}  # codes of CLDR for unions, tests and the unknown
# Names are also known in these languages, which are loaded only for a name that is not English: it takes half a second.
LANGUAGES = (
    *("ar", "bg", "ca", "cs", "da", "de", "el", "es", "et", "eu", "fi", "fr", "ga", "he", "hr", "hu", "is", "it", "ja"),
    *("ko", "lt", "lv", "mk", "mt", "nb", "nl", "pl", "pt", "ro", "ru", "sk", "sl", "sq", "sr", "sv", "tr", "uk", "zh"),
)
# English names that CLDR lacks.
OTHER_NAMES = {
    "BA": "Bosnia",
    "CD": "Democratic Republic of the Congo; DR Congo; Congo-Kinshasa",
    "CG": "Republic of the Congo; Congo; Congo-Brazzaville",
    "CI": "Ivory Coast",
    "CV": "Cabo Verde",
    "CZ": "Czech Republic",
    "GB": "Great Britain; Britain; England; Scotland; Wales; Northern Ireland; U.K.",
    "HK": "Hong Kong",
    "IE": "Republic of Ireland; Eire",
    "IR": "Islamic Republic of Iran; Iran, Islamic Republic of",
    "KP": "Democratic People's Republic of Korea",
    "KR": "Republic of Korea; Korea, Republic of; Korea",
    "LA": "Lao People's Democratic Republic",
    "MD": "Republic of Moldova; Moldova, Republic of",
    "MK": "Macedonia",
    "MM": "Myanmar; Burma",
    "MO": "Macao; Macau",
    "NL": "Holland",
    "PS": "Palestine; State of Palestine",
    "RU": "Russian Federation",
    "SZ": "Swaziland",
    "SY": "Syrian Arab Republic",
    "TL": "East Timor",
    "TR": "Turkey",
    "TW": "Taiwan, Province of China",
    "TZ": "United Republic of Tanzania; Tanzania, United Republic of",
    "US": "United States of America; America; U.S.; U.S.A.",
    "VA": "Holy See; Vatican",
    "VN": "Viet Nam",
    "ZA": "RSA",
}
# Groups of countries that shops name as one and ISO has no code for. The carrier gets the name.
GROUPS = ("Channel Islands",)


@lru_cache(MAX_CACHED)
def country_code(text: str) -> str | None:
    """Return a country's ISO 3166 code of two letters, or the name of one of GROUPS; None if neither is known.

    `text` is such a code, one of three letters or digits, or a name in English or one of LANGUAGES. Case, accents and
    punctuation do not matter.
    """
    code = text.strip().upper()
    if code in _codes():
        return _codes()[code]
    name = _simplify(text)
    return _english_names().get(name) or _group(name) or _other_names().get(name)


def _group(name: str) -> str | None:
    return next((group for group in GROUPS if _simplify(group) == name), None)


@cache
def _codes() -> Mapping[str, str]:
    """Return the code of two letters by each code: by itself, by those of three letters or digits, and by UK."""
    countries = {code for code in map(str, Locale("en").territories) if ALPHA_2.fullmatch(code)} - NOT_COUNTRIES
    aliases: Mapping[Any, Sequence[str]] = get_global("territory_aliases")
    replaced = {str(old): new[0] for old, new in aliases.items() if len(new) == 1}
    return {old: new for old, new in replaced.items() if new in countries} | {code: code for code in countries}


@cache
def _english_names() -> Mapping[str, str | None]:
    others = ((name, code) for code, names in OTHER_NAMES.items() for name in names.split(";"))
    return _by_name(["en"]) | {_simplify(name): code for name, code in others}


@cache
def _other_names() -> Mapping[str, str | None]:
    return _by_name(LANGUAGES)


def _by_name(languages: Iterable[str]) -> dict[str, str | None]:
    """Return the code by each name, None by one that means two countries."""
    countries, found = set(_codes().values()), dict[str, str | None]()
    for language in languages:
        for code, name in Locale(language).territories.items():
            if code in countries:
                simple = _simplify(str(name))
                found[simple] = code if found.get(simple, code) == code else None
    return found


def _simplify(name: str) -> str:
    """Return the letters of a name, without case, accents and articles, and with words that are often abbreviated."""
    letters = "".join(
        letter
        for letter in unicodedata.normalize("NFKD", name.casefold().replace("&", " and "))
        if not unicodedata.combining(letter)
    )
    words = ["saint" if word == "st" else word for word in re.findall(r"\w+", letters)]
    return "".join(word for word in words if word != "the")
