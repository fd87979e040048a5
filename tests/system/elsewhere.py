"""A sign-in that is made elsewhere: the device flow by hand, as PAM's helper runs it before there is an agent."""

import json
import time
import urllib.parse
import urllib.request


def post(address, **form):
    request = urllib.request.Request(address, urllib.parse.urlencode(form).encode())
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def sign_in(authority, user="alice", client="device", scope="openid offline_access"):
    """Parameters of Import for the profile `me`: what such a sign-in brings."""
    code = post(authority.oidc + "/device_authorization", client_id=client, scope=scope)
    authority.approve(code["user_code"], user)
    tokens = post(authority.oidc + "/token", client_id=client, device_code=code["device_code"],
                  grant_type="urn:ietf:params:oauth:grant-type:device_code")
    return {"profile": "me", "issuer": authority.oidc, "clientId": client, "scopes": tokens["scope"].split(),
            "idToken": tokens["id_token"], "refreshToken": tokens.get("refresh_token"),
            "accessToken": tokens["access_token"], "expiresAt": int(time.time()) + tokens["expires_in"]}
