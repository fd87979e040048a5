"""pam_mltoken.so: the record from auth to open_session, and what comes of mltoken-pam-import."""

import os
import time

import pytest
from pam_module import ROOT, SUCCESS, done, line, mode_of, parse, say


def test_hand_off(guest):
    out = guest.file("told", "record")
    guest.importer(f"cat > {out}; printf '%s ' \"$@\" > {out}-argv; grep -E '^(Uid|Groups)' /proc/$$/status > {out}-ids\n" + say("ok"))
    guest.config(map=guest.file("map"), profile="corp", handoff_profile="work")
    run = guest.run("auth", "open", "open")
    assert run.codes == [SUCCESS] * 3 and run.told == []
    first, second, end = guest.told("record").split("\n")
    word, record = parse(first)
    assert word == "record" and end == ""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        assert record["boot_id"] == file.read().strip()
    assert (record["version"], record["uid"], record["service"], record["profile"]) == ("1", str(guest.uid), "guest", "work")
    assert second == done(), "as the helper told it"
    assert guest.told("record-argv").strip() == ""
    assert f"Uid:\t{guest.uid}\t{guest.uid}\t{guest.uid}\t{guest.uid}" in guest.told("record-ids")
    assert guest.records() == []


def sign_in(guest, *words):
    """A record, and its handle."""
    run = guest.run(*words, "auth")
    assert run.codes == [SUCCESS]
    handle, = guest.records()
    path = guest.file("run", "handoff", handle)
    assert mode_of(path) == 0o600 and mode_of(guest.file("run", "handoff")) == 0o700
    assert os.stat(path).st_uid == (guest.uid if guest.ordinary else 0)
    assert run.pamenv["MLTOKEN_HANDOFF"] == handle and len(handle) == 32
    return handle, path


def opens(guest, handle, **more):
    """Whether the record of that handle came to mltoken-pam-import, in a process of its own."""
    out = guest.file("told", "came")
    guest.importer(f"cat > {out}\n" + say("ok"))
    if os.path.exists(out):
        os.remove(out)
    run = guest.run(f"env=MLTOKEN_HANDOFF={handle}", "open", **more)
    assert run.codes == [SUCCESS] and run.changed == []
    assert "MLTOKEN_HANDOFF" not in run.pamenv, "it never comes into the session"
    return os.path.exists(out) and guest.told("came") != ""


def test_a_record_is_good_once(guest):
    handle, path = sign_in(guest)
    with open(path, encoding="ascii") as file:
        copy = file.read()
    assert opens(guest, handle) and not os.path.exists(path)
    assert not opens(guest, handle), "a replay"
    assert "ACCESS-SECRET" not in copy and "record version=" in copy


@pytest.mark.parametrize("change", ["uid", "service", "boot_id", "old", "future", "version", "word", "cut", "empty", "garbage"])
def test_a_record_that_is_not_for_this_session(guest, change):
    handle, path = sign_in(guest)
    with open(path, encoding="ascii") as file:
        first, second, _ = file.read().split("\n")
    word, record = parse(first)
    changes = {"uid": {"uid": "12345"}, "service": {"service": "sshd"}, "boot_id": {"boot_id": "0" * 36}, "version": {"version": "2"},
               "old": {"boottime_ms": str(int(record["boottime_ms"]) - 301_000)}, "future": {"boottime_ms": str(int(record["boottime_ms"]) + 10**7)}}
    record.update(changes.get(change, {}))
    text = line("done" if change == "word" else word, **record) + "\n" + second + "\n"
    text = {"cut": text[:20], "empty": "", "garbage": "\0" * 100 + "\n"}.get(change, text)
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
    assert not opens(guest, handle)
    assert not os.path.exists(path), "it is removed all the same"


@pytest.mark.parametrize("kind", ["wide", "symlink", "hard link", "fifo", "long", "owner"])
def test_a_file_that_is_no_record(guest, kind):
    handle, path = sign_in(guest)
    if kind == "wide":
        os.chmod(path, 0o640)
    elif kind == "long":
        with open(path, "a", encoding="ascii") as file:
            file.write("x" * 200_000)
    elif kind == "hard link":
        os.link(path, guest.file("run", "handoff", "0" * 32))
    elif kind == "owner":
        if not ROOT:
            os.chmod(path, 0o604)
        else:
            os.chown(path, 12345, 12345)
    else:
        os.rename(path, guest.file("run", "other"))
        if kind == "symlink":
            os.symlink(guest.file("run", "other"), path)
        else:
            os.mkfifo(path, 0o600)
    assert not opens(guest, handle)


