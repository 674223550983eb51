"""What people do at the dashboard, step by step, in a real browser against a real admin API.

Usage: dashboard.py STEP PARAMETERS, parameters as JSON: url, tokens by role, deployment, epoch, shots. The last line it prints is what it
found, as JSON; it ends with an error when anything was not as it has to be. Where a step needs something to happen outside
it prints a line of one word and goes on when it reads one.
"""

import json
import re
import sys
import time

import crowd
from visitor import visit

# On a machine that does nothing else it takes a fifth of this.
CROWD_DRAWN_MS = 10_000
CROWD_FOUND_MS = 2_000
CHECKPOINT_MS = 60_000
RESTORE_MS = 120_000


def look(wanted):
    """A viewer looks at everything, and is told what they may not do and why."""
    with visit(wanted["url"], wanted["shots"]) as visitor:
        page = visitor.page
        visitor.sign_in(wanted["tokens"]["viewer"])
        visitor.see("Needs role operator; vera has role viewer.")
        take = page.get_by_role("button", name="Take a checkpoint")
        assert take.get_attribute("aria-disabled") == "true"
        take.click(force=True)
        assert page.locator("dialog").count() == 0, "a viewer is asked about a checkpoint"
        visitor.is_sound()
        visitor.open("topology", "Topology")
        for service in ("bank-a", "bank-b"):
            page.locator(f"svg g[data-id='s:{service}']").wait_for()
        # Drawn from what the broker tells, which knows the members a moment after they have joined.
        page.locator("svg text", has_text=re.compile(r"lag [\d,]+")).first.wait_for()
        page.get_by_role("button", name="bank-a", exact=True).click()
        visitor.see("Lag by partition")
        visitor.is_sound()
        for place, heading in (
            ("checkpoints", "Checkpoints"),
            ("restores", "Rollbacks"),
            ("schedule", "Schedule"),
            ("sidecars", "Sidecars"),
            ("events", "Events"),
        ):
            visitor.open(place, heading)
            page.wait_for_timeout(300)
            visitor.is_sound()
        visitor.open("codes/CL0314", "Code CL0314")
        visitor.see("restore it too, or allow it")
        visitor.open("rollback", "Roll back")
        visitor.see("Planning and rolling back is for admins.")
        assert page.get_by_role("button", name="Plan it").get_attribute("aria-disabled") == "true"
        with visitor.refusals():
            status = page.evaluate(
                """async () => (await fetch("../v1/restores", { method: "POST", body: '{"epoch":1,"dry_run":true}',
                headers: { "Content-Type": "application/json", Authorization: "Bearer " + sessionStorage.getItem("cutline.token") } })).status"""
            )
        assert status == 403, status
        return {"looked": True}


def many(wanted):
    """Two hundred services are drawn in time, found by a few letters, and one that is not as it should be stands out."""
    with visit(wanted["url"], wanted["shots"]) as visitor:
        page = visitor.page
        visitor.sign_in(wanted["tokens"]["viewer"])
        crowd.pretend(page)
        begin = time.monotonic()
        visitor.open("topology", "Topology")
        page.wait_for_function(
            f"() => document.querySelectorAll('svg g[data-id]').length === {2 * crowd.SERVICES}", timeout=CROWD_DRAWN_MS
        )
        drawn = time.monotonic() - begin
        visitor.see("1 group member behind no sidecar.")
        begin = time.monotonic()
        page.get_by_label("Find").fill(crowd.name(crowd.ODD))
        page.wait_for_function("() => document.querySelectorAll('tbody tr').length === 1", timeout=CROWD_FOUND_MS)
        found = time.monotonic() - begin
        assert "1 member behind no sidecar" in page.locator("tbody tr").inner_text()
        page.get_by_label("Find").press("Enter")
        assert page.locator("svg g.selected").get_attribute("data-id") == f"s:{crowd.name(crowd.ODD)}"
        page.get_by_label("Only what is beside the selected").check()
        page.wait_for_function("() => document.querySelectorAll('svg g[data-id]').length < 10")
        page.get_by_label("Topics", exact=True).uncheck()
        page.get_by_label("Only what is beside the selected").uncheck()
        page.wait_for_function(f"() => document.querySelectorAll('svg g[data-id]').length === {crowd.SERVICES}")
        page.get_by_label("Find").fill("")
        page.get_by_role("group", name=re.compile("Graph of services")).focus()
        before = page.locator("svg.graph").get_attribute("viewBox")
        for key in ("+", "ArrowRight", "ArrowDown"):
            page.keyboard.press(key)
        assert page.locator("svg.graph").get_attribute("viewBox") != before, "the keyboard does not move the graph"
        visitor.fits()
        return {"drawn_ms": round(drawn * 1000), "found_ms": round(found * 1000)}


