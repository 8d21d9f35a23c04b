"""docs/rules.md and the code agree: every rule code that is cited exists, and every rule is cited by a test."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

from commerce.audit_rules import FINDINGS
from tests.documents import tables
from tests.paths import ROOT

PAGE = ROOT / "docs" / "rules.md"
RULES = re.findall(r"^- \*\*([A-Z]\d+)\*\* ", PAGE.read_text(), re.MULTILINE)
CODE = r"[IVPBRCANJEWHK][1-9]\d?"
CITED = re.compile(rf"\b{CODE}\b(?! 9GU)")  # N1 9GU is a postal code
IN_PARENTHESES = re.compile(rf"\({CODE}(?:(?:, | and | to |; ){CODE})*\)")
IN_A_NAME = re.compile(rf"_({CODE.replace('A-Z', 'a-z')})_", re.IGNORECASE)
FOLDERS = ("workflows", "activities", "starter", "commerce", "tests", "benchmarks", "deploy", "docs")
TEXTS = {".py", ".md", ".yml", ".j2", ".sh"}


def files() -> list[Path]:
    """Return the repository's files of code and text."""
    found = [*ROOT.glob("*"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))]
    return [path for path in found if path.suffix in TEXTS]


def comments(source: str) -> dict[int, str]:
    """Return the comments of a Python file by line."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}


def docstrings(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def cited_in(path: Path) -> set[str]:
    """Return the codes that a file cites: anywhere in comments and docstrings, elsewhere only in parentheses."""
    text = path.read_text()
    codes = {code for found in IN_PARENTHESES.findall(text) for code in CITED.findall(found)}
    if path.suffix == ".py" and CITED.search(text):  # parsing takes most of the time
        words = [*docstrings(ast.parse(text)), *comments(text).values()]
        codes |= {code for part in words for code in CITED.findall(part)}
    return codes


def cited_by_tests() -> Iterator[str]:
    """Yield the codes that tests cite in their name, their docstring or a comment within or directly above them."""
    for path in (path for path in files() if path.name.startswith("test_") and path.suffix == ".py"):
        source = path.read_text()
        if not (CITED.search(source) or IN_A_NAME.search(source)):
            continue
        lines = source.splitlines()
        remarks = comments(source)
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                above = len(list(takewhile(lambda line: line.lstrip().startswith("#"), reversed(lines[: first - 1]))))
                own = [remarks.get(line, "") for line in range(first - above, (node.end_lineno or first) + 1)]
                yield from (code.upper() for code in IN_A_NAME.findall(node.name))
                yield from CITED.findall(" ".join([ast.get_docstring(node) or "", *own]))


def test_a_code_is_given_once() -> None:
    assert RULES and len(RULES) == len(set(RULES))


def test_codes_are_in_order() -> None:
    for letter in dict.fromkeys(code[0] for code in RULES):
        numbers = [int(code[1:]) for code in RULES if code[0] == letter]
        assert numbers == sorted(numbers)


def test_every_code_that_is_cited_is_a_rule() -> None:
    cited = {path.relative_to(ROOT): cited_in(path) for path in files()}
    unknown = {str(path): sorted(codes - set(RULES)) for path, codes in cited.items() if codes - set(RULES)}
    assert not unknown, "cite a rule of docs/rules.md, or add the rule there"


def test_every_rule_is_cited_by_a_test() -> None:
    by_tests = set(cited_by_tests())
    assert [code for code in RULES if code not in by_tests] == [], "cite it in the docstring of the test that shows it"


def test_every_rule_of_the_audit_is_listed() -> None:
    [listed] = [rows for rows in tables(PAGE) if rows[0][0] == "rule"]
    assert [row[0] for row in listed[1:]] == [f"`{name}`" for name in FINDINGS]
