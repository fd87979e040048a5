"""Many at once: one request for equal ones, no waiting for others, and thousands of connections and profiles."""

import os
import resource
import statistics
import threading
import time

import pytest
from harness import Varlink, service, wait_until


def raise_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft, hard


@pytest.fixture
def many_descriptors():
    before = raise_descriptors()
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def timed_hits(path, profile, count):
    """Seconds of each of so many cached answers on one connection."""
    found = []
    with Varlink(path) as connection:
        connection.token(profile)
        for _ in range(count):
            started = time.perf_counter()
            connection.token(profile)
            found.append(time.perf_counter() - started)
    return sorted(found)


def p99(times):
    return times[int(len(times) * 0.99)]


def test_equal_requests_are_one(authority, home, start_agent, many_descriptors, record_property):
    """Issue row 5: 500 equal cold requests, one request at the authority."""
    home.config({"p": service(authority, home)})
    start_agent()
    fault = authority.fault("token", hold=True)
    connections = [Varlink(home.socket) for _ in range(500)]
    for connection in connections:
        connection.send("GetToken", {"profile": "p"})
    assert authority.wait_for("token")
    time.sleep(0.3)
    assert fault.hits == 1
    authority.release()
    assert len({c.reply()["token"]["value"] for c in connections}) == 1
    assert authority.count("token") == 1
    for connection in connections:
        connection.close()


def test_different_requests_do_not_wait_for_each_other(authority, home, start_agent, many_descriptors):
    """Issue row 5: 200 cold profiles, 200 ms each: all within twice one."""
    home.config({f"p{i}": service(authority, home, f"load-{i}") for i in range(400)})
    start_agent()
    authority.set_delay(0.2, "token")
    with Varlink(home.socket) as connection:
        connection.token("p399")  # metadata is there
        started = time.monotonic()
        connection.token("p398")
        one = time.monotonic() - started
    connections = [Varlink(home.socket) for _ in range(200)]
    started = time.monotonic()
    for i, connection in enumerate(connections):
        connection.send("GetToken", {"profile": f"p{i}"})
    for connection in connections:
        connection.reply()
    every = time.monotonic() - started
    for connection in connections:
        connection.close()
    print(f"one {one * 1000:.0f} ms, 200 at once {every * 1000:.0f} ms: ratio {every / one:.2f}")
    # the requests overlap: a bound far from both a queue (40 s) and noise; make bench holds the ratio itself
    assert every < max(2 * one, 2.0)
    assert authority.max_concurrent("token") > 50


def test_hits_are_served_while_an_authority_hangs_and_clients_dribble(authority, home, start_agent):
    """Issue row 4."""
    home.config({"good": service(authority, home), "bad": service(authority, home, "load-1")})
    start_agent()
    quiet = timed_hits(home.socket, "good", 2000)
    authority.fault("token", hang="before", client="load-1")
    waiting = [Varlink(home.socket) for _ in range(8)]
    for connection in waiting:
        connection.send("GetToken", {"profile": "bad"})
    assert authority.wait_for("token", 1, client="load-1")
    stop = threading.Event()

    def dribble():
        """64 clients, a byte a second each; a new one for each that is cut off after its 5 s."""
        clients = [None] * 64
        while not stop.wait(1):
            for i, client in enumerate(clients):
                try:
                    if client is None:
                        clients[i] = client = Varlink(home.socket)
                    client.raw(b"{")
                except OSError:
                    client.close()
                    clients[i] = None
        for client in clients:
            if client:
                client.close()

    thread = threading.Thread(target=dribble)
    thread.start()
    try:
        time.sleep(1.2)
        rounds = [timed_hits(home.socket, "good", 500) for _ in range(8) if not time.sleep(0.3)]
    finally:
        stop.set()
        thread.join()
    loaded = sorted(t for r in rounds for t in r)
    print(f"quiet median {statistics.median(quiet) * 1e6:.0f} us p99 {p99(quiet) * 1e6:.0f} us, "
          f"loaded median {statistics.median(loaded) * 1e6:.0f} us p99 {p99(loaded) * 1e6:.0f} us")
    # far above noise, far below any waiting for another: the fault of the peers is seconds
    assert statistics.median(loaded) < max(3 * statistics.median(quiet), 0.002)
    assert p99(loaded) < max(5 * p99(quiet), 0.05)
    for connection in waiting:
        connection.close()


