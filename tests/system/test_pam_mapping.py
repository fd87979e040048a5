"""pam_mltoken.so: whether the person who signed in is the user who was asked for, by map or by claim, and may come in."""

import os

import pytest
from pam_module import AUTH_ERR, GOOD, ISSUER, PERM_DENIED, ROOT, SERVICE_ERR, SUCCESS, done, prompt, say


def with_claim(guest, claim, value, *lists, strip=None, accepted=False, **more):
    keys = {"user_claim": claim, **({"strip_domain": strip} if strip else {}), **({"mutable_claim": "accepted"} if accepted else {})}
    guest.config(**keys)
    fields = {} if value is None else {f"claim__{claim}": value}
    guest.login(say(prompt(), done(*lists, **fields, **more)))
    return guest.auth().codes[0]


def test_a_claim(guest):
    user = guest.user
    guest.service(rate="no")
    assert with_claim(guest, "unix_name", user) == SUCCESS
    for value in (user + "x", user[:-1], user.upper(), user + "\n", "", " " + user, "bob", user + "@example.org", None, "root"):
        assert with_claim(guest, "unix_name", value) == AUTH_ERR, value
    assert with_claim(guest, "unix_name", user + "\0x") == SERVICE_ERR
    assert with_claim(guest, "unix_name", user + "@example.org", strip="example.org") == SUCCESS
    for value in (user, user + "@evil.org", user + "@sub.example.org", user + "@Example.org", user + "@example.org.evil",
                  "@example.org", user + "@evil@example.org", user + "xexample.org"):
        assert with_claim(guest, "unix_name", value, strip="example.org") == AUTH_ERR, value


def test_a_claim_with_capitals(guest):
    """It is that claim, and no other that differs by them."""
    guest.service(rate="no")
    name = "onPremises-Sam.AccountName"
    assert with_claim(guest, name, guest.user) == SUCCESS
    assert with_claim(guest, name, "root") == AUTH_ERR
    guest.login(say(prompt(), done(**{f"claim__{name.lower()}": guest.user, f"claim__{name.upper()}": guest.user})))
    assert guest.auth().codes == [AUTH_ERR]


def test_claims_that_people_can_change(guest):
    guest.service(rate="no")
    assert with_claim(guest, "preferred_username", guest.user) == SERVICE_ERR
    assert with_claim(guest, "preferred_username", guest.user, accepted=True) == SUCCESS
    assert with_claim(guest, "Email", guest.user, accepted=True, claim__email_verified="true") == SERVICE_ERR, "it has another name"
    assert with_claim(guest, "email", guest.user, accepted=True) == AUTH_ERR, "not verified"
    assert with_claim(guest, "email", guest.user, accepted=True, claim__email_verified="false") == AUTH_ERR
    assert with_claim(guest, "email", guest.user, accepted=True, claim__email_verified="true") == SUCCESS


def test_no_claim_stands_in_for_another(guest):
    guest.service(rate="no")
    guest.config(user_claim="unix_name")
    guest.login(say(prompt(), done(claim__preferred_username=guest.user, claim__sub=guest.user, sub=guest.user)))
    assert guest.auth().codes == [AUTH_ERR]


def test_the_sign_in_of_one_is_not_for_another(guest):
    """alice proves that she is alice, and asks for bob."""
    guest.map(f"{ISSUER} sub:alice-1 daemon", f"{ISSUER} sub:bob-1 {guest.user}")
    run = guest.auth()
    assert run.codes == [AUTH_ERR] and "does not let alice-1 of " + ISSUER in run.log
    guest.service(rate="no")
    for name in (guest.user + "x", guest.user[:-1], guest.user.upper()):
        guest.map(f"{ISSUER} sub:alice-1 {name}")
        assert guest.auth().codes == [AUTH_ERR], name


def test_entra_is_tenant_and_object(guest):
    guest.service(rate="no")
    guest.map("# tenant and object", f"{ISSUER} tid:t-1,oid:o-1 {guest.user}")
    for tid, oid, code in (("t-1", "o-1", SUCCESS), ("t-2", "o-1", AUTH_ERR), ("t-1", "o-2", AUTH_ERR), (None, "o-1", AUTH_ERR),
                           ("t-1", None, AUTH_ERR), ("t-1", "o-11", AUTH_ERR), ("o-1", "t-1", AUTH_ERR), ("", "o-1", SERVICE_ERR)):
        guest.login(say(prompt(), done(tid=tid, oid=oid, sub="o-1")))
        assert guest.auth().codes == [code], (tid, oid)