def checkpoint(wanted):
    """Somebody takes a checkpoint without touching the mouse, watches it complete, and looks at what it cost."""
    with visit(wanted["url"], wanted["shots"]) as visitor:
        page = visitor.page
        visitor.sign_in(wanted["tokens"]["operator"])
        visitor.tab_to("Take a checkpoint")
        page.keyboard.press("Enter")
        page.get_by_role("dialog", name="Take a checkpoint").wait_for()
        visitor.is_sound()
        page.keyboard.press("Escape")
        page.locator("dialog").wait_for(state="detached")
        page.keyboard.press("Enter")
        page.get_by_role("dialog", name="Take a checkpoint").wait_for()
        for _ in range(4):
            if page.evaluate("() => document.activeElement.id") == "savepoint":
                break
            page.keyboard.press("Tab")
        page.keyboard.type("by-keyboard")
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile(r"#/checkpoints/\d+$"))
        # A retry after a failed attempt moves the page on by itself.
        page.locator("main .badge", has_text="COMPLETED").first.wait_for(timeout=CHECKPOINT_MS)
        epoch = int(page.url.rsplit("/", 1)[1])
        visitor.see("savepoint by-keyboard")
        page.locator("#said", has_text="completed").wait_for()
        said = page.locator("#said").inner_text()
        for process in ("bank-a", "bank-b"):
            page.locator(".gantt .lane", has_text=process).wait_for()
            page.get_by_role("row", name=re.compile(f"^{process} ")).first.wait_for()
        page.get_by_label("Show the upload too").check()
        page.locator(".gantt .upload").first.wait_for()
        page.get_by_label("Show the upload too").uncheck()
        page.get_by_role("button", name="Verify").click()
        visitor.see("Whole:")
        assert page.get_by_role("button", name="Delete…").get_attribute("aria-disabled") == "true", (
            "an operator may delete"
        )
        page.get_by_text(re.compile(r"^Positions \(\d+\)$")).click()
        visitor.see("Where each group stood")
        visitor.is_sound()
        return {"epoch": epoch, "said": said}


def rollback(wanted):
    """An admin plans, reads, types, and watches the rollback get done."""
    with visit(wanted["url"], wanted["shots"]) as visitor:
        page = visitor.page
        epoch = wanted["epoch"]
        visitor.sign_in(wanted["tokens"]["admin"])
        shoot_all(visitor, epoch)
        visitor.open(f"checkpoints/{epoch}", f"Checkpoint {epoch}")
        page.get_by_role("button", name="Roll back to it…").click()
        page.get_by_role("heading", name="Roll back", level=1).wait_for()
        page.get_by_label("All 2 services of the checkpoint").wait_for()
        assert page.get_by_label("Checkpoint", exact=True).input_value() == str(epoch)
        page.get_by_role("button", name="Plan it").click()
        visitor.see("It can be done now.")
        for words in (
            "What goes back",
            "What will be masked",
            "Masked records by writer and partition",
            "Nobody outside has read what will be masked.",
        ):
            visitor.see(words)
        visitor.is_sound()
        visitor.shoot("rollback-plan")
        go = page.get_by_role("button", name="Roll back now")
        assert go.is_disabled()
        confirm = page.get_by_label(f"Type {wanted['deployment']} to confirm")
        confirm.fill(wanted["deployment"] + "x")
        assert go.is_disabled(), "it takes another word"
        # What is chosen anew has to be planned anew.
        page.get_by_label("Take a checkpoint of the present state first").uncheck()
        assert go.count() == 0, "what was planned is not what would be done"
        page.get_by_label("Take a checkpoint of the present state first").check()
        page.get_by_role("button", name="Plan it").click()
        confirm.fill(wanted["deployment"])
        confirm.press("Enter")
        page.wait_for_url(re.compile(r"#/restores/"))
        page.locator(".steps li.now").wait_for()
        page.locator("#activity", has_text=f"Rolling back to {epoch}").wait_for()
        visitor.shoot("rollback-progress")
        page.locator("main .badge", has_text="COMPLETED").first.wait_for(timeout=RESTORE_MS)
        visitor.see("What was done")
        done = page.locator(".steps li.done").count()
        visitor.is_sound()
        visitor.shoot("rollback-report")
        return {"steps_done": done, "restore": page.url.rsplit("/", 1)[1]}


