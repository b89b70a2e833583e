"""What is deployed already: asked of Azure, and of the service itself as a stranger."""

import http.client
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

ARM = "https://management.azure.com"
ASK_S = 60.0  # a replica that starts from zero answers late


class AzureSilent(Exception):
    """Azure did not say whether the app is there; the reason is a status or the kind of an error."""


def find_app(arm: str = ARM) -> dict[str, Any] | None:
    """The container app's properties, as whoever runs azd may read them; None where there is no app.

    azd's own SERVICE_CHAT_API_RESOURCE_EXISTS is as old as the last `azd provision`. Raises AzureSilent.
    """
    from azure.core.exceptions import AzureError  # noqa: PLC0415  half a second, after what can be seen without it
    from azure.identity import AzureDeveloperCliCredential  # noqa: PLC0415

    names = (os.environ["AZURE_SUBSCRIPTION_ID"], os.environ["AZURE_RESOURCE_GROUP"], os.environ["AZURE_CHAT_API_NAME"])
    path = "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.App/containerApps/{}".format(*names)
    try:
        token = AzureDeveloperCliCredential(process_timeout=60).get_token(f"{ARM}/.default").token
        request = urllib.request.Request(  # noqa: S310  Azure's own address
            f"{arm}{path}?api-version=2025-07-01", headers={"authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            properties: dict[str, Any] = json.load(response)["properties"]
            return properties
    except urllib.error.HTTPError as e:
        with e:
            if e.code == 404 and b'"ResourceNotFound"' in e.read():  # not ResourceGroupNotFound: a wrong name
                return None
            raise AzureSilent(str(e.code)) from e
    except (AzureError, OSError, http.client.HTTPException, ValueError, LookupError) as e:
        raise AzureSilent(type(e).__name__) from e


def was_ever_ready(app: dict[str, Any]) -> bool:
    """False for an app whose first revision failed: no request has ever reached it."""
    return app.get("provisioningState") != "Failed" or bool(app.get("latestReadyRevisionName"))


def address_ranges(app: dict[str, Any]) -> list[Any]:
    """The ranges that may connect (ALLOWED_IPS); empty: all."""
    ingress = app.get("configuration", {}).get("ingress") or {}
    ranges: list[Any] = ingress.get("ipSecurityRestrictions") or []
    return ranges


def variables(app: dict[str, Any]) -> set[str]:
    """The names of the container's variables."""
    containers = app.get("template", {}).get("containers") or [{}]
    return {entry["name"] for entry in containers[0].get("env") or []}


def ask_as_a_stranger(url: str, wait_s: float = ASK_S) -> str:
    """`closed`, `open`, or in words what came instead.

    An empty POST of text/plain costs no turn: an open service answers 415, a closed one 401 or a sign-in.
    """
    deadline = time.monotonic() + wait_s
    pause_s = min(3.0, wait_s / 5)
    while True:
        answer, may_pass = _ask_once(f"{url}/api/chat", max(1.0, deadline - time.monotonic()))
        if not may_pass or time.monotonic() + pause_s > deadline:
            return answer
        time.sleep(pause_s)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def _ask_once(url: str, timeout_s: float) -> tuple[str, bool]:
    """The answer, and whether another one may come: a replica that starts is not there yet, or a 502 to 504."""
    request = urllib.request.Request(url, b"", {"content-type": "text/plain"}, method="POST")  # noqa: S310  azd's own
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=timeout_s) as response:
            return f"it answered {response.status}", False
    except urllib.error.HTTPError as e:
        with e:
            if e.code == 401 or (300 <= e.code < 400 and _is_sign_in(e.headers.get("location") or "")):
                return "closed", False
            return ("open" if e.code == 415 else f"it answered {e.code}"), e.code in (502, 503, 504)
    except (OSError, http.client.HTTPException) as e:
        return f"no answer: {getattr(e, 'reason', e)}", True


def _is_sign_in(location: str) -> bool:
    target = urllib.parse.urlsplit(location)
    return target.path.startswith("/.auth/login/") or (target.hostname or "").startswith("login.")
