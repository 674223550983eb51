"""Two hundred services that there are not: what the admin API would answer of them, made up in the browser.

A deployment of that size does not fit into a test; the page cannot tell the difference. The shape is an ordinary one: tiers of
services, each reading a few topics of the tier before, and one that is not behind its sidecar.
"""

import json

SERVICES = 200
TIERS = 8
# In the middle of the crowd: a member of its group is behind no sidecar.
ODD = 137


def name(number):
    return f"service-{number:03}"


def topology():
    each = SERVICES // TIERS
    topics = []
    reads = {number: [] for number in range(SERVICES)}
    for number in range(SERVICES):
        tier = number // each
        readers = [(tier + 1) * each + (number * step + step) % each for step in (1, 3)] if tier + 1 < TIERS else []
        for reader in readers:
            reads[reader].append(f"topic-{number:03}")
        topics.append(
            {
                "topic": f"topic-{number:03}",
                "partitions": 12,
                "writers": [name(number)],
                "readers": sorted({name(one) for one in readers}),
            }
        )
    groups = [
        {
            "group": f"group-{number:03}",
            "members": [
                {
                    "member": f"consumer-{number}",
                    **({} if number == ODD else {"sidecar": f"{name(number)}/0"}),
                    "assignment": [],
                }
            ],
        }
        for number in range(SERVICES)
    ]
    services = [
        {
            "service": name(number),
            "instances": ["0", "1"],
            "has_state": number % 3 == 0,
            "fenced": False,
            "groups": [f"group-{number:03}"],
            "reads": sorted(set(reads[number])),
            "writes": [f"topic-{number:03}"],
        }
        for number in range(SERVICES)
    ]
    lag = [{"group": f"group-{number:03}", "lag": number * 7, "partitions": []} for number in range(SERVICES)]
    return {"services": services, "topics": topics, "groups": groups, "timeline": 1, "masked_partitions": 0, "lag": lag}


def sidecars():
    return [
        {
            "service": name(number),
            "instance": instance,
            "incarnation": "0" * 32,
            "state": "connected",
            "scope": "service",
            "capture": "commit",
            "providers": [],
            "listen": "127.0.0.1:9092",
            "app_connections": 1,
            "groups": [],
            "reads": [],
            "writes": [],
        }
        for number in range(SERVICES)
        for instance in ("0", "1")
    ]


def pretend(page):
    """From now on the page is told of the crowd."""
    told = {"topology": json.dumps(topology()), "sidecars": json.dumps(sidecars())}

    def answer(route):
        body = told[route.request.url.rsplit("/", 1)[1]]
        route.fulfill(status=200, content_type="application/json", body=body)

    for path in told:
        page.route(f"**/v1/{path}", answer)