def shoot_all(visitor, epoch):
    """Every main view fits a wide and a narrow window, and is in the documentation when that is wanted."""
    visitor.page.locator(".cards").wait_for()
    visitor.shoot("overview")
    for place, heading, ready in (
        ("topology", "Topology", "svg g[data-id]"),
        ("checkpoints", "Checkpoints", "tbody tr"),
        (f"checkpoints/{epoch}", f"Checkpoint {epoch}", ".gantt"),
        ("schedule", "Schedule", "form"),
        ("sidecars", "Sidecars", "tbody tr"),
    ):
        visitor.open(place, heading)
        visitor.page.locator(ready).first.wait_for()
        visitor.page.wait_for_timeout(300)
        visitor.shoot(place.split("/")[0] if "/" not in place else "checkpoint")


def away(wanted):
    """The admin API goes away and comes back: the page says so, keeps what it shows, and goes on by itself."""
    with visit(wanted["url"], wanted["shots"]) as visitor:
        page = visitor.page
        visitor.sign_in(wanted["tokens"]["viewer"])
        page.locator(".cards").wait_for()
        with visitor.refusals():
            tell("ready")
            visitor.see("The admin API does not answer.")
            visitor.see("Reconnecting…")
            assert "Last completed" in visitor.text(), "what was shown is gone"
            visitor.is_sound()
            tell("noticed")
            page.locator("#notice .box").wait_for(state="detached", timeout=2 * CHECKPOINT_MS)
            page.locator(".live", has_text="Live").wait_for()
        return {"came_back": True}


def unasked(wanted):
    """Without tokens nobody is asked for one; a deployment in which nothing ever was says what to do, and sets its schedule."""
    with visit(wanted["url"], wanted["shots"]) as visitor:
        page = visitor.page
        page.goto(f"{wanted['url']}/")
        page.get_by_role("heading", name="Overview", level=1).wait_for()
        for words in (
            "No tokens in force",
            "There is nothing to roll back to.",
            "No sidecar is known",
            "Nothing is scheduled",
        ):
            visitor.see(words)
        visitor.is_sound()
        for place, heading, words in (
            ("topology", "Topology", "no service has registered yet."),
            ("checkpoints", "Checkpoints", "none that stands so."),
            ("restores", "Rollbacks", "nothing was ever rolled back here."),
            ("rollback", "Roll back", "There is no completed checkpoint to go back to."),
        ):
            visitor.open(place, heading)
            visitor.see(words)
        visitor.open("schedule", "Schedule")
        page.get_by_label("Take checkpoints periodically").check()
        page.get_by_label("From one to the next", exact=True).fill("90")
        page.get_by_label("From one to the next: unit").select_option("min")
        page.get_by_role("button", name="Set it").click()
        visitor.see("1 h 30 min")
        visitor.open("events", "Events")
        visitor.open("schedule", "Schedule")
        page.get_by_label("Take checkpoints periodically").uncheck()
        page.get_by_role("button", name="Set it").click()
        visitor.see("nothing is scheduled")
        with visitor.refusals():
            visitor.open("checkpoints/999999", "Checkpoint 999999")
            visitor.see("CL0113")
            visitor.see("What to do:")
        return {"unasked": True}


def tell(word):
    """Something has to happen outside; a line says that it has."""
    print(word, flush=True)
    sys.stdin.readline()


STEPS = {step.__name__: step for step in (look, many, checkpoint, rollback, away, unasked)}

if __name__ == "__main__":
    print(json.dumps(STEPS[sys.argv[1]](json.loads(sys.argv[2]))), flush=True)
