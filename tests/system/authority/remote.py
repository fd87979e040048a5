"""The control of an authority that runs in another process: Remote(url).fault("token", delay=1) and so on."""

import json
import types
import urllib.error
import urllib.request


class Remote:
    """Calls by name whatever app.REMOTE_CALLS allows; records come back as objects with the same members."""

    def __init__(self, base):
        self.base = base.rstrip("/")
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def state(self):
        with self.opener.open(self.base + "/_control/state", timeout=60) as answer:
            return json.load(answer)

    def call(self, name, **args):
        data = json.dumps({"call": name, "args": args}).encode()
        request = urllib.request.Request(self.base + "/_control/call", data, {"Content-Type": "application/json"})
        try:
            with self.opener.open(request, timeout=60) as answer:
                return json.load(answer)["result"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.load(error)["error"]) from None

    def requests(self, **args):
        return [types.SimpleNamespace(**r) for r in self.call("requests", **args)]

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda **args: self.call(name, **args)