@pytest.mark.parametrize("text", ["alice-1 {user}", "{issuer} alice-1 {user}", "{issuer} sub: {user}", "{issuer} sub:alice-1", "{issuer} sub:x {user} y",
                                  "{issuer} tid:a,oid: {user}", "{issuer} tid:a {user}", "{issuer} oid:b,tid:a {user}", "authority sub:x {user}",
                                  "{issuer} sub:x {user}\r", "{issuer} sub:\u00e9 {user}", "{issuer} email:x {user}", "{issuer} sub:" + "x" * 5000 + " {user}"])
def test_one_bad_line_spoils_the_map(guest, text):
    """Before anybody is asked anything."""
    started = guest.file("told", "started")
    guest.login(f"touch {started}\n" + GOOD)
    guest.map(f"{ISSUER} sub:alice-1 {guest.user}", text.format(issuer=ISSUER, user=guest.user))
    run = guest.auth()
    assert run.codes == [SERVICE_ERR] and f"{guest.file('map')}, line 2: a line is ISSUER" in run.log
    assert run.asked == [] and not os.path.exists(started)


def test_files_that_others_can_write_are_not_believed(guest):
    guest.service(rate="no")
    for name in ("pam.conf", "map"):
        for mode in (0o664, 0o646, 0o666):
            os.chmod(guest.file(name), mode)
            run = guest.auth()
            assert run.codes == [SERVICE_ERR] and "neither its group nor others" in run.log
        os.chmod(guest.file(name), 0o644)
        os.rename(guest.file(name), guest.file("real"))
        os.symlink(guest.file("real"), guest.file(name))
        assert guest.auth().codes == [SERVICE_ERR]
        os.remove(guest.file(name))
        assert guest.auth().codes == [SERVICE_ERR]
        os.mkfifo(guest.file(name), 0o600)
        assert guest.auth().codes == [SERVICE_ERR]
        os.remove(guest.file(name))
        os.rename(guest.file("real"), guest.file(name))
    assert guest.auth().codes == [SUCCESS]


@pytest.mark.skipif(not ROOT, reason="gives files to another user")
def test_files_of_others_are_not_believed(guest):
    for name in ("pam.conf", "map"):
        os.chown(guest.file(name), 12345, 12345)
        assert guest.auth().codes == [SERVICE_ERR]
        os.chown(guest.file(name), 0, 0)


def test_groups_and_roles(guest):
    guest.service(rate="no")
    groups = [("group", "g-1"), ("group", "g-2")]
    for keys, lists, overage, code in (
            ({"require_group": "g-2"}, groups, "no", SUCCESS), ({"require_group": "g-3, g-1"}, groups, "no", SUCCESS),
            ({"require_group": "g-3"}, groups, "no", PERM_DENIED), ({"require_group": "g"}, groups, "no", PERM_DENIED),
            ({"require_group": "g-22"}, groups, "no", PERM_DENIED), ({"require_group": "g-1"}, [], "no", PERM_DENIED),
            ({"require_group": "g-1"}, groups, "yes", PERM_DENIED), ({"require_role": "r"}, groups, "yes", PERM_DENIED),
            ({"require_role": "r"}, [("role", "r")], "yes", SUCCESS), ({"require_role": "g-1"}, groups, "no", PERM_DENIED),
            ({"require_group": "g-1", "require_role": "r"}, groups, "no", PERM_DENIED),
            ({"require_group": "g-1", "require_role": "r"}, groups + [("role", "r")], "no", SUCCESS),
            ({}, groups, "yes", SUCCESS), ({}, groups, "perhaps", SERVICE_ERR)):
        guest.config(map=guest.file("map"), **keys)
        guest.login(say(prompt(), done(*lists, overage=overage)))
        assert guest.auth().codes == [code], (keys, lists, overage)
