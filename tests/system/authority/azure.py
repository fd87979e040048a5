"""Azure Resource Manager and the model-management service before it (WIRE sections 4 and 5): keys in two slots, tokens
of endpoints, and an operation that goes on behind its answer.

authority.azure is the resource group's address; ENDPOINT, SERVICE and ACCOUNT name what is there. A caller shows a
token of this authority. azure_state has the keys and counts; a test changes it.
"""

import json
import secrets
import time

from .dialects import Problem
from .endpoints import Response, json_response

GROUP = "/subscriptions/sub-1/resourceGroups/rg-1"
ML = GROUP + "/providers/Microsoft.MachineLearningServices/workspaces/ws"
ENDPOINT = ML + "/onlineEndpoints/ep"
SERVICE = "/modelmanagement/v1.0" + ML + "/services/svc"
ACCOUNT = GROUP + "/providers/Microsoft.CognitiveServices/accounts/aoai"
KINDS = {ENDPOINT: "endpoint", SERVICE: "service", ACCOUNT: "account"}
ACTIONS = {("endpoint", "listKeys"): "list", ("endpoint", "regenerateKeys"): "regenerate", ("endpoint", "token"): "token",
           ("service", "listkeys"): "list", ("service", "regenerateKeys"): "regenerate", ("service", "token"): "token",
           ("account", "listKeys"): "list", ("account", "regenerateKey"): "regenerate"}
OPERATION = "/subscriptions/sub-1/providers/Microsoft.MachineLearningServices/locations/here/mfeOperationsStatus/"
MEMBERS = {"endpoint": ("primaryKey", "secondaryKey"), "service": ("primaryKey", "secondaryKey"), "account": ("key1", "key2")}


class Arm:
    """Routes, and the shape of errors."""

    name, features, prefix = "arm", set(), "/arm"

    @staticmethod
    def error(problem):
        return {"error": {"code": problem.error, "message": problem.description, "details": [], **problem.members}}


def route(path):
    """The dialect and endpoint of a path, or None."""
    place, _, action = path.rpartition("/")
    if place in KINDS and (KINDS[place], action) in ACTIONS:
        return Arm(), "arm_" + ACTIONS[(KINDS[place], action)]
    return (Arm(), "arm_operation") if path.startswith(OPERATION) else None


class AzureState:
    def __init__(self):
        self.keys = {kind: [f"{kind}-MARK-{slot}-0" for slot in range(2)] for kind in MEMBERS}
        self.made = 0
        self.operations = {}     # id -> [kind, slot, polls left, how it ends]
        self.polls = 1           # of an operation, before its end
        self.outcome = "Succeeded"
        self.location = "Azure-AsyncOperation"   # or Location, both, none
        self.origin = None       # of the operation's address, instead of our own
        self.first = 202         # the answer to regenerating: 200 and 204 are done at once
        self.forgets = False     # says it is done and makes nothing anew
        self.forbidden = set()   # actions that are denied
        self.life, self.refresh = 7200, 3600
        self.strings = False
        self.seen = []           # (kind, action)


class AzureEndpoints:
    """Mixed into Authority."""

    def _arm_caller(self, request, action):
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        token = self.store.access_tokens.get(value) if scheme == "Bearer" else None
        if token is None or token.revoked or time.time() >= token.expires:
            raise Problem("ExpiredAuthenticationToken", "The access token expiry UTC time is earlier than now.", 401)
        if action in self.azure_state.forbidden:
            raise Problem("AuthorizationFailed", f"The client does not have authorization to perform action {action}.", 403)

    def _arm_kind(self, request, method="POST"):
        place, _, action = request.path.rpartition("/")
        kind = KINDS[place]
        self._arm_caller(request, action)
        if request.method != method or (method == "POST" and "content-length" not in request.headers):
            raise Problem("LengthRequired", "a POST with its length is required", 411)
        if (kind == "service") == ("api-version" in request.query):
            raise Problem("MissingApiVersionParameter", "The api-version query parameter (?api-version=) is wrong.", 400)
        self.azure_state.seen.append((kind, action))
        return kind

    def _arm_keys(self, kind):
        return json_response(dict(zip(MEMBERS[kind], self.azure_state.keys[kind])))

    def _arm_list(self, request, dialect):
        kind = self._arm_kind(request)
        if request.body:
            raise Problem("BadRequest", "a body is not wanted", 400)
        return self._arm_keys(kind)

    def _arm_slot(self, kind, body):
        names = {"endpoint": ("keyType", ["Primary", "Secondary"]), "service": ("keyType", [0, 1]),
                 "account": ("keyName", ["Key1", "Key2"])}
        name, values = names[kind]
        if list(body) != [name] or isinstance(body[name], bool) or body[name] not in values:
            raise Problem("BadRequest", f"wrong body {sorted(body)}", 400)
        return values.index(body[name])

    def _arm_make(self, kind, slot):
        state = self.azure_state
        if not state.forgets:
            state.made += 1
            state.keys[kind][slot] = f"{kind}-MARK-{slot}-{state.made}-{secrets.token_hex(8)}"

    def _arm_regenerate(self, request, dialect):
        state, kind = self.azure_state, self._arm_kind(request)
        slot = self._arm_slot(kind, json.loads(request.body))
        if kind == "account":
            self._arm_make(kind, slot)
            return self._arm_keys(kind)
        if state.first in (200, 204):
            self._arm_make(kind, slot)
            return Response(state.first, b"")
        name = secrets.token_hex(8)
        state.operations[name] = [kind, slot, state.polls, state.outcome]
        place = (state.origin or request.base) + OPERATION + name
        headers = {"Retry-After": "0"}
        if state.location == "relative":
            headers["Location"] = OPERATION + name
        elif state.location in ("Location", "Azure-AsyncOperation"):
            headers[state.location] = place
        return Response(state.first, b"", headers=headers)

    def _arm_operation(self, request, dialect):
        state = self.azure_state
        self._arm_caller(request, "operation")
        operation = state.operations[request.path[len(OPERATION):]]
        kind, slot, left, outcome = operation
        named = state.location == "Azure-AsyncOperation"
        if left > 0:
            operation[2] -= 1
            return json_response({"status": "InProgress"}, 200 if named else 202, {"Retry-After": "0"})
        if outcome == "Succeeded":
            self._arm_make(kind, slot)
            return json_response({"status": "Succeeded"}) if named else Response(200, b"")
        return json_response({"status": outcome, "error": {"code": "Broken", "message": "the deployment is busy"}})

    def _arm_token(self, request, dialect):
        state, kind = self.azure_state, self._arm_kind(request)
        now, life = int(time.time()), state.life
        names = ("expiryTimeUtc", "refreshAfterTimeUtc") if kind == "endpoint" else ("expiryOn", "refreshAfter")
        times = [now + life, now + state.refresh]
        state.made += 1
        body = {"accessToken": f"amltoken-MARK-{state.made}", "tokenType": "Bearer",
                **dict(zip(names, map(str, times) if state.strings else times))}
        return json_response(body, 200 if kind == "endpoint" else 201)
