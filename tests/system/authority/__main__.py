"""python3 tests/system/authority [serve | browser | call] ...; see --help of each."""

import os
import sys

if not __package__:  # run by path: the folder itself must not be searched for modules
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    __package__ = "authority"

import argparse  # noqa: E402
import ctypes  # noqa: E402
import json  # noqa: E402
import signal  # noqa: E402
import time  # noqa: E402
import urllib.error  # noqa: E402

from authority import Authority, BrowserError, Remote, visit  # noqa: E402

PR_SET_PDEATHSIG = 1


def serve(args):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    if args.die_with_parent:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    authority = Authority(args.port, args.https_port, not args.no_https, args.ipv6, args.dir).start()
    if args.same_pages:
        authority.pages = "same"
    if args.delay:
        authority.set_delay(args.delay)
    for client in list(authority.store.clients):
        settings = {"token_lifetime": args.lifetime, "interval": args.interval, "token_format": args.token_format,
                    "auto_approve": args.auto_approve, "alg": args.alg}
        authority.set_client(client, **{k: v for k, v in settings.items() if v is not None})
    for spec in args.client:
        settings = json.loads(spec)
        authority.add_client(settings.pop("id"), **settings)
    for spec in args.fault:
        authority.fault(**json.loads(spec))
    print(json.dumps(authority.urls()), flush=True)
    signal.sigwait({signal.SIGINT, signal.SIGTERM})
    authority.stop()
    return 0


def browse(args):
    end = time.monotonic() + args.wait
    while True:
        try:
            print(visit(args.uri, args.code, args.user, args.password, args.deny, args.ca_file))
            return 0
        except (BrowserError, urllib.error.URLError, OSError) as error:
            if time.monotonic() >= end:
                print(f"browser: {error}", file=sys.stderr)
                return 1
            time.sleep(0.1)


def call(args):
    values = {}
    for pair in args.args:
        name, _, text = pair.partition("=")
        try:
            values[name] = json.loads(text)
        except ValueError:
            values[name] = text
    try:
        print(json.dumps(Remote(args.url).call(args.name, **values), indent=1))
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def serve_options(parser):
    parser.add_argument("--port", type=int, default=0, help="http port on 127.0.0.1 (0: any)")
    parser.add_argument("--https-port", type=int, default=0)
    parser.add_argument("--no-https", action="store_true")
    parser.add_argument("--ipv6", action="store_true", help="listen on [::1] too")
    parser.add_argument("--dir", help="where certificates are kept (default: a temporary directory)")
    parser.add_argument("--delay", type=float, help="seconds before each answer")
    parser.add_argument("--lifetime", type=float, help="seconds an access token lives")
    parser.add_argument("--interval", type=float, help="device polling interval")
    parser.add_argument("--token-format", choices=("jwt", "opaque"))
    parser.add_argument("--alg", choices=("RS256", "PS256", "ES256"), help="signature of access tokens")
    parser.add_argument("--auto-approve", metavar="USER", help="approve device codes at the first poll")
    parser.add_argument("--same-pages", action="store_true", help="verification page under the authority's own URL, http too")
    parser.add_argument("--client", action="append", default=[], metavar="JSON", help='as {"id":"x","secret":"y"}')
    parser.add_argument("--fault", action="append", default=[], metavar="JSON", help='as {"endpoint":"token","delay":1}')
    parser.add_argument("--die-with-parent", action="store_true")
    parser.set_defaults(run=serve)


def main(argv):
    if not argv or argv[0].startswith("-") and argv[0] not in ("-h", "--help"):
        argv = ["serve", *argv]
    parser = argparse.ArgumentParser(prog="authority", description=__doc__)
    commands = parser.add_subparsers(required=True)
    serve_options(commands.add_parser("serve", help="run; prints one line of JSON when ready (the default)"))
    sub = commands.add_parser("browser", help="fill in the page at a verification address")
    sub.add_argument("uri")
    sub.add_argument("code", nargs="?")
    sub.add_argument("--as", dest="user", default="alice")
    sub.add_argument("--password", default="")
    sub.add_argument("--deny", action="store_true")
    sub.add_argument("--ca-file")
    sub.add_argument("--wait", type=float, default=0, help="seconds to go on trying")
    sub.set_defaults(run=browse)
    sub = commands.add_parser("call", help="control a running authority: call URL NAME [member=JSON ...]")
    sub.add_argument("url")
    sub.add_argument("name")
    sub.add_argument("args", nargs="*")
    sub.set_defaults(run=call)
    args = parser.parse_args(argv)
    return args.run(args)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