@pytest.mark.parametrize("handle", ["", "x", "0" * 31, "0" * 33, "A" * 32, "../" + "0" * 29, "/etc/passwd", "0" * 31 + "\n", "%n" * 16, "." * 32])
def test_a_handle_that_is_none(guest, handle):
    sign_in(guest)
    assert not opens(guest, handle)
    assert len(guest.records()) == 1


def test_old_records_are_swept_at_the_next_auth(guest):
    handle, path = sign_in(guest)
    os.utime(path, (1, 1))
    run = guest.auth()
    assert handle not in guest.records() and guest.records() == [run.pamenv["MLTOKEN_HANDOFF"]]


def test_without_hand_off(guest):
    guest.config(map=guest.file("map"), handoff="no")
    run = guest.run("auth", "setcred", "account", "open")
    assert run.codes == [SUCCESS] * 4 and guest.records() == [] and "MLTOKEN_HANDOFF" not in run.pamenv


def test_a_full_spool_lets_people_in(guest):
    os.makedirs(guest.file("run", "handoff"))
    os.chmod(guest.file("run", "handoff"), 0o755)
    run = guest.run("auth", "open")
    assert run.codes == [SUCCESS] * 2 and "not kept" in run.log


IMPORTERS = {
    "missing": (None, "not started"), "silent": ("cat >/dev/null\n", "without a result"), "garbage": ("echo Hello, World\n", "none of its lines"),
    "does not read": ("exec sleep 1000\n", "not done in time"), "hangs": ("cat >/dev/null; exec sleep 1000\n", "not done in time"),
    "killed": ("kill -9 $$\n", ""), "floods": ("exec yes ok\n", ""), "endless": ("exec cat /dev/zero\n", "none of its lines"),
    "no agent": (say(line("fail", **{"class": "no_agent", "text": "\x1b[2Jnobody"})), "no_agent): \\x1b[2Jnobody"),
    "refused": (say(line("fail", **{"class": "refused", "text": "no"})), "refused"), "nothing": (say("fail"), "refused"),
}


@pytest.mark.parametrize("name", IMPORTERS)
def test_an_import_that_fails_fails_no_login(guest, name):
    script, logged = IMPORTERS[name]
    guest.importer(script)
    guest.config(map=guest.file("map"), profile="corp")
    begun = time.monotonic()
    run = guest.run("auth", "open", "close")
    assert run.codes == [SUCCESS] * 3 and run.changed == []
    assert logged in run.log
    assert time.monotonic() - begun < 20
    if name in ("no agent", "refused"):
        text, = run.told
        assert "mltoken login corp" in text and "\x1b" not in text and "\n" not in text


def test_arguments_of_the_import(guest):
    out = guest.file("told", "argv")
    guest.importer(f"printf '%s ' \"$@\" > {out}; cat > {out}-input\n" + say("ok", line("value", profile="a", token="T.1")))
    guest.config(map=guest.file("map"), handoff_fallback="start", export="a:A_TOKEN b:MY_B_TOKEN")
    run = guest.run("auth", "open")
    assert run.codes == [SUCCESS] * 2
    assert guest.told("argv").split() == ["--start", "--export", "a", "--export", "b"]
    assert run.pamenv.get("A_TOKEN") == "T.1" and "MY_B_TOKEN" not in run.pamenv
    run = guest.run("open")
    assert guest.told("argv-input") == "" and run.pamenv == {"A_TOKEN": "T.1"}, "without a sign-in too"


@pytest.mark.parametrize("token", ["", "a b", "a\nLD_PRELOAD=/x", "\x1b[2J", "\u00e9", "x" * (16 * 1024 + 1), "a\0b"])
def test_an_export_is_bounded_and_printable(guest, token):
    guest.importer("cat > /dev/null\n" + say(line("value", profile="a", token=token), line("value", profile="other", token="x")))
    guest.config(map=guest.file("map"), export="a:A_TOKEN")
    run = guest.run("open")
    assert run.codes == [SUCCESS] and run.pamenv == {}


def test_an_export_of_the_greatest_length(guest):
    guest.importer("cat > /dev/null\n" + say(line("value", profile="a", token="x" * (16 * 1024))))
    guest.config(map=guest.file("map"), export="a:A_TOKEN")
    assert guest.run("open").pamenv == {"A_TOKEN": "x" * (16 * 1024)}


def test_a_session_of_a_user_out_of_scope(guest):
    guest.importer(f"touch {guest.file('told', 'started')}\n")
    guest.config(map=guest.file("map"), export="a:A_TOKEN")
    guest.service(min_uid=str(guest.uid + 1))
    assert guest.run("open", "close").codes == [SUCCESS] * 2
    assert guest.run("open", user="no-such-user").codes == [SUCCESS]
    assert not os.path.exists(guest.file("told", "started"))
