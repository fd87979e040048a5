"""A scripted OAuth 2.0 and OpenID authority for tests, demonstrations and measurements.

In a test: from authority import Authority. As a program: python3 tests/system/authority --help.
"""

from .app import Authority
from .browser import BrowserError, visit
from .remote import Remote

__all__ = ["Authority", "BrowserError", "Remote", "visit"]
