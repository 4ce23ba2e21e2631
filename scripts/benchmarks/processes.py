"""Running commands, and ending them: no process that is started here outlives the bench.

Every command has a session of its own, so a Ctrl-C of the terminal reaches the bench alone, which ends
its commands one by one and takes back what they did.
"""

import os
import pwd
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager

# How long a process may take to end by itself, in seconds.
PATIENCE = 30


class Failed(Exception):
    """A command failed, or something that is needed is not here: with what to tell the user."""


class Ended(BaseException):
    """A signal wants the bench to end."""

    def __init__(self, number):
        super().__init__(number)
        self.number = number


def say(text):
    """Tells how far it is. Only results go to stdout."""
    print(text, file=sys.stderr, flush=True)


def catch_signals():
    """From now on a signal is an exception. What is ignored, as with nohup, stays ignored."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _arrived)


_calm_depth = 0
_waiting = None


def _arrived(number, _frame):
    global _waiting
    if _calm_depth == 0:
        raise Ended(number)
    _waiting = number


@contextmanager
def calm():
    """What is done within is done whole: a signal waits until its end."""
    global _calm_depth, _waiting
    _calm_depth += 1
    try:
        yield
    finally:
        _calm_depth -= 1
        if _calm_depth == 0 and _waiting is not None:
            number, _waiting = _waiting, None
            raise Ended(number)


def start(command, cwd="/", user=None, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
    """Starts it. Whoever calls this must be calm, and has to end it."""
    person = pwd.getpwnam(user) if user else None
    rights = dict(user=person.pw_uid, group=person.pw_gid, extra_groups=[]) if person else {}
    try:
        return subprocess.Popen(
            [str(part) for part in command],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, "LC_ALL": "C"},
            start_new_session=True,
            **rights,
        )
    except OSError as error:
        raise Failed(f"{command[0]} cannot be run: {error.strerror}") from error


def end(child, patience=PATIENCE):
    """Ends what `start` has started, and all that it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if child.poll() is not None:
            return
        try:
            os.killpg(child.pid, number)
            child.wait(patience)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass


def run(command, cwd="/", user=None):
    """Runs it to its end, and gives what it prints."""
    with tempfile.TemporaryFile() as printed:
        _run(command, cwd, user, printed)
        printed.seek(0)
        return printed.read().decode(errors="replace")


def seconds(command, cwd="/", user=None):
    """Runs it to its end, and gives how long that took. What it prints is dropped."""
    return _run(command, cwd, user, subprocess.DEVNULL)


def seconds_of(work):
    """Calls it, and gives how long that took."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def together(commands):
    """Runs all at the same time, to the end of the last."""
    children = []
    with tempfile.TemporaryFile() as errors:
        try:
            with calm():
                children += [start(command, stderr=errors) for command in commands]
            for child in children:
                child.wait()
        finally:
            with calm():
                for child in children:
                    end(child)
        for command, child in zip(commands, children):
            _check(command, child, errors)


def _run(command, cwd, user, stdout):
    with tempfile.TemporaryFile() as errors:
        child = None
        begin = time.perf_counter()
        try:
            with calm():
                child = start(command, cwd, user, stdout, errors)
            child.wait()
            took = time.perf_counter() - begin
        finally:
            if child is not None and child.returncode is None:
                with calm():
                    end(child)
        _check(command, child, errors)
        return took


def _check(command, child, errors):
    if child.returncode != 0:
        errors.seek(0)
        words = " ".join(str(part) for part in command)
        text = errors.read().decode(errors="replace").strip()
        raise Failed(f"`{words[:200]}` ended with {child.returncode}: {text[-2000:]}")
