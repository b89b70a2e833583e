"""azd's postdeploy hook: wait until the service is ready, then read one real streamed answer.

Standard library alone: `python infra/hooks/smoke_test.py [URL]` runs anywhere. SMOKE_WAIT_S (600) bounds the wait.
"""
# ruff: noqa: T201  it talks to whoever runs azd

import http.client
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

from azd_env import set_value

_START_S = 90  # a replica that starts from zero answers late
_TURN_S = 240
_MESSAGE = "Hello! Please introduce yourself in one sentence."
_FORGED = {  # what Container Apps' sign-in writes for somebody who signed in; no caller's own may reach the service
    "x-ms-client-principal-id": "00000000-0000-0000-0000-000000000000",
    "x-ms-client-principal-idp": "aad",
    "x-ms-client-principal-name": "forged",
    "x-ms-client-principal": "e30=",
}

_NEXT = {
    "upstream_denied": "roles take minutes to arrive; when they should be there, give the identity AZURE_IDENTITY_NAME "
    "the role Foundry User on the project",
    "agent_not_found": "`azd hooks run postprovision` makes the agent; in a project of your own, "
    "`azd env set AZURE_AI_AGENT_ID <name>` and `azd up`",
    "not_configured": "`azd env get-values` must show AZURE_AI_PROJECT_ENDPOINT and AZURE_AI_AGENT_ID; then `azd up`",
    "upstream_rate_limited": "raise the quota: `azd env set AZURE_AI_MODEL_CAPACITY <thousand tokens a minute>` and "
    "`azd provision`",
    "open": "the running service does not do what AUTH says: `azd deploy chat-api` again; until then, "
    "`az containerapp ingress disable -n $AZURE_CHAT_API_NAME -g $AZURE_RESOURCE_GROUP` closes it",
    "unauthenticated": "the service asks callers to sign in; test it as one of them (docs/deploy.md)",
}
_ELSE = "`az containerapp logs show -n $AZURE_CHAT_API_NAME -g $AZURE_RESOURCE_GROUP --tail 50` (docs/deploy.md)"


class Failure(Exception):
    """`passing`: it may go away by itself."""

    def __init__(self, code: str, detail: str, *, passing: bool) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.passing = passing or code == "upstream_denied"


def main() -> None:
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # a console of another century
    url = (sys.argv[1] if len(sys.argv) > 1 else os.environ.get("AZURE_CHAT_API_URI", "")).rstrip("/")
    if not url.startswith(("https://", "http://")):
        sys.exit("smoke test: no address. Next: `azd provision` sets AZURE_CHAT_API_URI, or give the URL.")
    if os.environ.get("ALLOW_OPEN"):
        set_value("ALLOW_OPEN", "")  # it was for this deployment alone (check_deployment.py)
    try:
        print(f"smoke test: {answered(url, float(os.environ.get('SMOKE_WAIT_S') or 600))}")
    except Failure as e:
        sys.exit(f"smoke test: {url} does not answer: {e}\nNext: {_NEXT.get(e.code, _ELSE)}")


def answered(url: str, wait_s: float) -> str:
    """One line about the answer. Raises the last Failure when `wait_s` are over, or one that will not pass."""
    began, pause_s = time.monotonic(), min(5.0, wait_s / 20)
    said = ""
    while True:
        try:
            return _closed(url) if os.environ.get("AUTH", "none") not in ("", "none") else _open(url)
        except Failure as e:
            waited = time.monotonic() - began
            if not e.passing or waited + pause_s > wait_s:
                raise
            if str(e) != said:
                said = str(e)
                print(f"smoke test: waiting, up to {wait_s:.0f} s, for {said}", flush=True)
            time.sleep(pause_s)


def _open(url: str) -> str:
    _get(f"{url}/ready")
    return _turn(url)


def _closed(url: str) -> str:
    """With AUTH on nobody answers a stranger, and so it should be."""
    _get(f"{url}/health")
    for who, headers in (("a stranger", {}), ("a stranger with forged sign-in headers", _FORGED)):
        _demand_401(url, who, headers)
    return "it runs, and answers nobody whom it does not know (AUTH is on: try it as one of your callers)"


def _demand_401(url: str, who: str, headers: Mapping[str, str]) -> None:
    """By an empty POST of text/plain, which costs no turn: whoever is let in gets 415."""
    request = urllib.request.Request(f"{url}/api/chat", b"", {"content-type": "text/plain", **headers})  # noqa: S310
    try:
        with _opened(request, _START_S):
            let_in = True
    except Failure as e:
        let_in = e.code in ("unsupported_media_type", "415")
        if not let_in and e.code not in ("unauthenticated", "401"):  # 401: Container Apps' own word
            raise
    if let_in:  # passing: the old revision, for a while
        raise Failure("open", f"AUTH is on, but {who} is let in", passing=True)


def _get(url: str) -> None:
    with _opened(urllib.request.Request(url), _START_S, always_passing=True):  # noqa: S310
        pass


def _turn(url: str) -> str:
    body = json.dumps({"message": _MESSAGE}).encode()
    headers = {"content-type": "application/json", "accept": "text/event-stream"}
    began = time.monotonic()
    first_s, text = None, ""
    with _opened(urllib.request.Request(f"{url}/api/chat", body, headers), _TURN_S) as answer:  # noqa: S310
        for event in _events(answer):
            if event["type"] == "chunk":
                first_s = first_s or time.monotonic() - began
                text += event["content"]
            elif event["type"] == "error":
                raise Failure(event.get("code", "error"), event["error"], passing=event.get("retryable", False))
            elif event["type"] == "done" and first_s is not None:
                total_s = time.monotonic() - began
                return f"first chunk after {first_s * 1000:.0f} ms, all after {total_s:.1f} s: {_start_of(text)}"
    raise Failure("no_answer", "the stream ended without an answer", passing=True)


def _start_of(text: str) -> str:
    words = " ".join(text.split())
    return f'"{words[:100]}{"…" if len(words) > 100 else ""}"'


def _opened(request: urllib.request.Request, timeout_s: float, *, always_passing: bool = False) -> Any:
    """The answer with status 200, else a Failure."""
    try:
        return urllib.request.urlopen(request, timeout=timeout_s)  # noqa: S310  main() looked at the scheme
    except urllib.error.HTTPError as e:
        with e:
            problem = _problem(e)
        passing = always_passing or problem.get("retryable", e.code in (404, 502, 503, 504))
        raise Failure(problem.get("code", str(e.code)), problem.get("detail", e.reason), passing=passing) from e
    except (OSError, http.client.HTTPException) as e:  # URLError too: not there yet, or too slow
        raise Failure("unreachable", str(getattr(e, "reason", e)), passing=True) from e


def _problem(error: urllib.error.HTTPError) -> dict[str, Any]:
    """Empty where the answer is not the service's own (the ingress's page while nothing runs behind it), or cut off."""
    try:
        problem = json.loads(error.read())
    except (ValueError, OSError, http.client.HTTPException):
        return {}
    return problem if isinstance(problem, dict) else {}


def _events(answer: Any) -> Iterator[dict[str, Any]]:
    try:
        for line in answer:
            if line.startswith(b"data: "):
                yield json.loads(line[6:])
    except (OSError, http.client.HTTPException) as e:
        raise Failure("broken_off", f"the stream broke off: {e}", passing=True) from e


if __name__ == "__main__":
    main()
