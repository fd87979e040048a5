"""A person at the verification address: opens the page, fills in the form, presses a button."""

import html.parser
import http.cookiejar
import ssl
import urllib.error
import urllib.parse
import urllib.request


class _Form(html.parser.HTMLParser):
    """The first form of a page: action, method, fields, buttons."""

    def __init__(self, text):
        super().__init__()
        self.action = self.method = None
        self.fields, self.buttons = {}, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "form" and self.action is None:
            self.action, self.method = attrs.get("action", ""), attrs.get("method", "get").upper()
        elif tag == "input" and attrs.get("name"):
            self.fields[attrs["name"]] = attrs.get("value") or ""
        elif tag == "button" and attrs.get("name"):
            self.buttons.append((attrs["name"], attrs.get("value", "")))


class BrowserError(Exception):
    """The page said no."""


def visit(verification_uri, user_code=None, user="alice", password="", deny=False, ca_file=None):
    """Approves (or denies) a user code; returns the title of the last page."""
    context = ssl.create_default_context(cafile=ca_file) if verification_uri.startswith("https:") else None
    handlers = [urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())]
    if context:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    opener = urllib.request.build_opener(*handlers)
    with opener.open(verification_uri, timeout=20) as page:
        form = _Form(page.read().decode())
        address = page.geturl()
    if form.action is None:
        raise BrowserError("no form on the page")
    fields = dict(form.fields)
    if user_code:
        fields["user_code"] = user_code
    fields.update(username=user, password=password)
    wanted = "deny" if deny else "approve"
    fields.update([b for b in form.buttons if b[1] == wanted][:1])
    data = urllib.parse.urlencode(fields).encode()
    try:
        with opener.open(urllib.parse.urljoin(address, form.action), data=data, timeout=20) as page:
            return _title(page.read().decode())
    except urllib.error.HTTPError as error:
        raise BrowserError(_title(error.read().decode("utf-8", "replace"))) from None


def _title(text):
    return text.partition("<title>")[2].partition("</title>")[0]
