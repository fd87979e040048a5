"""Our built programs with a home of their own (the system tests' harness), as one user of one authority has them."""

import json
import threading

import harness

LOGIN_TIMEOUT_S = 180


class User:
    """A configuration, an agent that logs all it can, the command. What must never be seen again is kept in
    home.known_secrets and looked for in each output and in the log."""

    def __init__(self):
        self.home = harness.Home()
        self.command = harness.Command(self.home)
        self.agent = None
        self.profiles = {}
        self.tokens = set()  # that `get` printed: must not stand in a log

    def profile(self, name, authority, client, grant, scope, **more):
        """client: (id, secret), or the id of a public client, or of one with a key (client_key)."""
        lines = {"grant": grant, "authority": authority.issuer, "scope": scope}
        if isinstance(client, tuple):
            lines.update(client_id=client[0], client_secret=self.home.secret(client[1], name))
        elif "client_key" in more:
            lines.update(client_id=client)
        else:
            lines.update(client_id=client, client_auth="none")
        self.profiles[name] = {**lines, **more}

    def start(self):
        self.home.config(self.profiles)
        self.agent = harness.Agent(self.home).start()
        return self

    def stop(self):
        try:
            self.command.end()
            if self.agent:
                self.agent.stop()
                written = self.agent.log()
                for secret in (*self.home.known_secrets, *self.tokens):
                    assert secret not in written, "a secret stands in the agent's log"
        finally:
            self.home.remove()

    def run(self, *args, input=None):
        done = self.command(*args, input=input)
        for secret in self.home.known_secrets:
            assert secret not in done.out + done.err, "a secret was printed"
        return done

    def ok(self, *args, input=None):
        return self.run(*args, input=input).ok().out

    def fails(self, code, *args, input=None):
        """The one line that says why."""
        return self.run(*args, input=input).failed(code)

    def get(self, *args):
        out = self.ok("get", *args)
        assert out.endswith("\n") and out.count("\n") == 1, repr(out)
        self.tokens.add(out[:-1].removeprefix("Authorization: Bearer "))
        return out[:-1]

    def login(self, name, person):
        """`mltoken login --json`; person(prompt) does what is to be done at the browser. The Result, and the objects
        that came a line each."""
        command = self.command.start("login", "--json", name)
        watchdog = threading.Timer(LOGIN_TIMEOUT_S, command.kill)
        watchdog.start()
        said = []
        try:
            for line in command.stdout:
                said.append(json.loads(line))
                prompt = said[-1].get("prompt")
                if prompt:
                    person({"verification_uri": prompt["verificationUri"], "user_code": prompt.get("userCode"),
                            "verification_uri_complete": prompt["verificationUriComplete"]})
            error = command.stderr.read()
            return harness.Result(command.wait(), json.dumps(said), error), said
        finally:
            watchdog.cancel()

    def sign_in(self, name, authority, client_id=None, **how):
        done, said = self.login(
            name, lambda prompt: authority.browse(prompt, client_id=client_id or authority.public, **how))
        done.ok()
        assert [one["state"] for one in said] == ["prompt", "done"], said
        return said[-1]
