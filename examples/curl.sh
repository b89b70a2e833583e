#!/bin/sh
# Two turns of one conversation: the second sends the thread_id that the first was given.
set -eu
service="${CHAT_API_URL:-http://127.0.0.1:8000}"

ask() {
  curl --silent --show-error --no-buffer --fail-with-body "$service/api/chat" \
    --header 'content-type: application/json' --data "$1"
}

first=$(mktemp)
trap 'rm -f "$first"' EXIT

ask '{"message": "My name is Zoë."}' | tee "$first"
thread=$(sed -n 's/.*"type": "metadata".*"thread_id": "\([^"]*\)".*/\1/p' "$first")
ask "{\"message\": \"What is my name?\", \"thread_id\": \"$thread\"}"
