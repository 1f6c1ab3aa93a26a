"""Stands in for the `pkgtorrent` program, so that a shim can be tested with a helper that misbehaves as wanted.

    stand_in.py CALLS PACKAGES MODE fetch|store ...

Every call leaves a file in the directory CALLS. Packages are taken from below the directory PACKAGES by their digest.
"""

import functools
import hashlib
import json
import os
import pathlib
import signal
import sys
import time

calls, packages, mode = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
arguments = sys.argv[4:]


with open(str(calls / "pids"), "a") as pids:
    pids.write("%d\n" % os.getpid())


def say(event, **rest):
    print(as_line(event, rest) if "lines" in arguments else json.dumps({"event": event, **rest}), flush=True)


def as_line(event, rest):
    fields = [event]
    for value in rest.values():
        fields += value.values() if isinstance(value, dict) else [value]
    return "\t".join(str(field) for field in fields)


def record(request):
    call = {"pid": os.getpid(), "arguments": arguments, "request": request}
    name = "%d-%d" % (time.time_ns(), os.getpid())
    (calls / (name + ".new")).write_text(json.dumps(call))
    (calls / (name + ".new")).rename(calls / (name + ".json"))


@functools.lru_cache()
def by_digest(algorithm):
    contents = [path.read_bytes() for path in packages.rglob("*.rpm")]
    return {hashlib.new(algorithm, content).hexdigest(): content for content in contents}


def place(index, package, origins=None):
    algorithm, digest = package["digest"].split(":")
    content = by_digest(algorithm).get(digest)
    if content is None:
        return say("failed", index=index, reason="nobody has it")
    say("progress", index=index, done=len(content) // 2)
    temporary = package["dest"] + ".stand-in"
    pathlib.Path(temporary).write_bytes(content)
    os.rename(temporary, package["dest"])
    origins = origins or {"peers": 0, "origin": len(content), "store": 0}
    say("placed", index=index, **{"from": origins})


def done():
    say("done", placed=0, failed=0, bytes={"peers": 0, "origin": 0, "store": 0})


def progress(done):
    form = "progress\t0\t%d\n" if "lines" in arguments else '{"event":"progress","index":0,"done":%d}\n'
    return (form % done).encode()


def flood(piece):
    while True:
        os.write(1, piece)


def wild(wanted):
    # As a line, a text is what it says, and an object what is in it.
    odd = ("zero", "", "\t") if "lines" in arguments else ("0", [], {})
    for index in (-1, len(wanted), 10**30, True, 0.0, None, *odd):
        for event in ("progress", "placed", "failed", "waiting", "unheard-of"):
            say(event, index=index, done=1, reason="wild")
    for number in (-1, wanted[0]["size"] + 1, 10**300, 1.5, "1", None, True):
        say("progress", index=0, done=number)
    say("failed", index=0, reason="\033[2J\a" + "x" * 10000)
    say("failed", index=1, reason={"a": 1}, done=[])
    place(2, wanted[2], {"peers": -5, "origin": 10**30, "store": "x", "elsewhere": 7})
    say("done", placed=10**30, failed=-1, bytes="many")


def fetch():
    if mode == "crash":
        os.abort()
    if mode == "deaf":
        os.close(0)
        record(None)
        return done()
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if mode == "nibbling":
        record(None)
        os.read(0, 5000)
        time.sleep(3600)
    request = json.load(sys.stdin)
    record(request)
    wanted = request["packages"]
    if mode in ("silent", "stubborn"):
        time.sleep(3600)
    elif mode == "garbage":
        print("Traceback (most recent call last):\n  nothing that a program should print\n" * 50000)
    elif mode == "number":
        print("17")
    elif mode == "binary":
        flood(bytes(range(256)) * 256)
    elif mode == "endless-line":
        os.write(1, b'progress\t0\t1' if "lines" in arguments else b'{"event":"progress","index":0,"done":1,"x":"')
        flood(b"y" * 65536)
    elif mode == "endless-events":
        while True:
            os.write(1, progress(7) * 1000)
            time.sleep(0.01)
    elif mode == "endless-changes":
        flood((progress(7) + progress(8)) * 1000)
    elif mode == "endless-errors":
        os.write(2, b"x" * 10_000_000)
        [place(index, package) for index, package in enumerate(wanted)]
        done()
    elif mode == "repeating":
        while True:
            say("progress", index=0, done=7)
            time.sleep(0.1)
    elif mode == "wild":
        wild(wanted)
    elif mode == "lying":
        for index in range(len(wanted)):
            say("placed", index=index, **{"from": {"peers": 5, "origin": 0, "store": 0}})
        done()
    elif mode == "dying":
        place(0, wanted[0])
        say("progress", index=1, done=1)
        os.write(1, b'{"event":"progress","ind')
        os.kill(os.getpid(), signal.SIGKILL)
    elif mode == "leaving-a-child":
        if os.fork() == 0:
            time.sleep(5)
    elif mode == "waiting":
        for _ in range(8):
            say("waiting", index=0, reason="another host fetches it")
            time.sleep(0.4)
        [place(index, package) for index, package in enumerate(wanted)]
        done()
    elif mode == "first":
        place(0, wanted[0])
        for index in range(1, len(wanted)):
            say("failed", index=index, reason="nobody has it")
        done()
        sys.exit(3)
    elif mode in ("nothing", "hanging-store"):
        for index in range(len(wanted)):
            say("failed", index=index, reason="nobody has it")
        done()
        sys.exit(3)
    elif mode == "place":
        [place(index, package) for index, package in enumerate(wanted)]
        done()
    else:
        sys.exit("no such mode: " + mode)


if arguments[:1] == ["fetch"]:
    fetch()
else:
    record(None)
    if mode == "hanging-store":
        time.sleep(3600)
