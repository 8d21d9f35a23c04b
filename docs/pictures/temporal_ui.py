"""What a person does in Temporal's UI: the dialogs for the codec, for resets, for new runs, and for schedules."""

import json
from urllib.parse import quote, urlencode

from docs.pictures.browser import Browser

WIDTH, HEIGHT = 1280, 1400  # pixels of the window: the UI renders only what fits
CODEC_BUTTON = "[data-testid^=data-encoder-status]"
NAMESPACE = "/namespaces/default"


class TemporalUi:
    """Temporal's UI in a browser. Each method waits until the UI shows what it needs. Raises BrowserError."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.browser, self._url = browser, url

    def open(self, path: str, *, height: int = HEIGHT, **query: str) -> None:
        """Open a page of the namespace."""
        self.browser.open(
            f"{self._url}{NAMESPACE}/{path}?{urlencode(query, quote_via=quote)}", width=WIDTH, height=height
        )

    def wait_for_text(self, text: str) -> None:
        """Wait until the page shows a text."""
        self.browser.wait(f"document.body?.innerText.includes({text!r})")

    def sign_in_to_codec(self, endpoint: str, token: str) -> None:
        """Open the codec's endpoint, and enter the token as the password, as the browser asks for it."""
        scheme, _, rest = endpoint.partition("://")
        self.browser.open(f"{scheme}://me:{token}@{rest}", width=WIDTH, height=HEIGHT)
        self.browser.wait(f"location.href === {endpoint!r} && document.readyState === 'complete'")

    def fill_codec_dialog(self, endpoint: str) -> None:
        """Open the dialog "Codec Server", and enter an endpoint that gets the browser's credentials."""
        self.open("workflows")
        self.browser.click("", CODEC_BUTTON)
        self.browser.click("", "dialog[open] #use-local-endpoint-radio")
        self.browser.fill("#data-encoder-endpoint-input", endpoint)
        self.browser.click("", "#pass-access-credentials")
        self.browser.wait("document.querySelector('#pass-access-credentials').checked")

    def apply_codec_dialog(self) -> None:
        """Apply what the dialog "Codec Server" contains."""
        self.browser.click("Apply", "dialog[open] button")
        self.browser.wait("!document.querySelector('dialog[open]')")

    def use_codec(self, endpoint: str, token: str) -> None:
        """Let the UI decrypt payloads at an endpoint of an API with tokens."""
        self.sign_in_to_codec(endpoint, token)
        self.fill_codec_dialog(endpoint)
        self.apply_codec_dialog()

    def open_run(self, process_id: str, *, shows: str) -> None:
        """Open the latest run of a process, and wait until its page shows a text."""
        self.open(f"workflows/{quote(process_id, safe='')}")
        self.wait_for_text(shows)

    def reset(self, event: str) -> None:
        """Reset the run that is open to an event: `3 - WorkflowTaskStarted`."""
        self.browser.click("Reset")
        self.browser.click("", "dialog[open] [data-testid=workflow-reset-event-id-select-button]")
        self.browser.click(event, "dialog[open] [role=option]")
        self.browser.fill("dialog[open] #reset-reason", "The carrier works again")
        self.browser.click("Confirm", "dialog[open] button")
        self.browser.wait("!document.querySelector('dialog[open]')")

    def reset_all(self, query: str, *, runs: int, to: str = "first") -> None:
        """Reset all runs that match a query to their `first` or `last` task, once the UI lists this number of runs."""
        self.open("workflows", query=query)
        self.browser.wait(f"document.querySelectorAll('tbody input[type=checkbox]').length === {runs}")
        self.browser.click("", "#select-visible-workflows")
        self.browser.click("", "[data-testid=bulk-reset-button]")
        self.browser.click("", f"dialog[open] #reset-event-{to}")
        self.browser.click("Reset", "dialog[open] button")
        self.browser.wait("!document.querySelector('dialog[open]')")

    def start_like_this_one(self, *, shows: str) -> None:
        """Start a run like the one that is open, once the form shows a text of its decrypted input."""
        self.browser.click("More Actions")
        self.browser.click("Start Workflow Like This One", "[role=menuitem]")
        self.browser.wait("location.pathname.endsWith('/start-workflow')")
        self.wait_for_text(shows)
        self.browser.click("Start Workflow", "main [data-testid=start-workflow-button]")
        self.wait_for_text("Workflow started")

    def send_update(self, name: str, data: str) -> None:
        """Send an Update, one of those that the UI lists, with this JSON to the run that is open."""
        self.browser.click("More Actions")
        self.browser.click("Send an Update", "[role=menuitem]")
        self.browser.click("", "dialog[open] [data-testid=update-select-button]")
        self.browser.click(name, "dialog[open] [role=option]")
        editor = "document.querySelector('dialog[open] .cm-content')"
        self.browser.wait(f"!!{editor}")
        self.browser.evaluate(f"{editor}.focus(), document.execCommand('insertText', false, {json.dumps(data)})")
        self.browser.click("Submit", "dialog[open] button")

    def edit_schedule(self, schedule_id: str, *, cron: str = "", overlap_policy: str = "") -> None:
        """Add times to a schedule, choose its overlap policy, such as "Allow All", and save it."""
        self.open(f"schedules/{schedule_id}/edit")
        if cron:
            self.browser.click("+ Add another schedule spec")
            self.browser.fill("input[id^=cron-string]", cron)
        if overlap_policy:
            self.browser.click("Edit Schedule Policies")
            self.browser.click("", f"input#overlap-policy-{overlap_policy.replace(' ', '')}")
            self.browser.click("Update Policies")
        self.browser.click("Save")
        self.browser.wait("!location.pathname.endsWith('/edit')")
