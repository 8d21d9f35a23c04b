"""Where tests find the project's files, and sample data that may lie next to the project."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"
# Requests and responses with all fields of the real API, and invented values.
EASYPOST_RESPONSES = ROOT / "tests" / "commerce" / "integrations" / "easypost_responses"
