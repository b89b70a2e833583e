"""A conversation from Python: `pip install httpx`, then `python python_client.py "My name is Zoë." "Who am I?"`."""

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import httpx

SERVICE = os.environ.get("CHAT_API_URL", "http://127.0.0.1:8000")


class ChatFailed(Exception):
    pass


def chat(client: httpx.Client, message: str, thread_id: str | None = None) -> Iterator[dict[str, Any]]:
    """The events of one answer, up to and including `done`. Raises ChatFailed."""
    body = {"message": message, "thread_id": thread_id}
    with client.stream("POST", f"{SERVICE}/api/chat", json=body) as answer:
        if answer.is_error:
            raise ChatFailed(json.loads(answer.read())["detail"])
        for line in answer.iter_lines():
            if not line.startswith("data: "):
                continue  # a comment keeps the connection alive
            event = json.loads(line.removeprefix("data: "))
            if event["type"] == "error":
                raise ChatFailed(event["error"])
            yield event
            if event["type"] == "done":
                return
    raise ChatFailed("The answer broke off before its end.")


def main() -> None:
    thread_id = None
    with httpx.Client(timeout=httpx.Timeout(10, read=60)) as client:  # a quiet stream pings every 15 s
        for message in sys.argv[1:]:
            for event in chat(client, message, thread_id):
                if event["type"] == "metadata":
                    thread_id = event["thread_id"]
                if event["type"] == "chunk":
                    sys.stdout.write(event["content"])
                    sys.stdout.flush()
            sys.stdout.write("\n")


if __name__ == "__main__":
    try:
        main()
    except ChatFailed as e:
        sys.exit(str(e))
