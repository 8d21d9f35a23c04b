"""Currencies and the decimals of their amounts: two for most, none for yen, three for dinars."""

USUAL_DECIMALS = 2
# ISO 4217: by number of decimals, the currencies whose minor unit is not a hundredth. Babel's numbers differ: CLDR
# gives Hungarian forints, Colombian pesos and others no decimals, as prices have none; their amounts still have two.
UNUSUAL_DECIMALS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
_DECIMALS = {code: decimals for decimals, codes in UNUSUAL_DECIMALS.items() for code in codes.split()}


def decimals_of(currency: str) -> int:
    """Return how many decimals an amount has in this currency, given by its ISO 4217 code."""
    return _DECIMALS.get(currency, USUAL_DECIMALS)
