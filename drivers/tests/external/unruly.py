#!/usr/bin/env python3
"""A driver that breaks the rule its name says: called machine-driver-RULE, it keeps all others."""
import json
import os
import sys
import time

rule = os.path.basename(sys.argv[0]).removeprefix("machine-driver-")
folder = os.path.dirname(sys.argv[0])


def write(text):
    sys.stdout.write(text)
    sys.stdout.flush()


def say(message):
    write(json.dumps({"jsonrpc": "2.0"} | message) + "\n")


def introduction():
    capabilities = {"local": False}
    options = [
        {"name": f"{rule}-size", "env": "UNRULY_SIZE", "help": "How large", "kind": "text", "default": "small"},
        {"name": f"{rule}-token", "help": "Who asks", "kind": "secret"},
        {"name": f"{rule}-count", "help": "How many", "kind": "number", "default": 2},
        {"name": f"{rule}-fast", "help": "Be quick", "kind": "flag"},
        {"name": f"{rule}-tag", "help": "A word (repeatable)", "kind": "list"},
    ]
    hello = {"protocol": 1, "name": rule, "version": "1.2", "capabilities": capabilities, "options": options}
    if rule == "version":
        hello["protocol"] = 7
    if rule == "stranger":
        hello["name"] = "somebody-else"
    if rule == "prefix":
        options[0]["name"] = "size"
    if rule == "clash":
        options.append(options[0])
    if rule == "shape":
        hello["options"] = "many"
    return hello


def note(text):
    with open(os.path.join(folder, f"{rule}.calls"), "a") as calls:
        calls.write(text + "\n")


def state(call, method):
    """Answers a question after the introduction, its own way."""
    if rule == "dies":
        print("Traceback: out of luck", file=sys.stderr)
        sys.exit(3)
    if rule == "hangs" or rule == "deaf":
        if rule == "deaf":
            import signal
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)
    if rule == "nonsense":
        write("Hello \x1b[31mworld\n")
    if rule == "endless":
        try:
            while True:
                write("x" * 65536)
        except BrokenPipeError:
            os._exit(0)
    if rule == "closes":
        os.close(1)
        time.sleep(60)
    if rule == "jsonrpc1":
        write(json.dumps({"jsonrpc": "1.0", "id": call, "result": {"state": "Running"}}) + "\n")
    if rule == "wrong-type":
        return say({"id": call, "result": {"state": "Dancing"}})
    if rule == "unasked":
        say({"id": 4711, "result": None})
    if rule == "both":
        return say({"id": call, "result": None, "error": {"code": 6, "message": "?"}})
    if rule == "twice":
        say({"id": call, "result": {"state": "Running"}})
    if rule == "words":
        return say({"id": call, "error": {"code": 6, "message": "No \x1b[2Jquota\nleft"}})
    if rule == "late" and method == "check":
        return say({"id": call, "result": {"remarks": ["It will be late"]}})
    if rule == "late" and method == "create":
        say({"method": "progress", "params": {"call": call, "text": "Making half of it"}})
        print("Killed", file=sys.stderr)
        sys.exit(9)
    if rule == "late" and method == "recover":
        note("recover")
        return say({"id": call, "result": {"instance": None}})
    if rule == "knows-little":
        return say({"id": call, "error": {"code": -32601, "message": "?"}})
    say({"id": call, "result": {"state": "Running"}})


def main():
    reversed_calls = []
    if rule == "mute":
        time.sleep(60)
    if rule == "early":
        sys.exit("No module named cloud")
    for line in sys.stdin:
        message = json.loads(line)
        method, call = message["method"], message.get("id")
        if method == "initialize":
            say({"id": call, "result": introduction()})
            if rule == "hello-twice":
                say({"id": call, "result": introduction()})
        elif method == "cancel":
            note(f"cancel {message['params']['call']}")
            if rule == "slow":
                say({"id": message["params"]["call"], "error": {"code": -32800, "message": "Cancelled"}})
        elif rule == "slow" and method == "start":
            note("start")
        elif rule == "backwards" and method == "state":
            # Answers come when three calls are there, the last one first.
            reversed_calls.append((call, message["params"]["instance"]["id"]))
            if len(reversed_calls) == 3:
                for call, name in reversed(reversed_calls):
                    answer = {"error": {"code": 3, "message": "?", "data": {"id": name}}}
                    say({"id": call} | answer)
        elif method == "start":
            say({"method": "progress", "params": {"call": call, "text": "Warming up"}})
            say({"method": "of-a-later-version", "params": 1})
            say({"id": call, "result": None})
        else:
            state(call, method)
    note("end of input")
    if rule == "stubborn":
        import signal
        signal.signal(signal.SIGTERM, lambda *_: (note("told to end"), os._exit(0)))
        time.sleep(60)


main()
