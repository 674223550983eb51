"""A person's browser before the dashboard: a real Chromium, signed in or not, by mouse or by keyboard.

It promises that whatever it looked at asked nobody but the admin API for anything, broke no content security policy, said nothing
on the console, and has no serious fault by axe; `leave` tells. What the dashboard has to show is for its callers.
"""

import contextlib
import pathlib

import axe_playwright_python
from playwright.sync_api import sync_playwright

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
# A machine that builds and tests beside it is slow at times; what is waited for is still waited for by its condition.
PATIENCE_MS = 30_000
AXE = pathlib.Path(axe_playwright_python.__file__).with_name("axe.min.js")
SERIOUS = ("serious", "critical")
# The pictures that docs/dashboard.md shows; every view is looked at in all four ways, and these are kept.
DOCUMENTED = {
    "overview-1280-light",
    "overview-390-dark",
    "topology-1280-light",
    "checkpoint-1280-light",
    "rollback-plan-1280-light",
    "rollback-report-1280-dark",
}
# Chromium itself says on the console which answers were no success.
ANSWER = "Failed to load resource"


class Visitor:
    def __init__(self, page, url, shots):
        self.page = page
        self.url = url
        self.shots = shots
        self.faults = []
        self.answers_expected = False
        page.set_default_timeout(PATIENCE_MS)
        page.on("request", self._asked)
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.add_init_script(
            "addEventListener('securitypolicyviolation', (e) => console.error('policy: ' + e.violatedDirective + ' ' + e.blockedURI))"
        )

    def _asked(self, request):
        if not request.url.startswith(self.url + "/"):
            self.faults.append(f"asked elsewhere: {request.url}")

    def _said(self, message):
        if self.answers_expected and message.text.startswith(ANSWER):
            return
        if message.type in ("error", "warning"):
            self.faults.append(f"console: {message.text}")

    @contextlib.contextmanager
    def refusals(self):
        """Within it, answers that are no success belong to what is tried."""
        self.answers_expected = True
        yield
        self.answers_expected = False

    def sign_in(self, token):
        """Where the page asks who is there, by keyboard."""
        with self.refusals():
            self.page.goto(f"{self.url}/")
            self.page.get_by_label("Token").wait_for()
        assert self.page.url.endswith("/dashboard/"), self.page.url
        self.page.keyboard.type(token)
        self.page.keyboard.press("Enter")
        self.page.get_by_role("heading", name="Overview", level=1).wait_for()
        self.see("Live")

    def open(self, place, heading):
        """Goes to a view as somebody who has its address does."""
        self.page.evaluate("(place) => { location.hash = place; }", f"#/{place}")
        self.page.get_by_role("heading", name=heading, level=1).wait_for()

    def see(self, text):
        """Waits for words on the page."""
        self.page.get_by_text(text).first.wait_for()

    def text(self):
        return self.page.inner_text("body")

    def tab_to(self, name, most=60):
        """Moves the keyboard on until it is at the control of this name."""
        for _ in range(most):
            self.page.keyboard.press("Tab")
            at = self.page.evaluate(
                "() => document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.innerText ?? ''"
            )
            if at == name:
                return
        raise AssertionError(f"the keyboard does not get to {name!r}")

    def is_sound(self):
        """Looks for serious faults of accessibility, in light and dark, and for a page wider than its window."""
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme)
            self.page.evaluate(AXE.read_text())
            found = self.page.evaluate("() => axe.run(document, { resultTypes: ['violations'] })")
            for fault in found["violations"]:
                if fault["impact"] in SERIOUS:
                    where = [node["target"] for node in fault["nodes"]][:3]
                    self.faults.append(f"axe, {scheme}, {self.page.url}: {fault['id']}: {fault['help']} {where}")
        self.page.emulate_media(color_scheme="light")
        self.fits()

    def fits(self):
        width, window = self.page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
        if width > window:
            self.faults.append(f"{self.page.url} is {width} wide in a window of {window}")

    def shoot(self, name):
        """Looks at a view wide and narrow, light and dark, and keeps the pictures of the documentation when they are wanted."""
        before = self.page.viewport_size
        for width, height, scheme in (
            (1280, 800, "light"),
            (1280, 800, "dark"),
            (390, 844, "light"),
            (390, 844, "dark"),
        ):
            self.page.set_viewport_size({"width": width, "height": height})
            self.page.emulate_media(color_scheme=scheme)
            self.page.wait_for_timeout(100)
            self.fits()
            picture = f"{name}-{width}-{scheme}"
            if self.shots and picture in DOCUMENTED:
                self.page.evaluate("() => { scrollTo(0, 0); document.activeElement?.blur(); }")
                self.page.screenshot(path=f"{self.shots}/{picture}.png", full_page=True)
        self.page.set_viewport_size(before)
        self.page.emulate_media(color_scheme="light")

    def leave(self):
        assert not self.faults, "\n".join(self.faults)


@contextlib.contextmanager
def visit(url, shots=None):
    """A browser with nothing in it, and what it found at the end."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
        visitor = Visitor(context.new_page(), url, shots)
        try:
            yield visitor
            visitor.leave()
        except Exception:
            print(
                f"the page when it went wrong, {visitor.page.url}:\n{visitor.text()[:4000]}\n{visitor.faults}",
                flush=True,
            )
            raise
        finally:
            browser.close()
