"""Adapters that misbehave, one for each way in which an implementation can: `python adapters.py WAY`. Used by test_runner."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

HELLO = {"protocol": "cra-conformance/1", "implementation": "stub", "version": "7"}


def say(identifier: object, result: object) -> None:
    print(json.dumps({"id": identifier, "result": result}), flush=True)


def main(way: str, log: str | None) -> None:
    if log is not None:
        with open(log, "a") as file:
            file.write("started\n")
    if way == "silent":
        time.sleep(600)
    for line in sys.stdin:
        question = json.loads(line)
        identifier = question["id"]
        if identifier == "handshake":
            say(identifier, {**HELLO, "protocol": "other/1"} if way == "stranger" else HELLO)
        elif question["input"].get("fine"):
            say(identifier, {"matches": True})
        elif way == "wrong":
            say(identifier, {"matches": False})
        elif way == "crash":
            print("out of cheese", file=sys.stderr, flush=True)
            os._exit(3)
        elif way == "hang":
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            time.sleep(600)
        elif way == "deaf":
            sys.stdin.close()
            time.sleep(600)
        elif way == "garbage":
            print("hello", flush=True)
        elif way == "deep":
            print(f'{{"id":{json.dumps(identifier)},"result":{"[" * 100_000}{"]" * 100_000}}}', flush=True)
        elif way == "number":
            print("7", flush=True)
        elif way == "other-id":
            say("something else", {"matches": True})
        elif way == "empty":
            print(json.dumps({"id": identifier}), flush=True)
        elif way == "refuse":
            print(json.dumps({"id": identifier, "failure": "I cannot fly"}), flush=True)
        elif way == "flood":
            block = "x" * 2**20
            while True:
                sys.stdout.write(block)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
