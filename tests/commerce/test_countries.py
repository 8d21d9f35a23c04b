"""Countries are found by code or name, as other systems write them."""

import pytest
from babel import Locale

from commerce.countries import LANGUAGES, OTHER_NAMES, country_code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        *(("GB", "GB"), (" gb ", "GB"), ("GBR", "GB"), ("826", "GB"), ("UK", "GB"), ("United Kingdom", "GB")),
        *(("UNITED KINGDOM", "GB"), ("England", "GB"), ("Northern  Ireland", "GB"), ("U.K.", "GB")),
        *(("USA", "US"), ("United States", "US"), ("United States of America", "US"), ("U.S.A.", "US")),
        *(("EIRE", "IE"), ("Éire", "IE"), ("Ireland", "IE"), ("The Netherlands", "NL"), ("Nederland", "NL")),
        *(("Côte d'Ivoire", "CI"), ("Cote d’Ivoire", "CI"), ("Ivory Coast", "CI")),
        *(("Turkey", "TR"), ("Türkiye", "TR"), ("TURKIYE", "TR"), ("Czech Republic", "CZ"), ("Czechia", "CZ")),
        *(("Bosnia and Herzegovina", "BA"), ("Bosnia & Herzegovina", "BA"), ("Saint Lucia", "LC"), ("St Lucia", "LC")),
        *(("Hong Kong", "HK"), ("Hong Kong SAR China", "HK"), ("Viet Nam", "VN"), ("Russian Federation", "RU")),
        *(("Deutschland", "DE"), ("España", "ES"), ("ESPANA", "ES"), ("Österreich", "AT"), ("Polska", "PL")),
        *(("RSA", "ZA"), ("Channel Islands", "Channel Islands"), (" channel islands ", "Channel Islands")),
        *(("日本", "JP"), ("Россия", "RU"), ("Ελλάδα", "GR"), ("Kosovo", "XK"), ("Isle of Man", "IM")),
    ],
)
def test_a_country_is_known_by_code_and_by_name(text: str, code: str) -> None:
    assert country_code(text) == code


@pytest.mark.parametrize(
    "text",
    ["", " ", "ZZ", "XA", "EU", "UN", "QQ", "Atlantis", "Unspecified", "European Community", "1", "?", "Yugoslavia"],
)
def test_anything_else_is_not(text: str) -> None:
    assert country_code(text) is None


def test_other_names_are_those_that_would_not_be_found_and_belong_to_a_country() -> None:
    for code, names in OTHER_NAMES.items():
        assert {country_code(name) for name in (code, *names.split(";"))} == {code}


def test_a_name_that_means_two_countries_is_not_known() -> None:
    assert country_code("Kongo") is None  # Norwegian writes one of them so, German the other
    found = {
        (country_code(name), code)
        for language in ("en", *LANGUAGES)
        for code, name in Locale(language).territories.items()
        if country_code(code) == code
    }
    assert {pair for pair in found if pair[0] != pair[1]} == {(None, "CD"), (None, "CG")}