def test_two_thousand_idle_connections(authority, home, start_agent, many_descriptors):
    """Issue row 8."""
    home.config({"p": service(authority, home)})
    agent = start_agent()
    before = statistics.median(timed_hits(home.socket, "p", 1000))
    idle = [Varlink(home.socket) for _ in range(2000)]
    idle[-1].token("p")
    cpu = agent.cpu_seconds()
    time.sleep(1)
    assert agent.cpu_seconds() - cpu < 0.1
    after = statistics.median(timed_hits(home.socket, "p", 1000))
    print(f"hit: {before * 1e6:.0f} us alone, {after * 1e6:.0f} us beside 2,000 idle connections")
    assert after < max(2 * before, 0.001)
    for connection in idle[::100]:
        connection.token("p")
    for connection in idle:
        connection.close()
    wait_until(lambda: agent.descriptors() < 100)


def test_ten_thousand_profiles(authority, home, start_agent):
    """Issue row 8."""
    secret = service(authority, home, "load-0")
    home.config({"p": service(authority, home)})
    agent = start_agent()
    before = statistics.median(timed_hits(home.socket, "p", 1000))
    agent.stop()
    home.config({"p": service(authority, home), **{f"n{i}": {**secret, "client_id": f"load-{i}"} for i in range(10000)}})
    agent = start_agent()
    with Varlink(home.socket) as connection:
        listed = sum(1 for _ in connection.more("List"))
        assert listed == 10001
        connection.token("n0")
        connection.token("n9999")
    after = statistics.median(timed_hits(home.socket, "p", 1000))
    print(f"hit: {before * 1e6:.0f} us alone, {after * 1e6:.0f} us beside 10,000 profiles; "
          f"{agent.anonymous_kib()} KiB anonymous")
    assert after < max(2 * before, 0.001)


def test_out_of_descriptors(authority, home, start_agent, many_descriptors):
    """Issue row 8: no spin, and all is well when there are some again."""
    home.config({"p": service(authority, home), "q": service(authority, home, "load-1")})
    agent = start_agent()
    with Varlink(home.socket) as first:
        first.token("p")
        resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, (64, 64))
        crowd = []
        for _ in range(300):
            crowd.append(Varlink(home.socket))
        time.sleep(0.3)
        cpu = agent.cpu_seconds()
        time.sleep(1)
        assert agent.cpu_seconds() - cpu < 0.3
        first.token("p")
        for connection in crowd:
            connection.close()
    wait_until(lambda: agent.descriptors() < 40)
    with Varlink(home.socket) as connection:
        connection.token("p")
        connection.token("q")


def test_clients_that_never_read(authority, home, start_agent):
    """Their replies are bounded and cost nobody else."""
    home.config({f"p{i}": service(authority, home, f"load-{i}") for i in range(300)})
    agent = start_agent()
    with Varlink(home.socket) as connection:
        connection.token("p0")
    rude = [Varlink(home.socket) for _ in range(20)]
    for connection in rude:
        connection.socket.settimeout(0.2)
        try:
            for _ in range(20000):
                connection.send("GetToken", {"profile": "p0"})
        except (TimeoutError, OSError):
            pass
    assert statistics.median(timed_hits(home.socket, "p0", 200)) < 0.05
    assert agent.anonymous_kib() < 64 * 1024
    for connection in rude:
        connection.close()


def test_starts_and_stops_leave_nothing(authority, home, start_agent):
    home.config({"p": service(authority, home)})
    for _ in range(5):
        agent = start_agent()
        with Varlink(home.socket) as connection:
            connection.token("p")
        agent.stop()
        assert not os.path.exists(home.socket)
