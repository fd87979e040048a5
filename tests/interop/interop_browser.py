"""A browser small enough to read: cookies, redirects and forms. Scripts are not run; the pages' forms are submitted."""

import html.parser
import http.cookiejar
import ssl
import urllib.error
import urllib.parse
import urllib.request

TIMEOUT_S = 60
MAX_PAGES = 12


class FormParser(html.parser.HTMLParser):
    """Collects each form with its inputs; text stays for messages of failed tests."""

    def __init__(self):
        super().__init__()
        self.forms = []
        self.open_form = None

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "form":
            self.open_form = {"action": attrs.get("action", ""), "method": attrs.get("method", "get"), "fields": {},
                              "kinds": {}}
            self.forms.append(self.open_form)
        elif tag == "input" and self.open_form is not None and attrs.get("name"):
            self.open_form["fields"][attrs["name"]] = attrs.get("value", "")
            self.open_form["kinds"][attrs["name"]] = attrs.get("type", "text")

    def handle_endtag(self, tag):
        if tag == "form":
            self.open_form = None


class Browser:
    def __init__(self, ca_file=None):
        jar = http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(strict_ns_domain=0))
        secure = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca_file))
        self.opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), secure, urllib.request.HTTPCookieProcessor(jar))
        self.url, self.status, self.text, self.forms = None, None, "", []

    def open(self, url, fields=None, data=None, headers=None, method=None):
        if fields is not None:
            data = urllib.parse.urlencode(fields).encode()
        request = urllib.request.Request(url, data=data, headers=headers or {}, method=method)
        try:
            with self.opener.open(request, timeout=TIMEOUT_S) as reply:
                self._take(reply)
        except urllib.error.HTTPError as reply:
            self._take(reply)
        return self

    def _take(self, reply):
        self.url, self.status = reply.geturl(), reply.status
        self.text = reply.read().decode("utf-8", "replace")
        parser = FormParser()
        parser.feed(self.text)
        self.forms = parser.forms

    def submit(self, form, **more):
        fields = {**form["fields"], **more}
        return self.open(urllib.parse.urljoin(self.url, form["action"]), fields=fields)
