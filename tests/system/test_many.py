"""Many at once: one request for equal ones, no waiting for others, and thousands of connections and profiles."""

import os
import resource
import statistics
import threading
import time

import pytest
from harness import Agent, Home, Varlink, service, wait_until


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


def medians(path, peaceful, rounds=10):
    """Seconds of a cached answer, and of one of an agent that has nothing to bear, in turns: whatever else the machine does,
    it does it to both."""
    found = [(statistics.median(timed_hits(path, "p", 100)), statistics.median(timed_hits(peaceful, "p", 100)))
             for _ in range(rounds)]
    ratio = statistics.median(ours / other for ours, other in found)
    return ratio, *(statistics.median(side) for side in zip(*found))


@pytest.fixture
def peaceful(authority):
    """The socket of an agent that has nothing to bear."""
    home = Home()
    home.config({"p": service(authority, home)})
    agent = Agent(home).start()
    yield home.socket
    agent.stop()
    home.remove()


def p99(times):
    return times[int(len(times) * 0.99)]


def test_equal_requests_are_one(authority, home, start_agent, many_descriptors):
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
    """Issue row 5: 200 cold profiles at once: 200 requests at once."""
    home.config({f"p{i}": service(authority, home, f"load-{i}") for i in range(400)})
    start_agent()
    with Varlink(home.socket) as connection:
        connection.token("p399")  # metadata is there
    fault = authority.fault("token", hold=True)
    connections = [Varlink(home.socket) for _ in range(200)]
    for i, connection in enumerate(connections):
        connection.send("GetToken", {"profile": f"p{i}"})
    wait_until(lambda: fault.hits == 200)  # none waits for the answer of another
    authority.release()
    for connection in connections:
        connection.reply()
    authority.set_delay(0.2, "token")
    started = time.monotonic()
    connections[0].token("p398")
    one = time.monotonic() - started
    started = time.monotonic()
    for i, connection in enumerate(connections[:190]):
        connection.send("GetToken", {"profile": f"p{200 + i}"})
    for connection in connections[:190]:
        connection.reply()
    every = time.monotonic() - started
    for connection in connections:
        connection.close()
    # make bench holds the ratio: here other tests may run beside
    print(f"one {one * 1000:.0f} ms, 190 at once {every * 1000:.0f} ms: ratio {every / one:.2f}")


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
    assert statistics.median(loaded) < max(3 * statistics.median(quiet), 0.02)
    assert p99(loaded) < max(5 * p99(quiet), 0.5)
    for connection in waiting:
        connection.close()


def test_two_thousand_idle_connections(authority, home, start_agent, many_descriptors, peaceful):
    """Issue row 8."""
    home.config({"p": service(authority, home)})
    agent = start_agent()
    idle = [Varlink(home.socket) for _ in range(2000)]
    idle[-1].token("p")
    cpu = agent.cpu_seconds()
    time.sleep(1)
    assert agent.cpu_seconds() - cpu < 0.1
    ratio, after, before = medians(home.socket, peaceful)
    print(f"hit: {before * 1e6:.0f} us alone, {after * 1e6:.0f} us beside 2,000 idle connections: ratio {ratio:.2f}")
    assert ratio < 5  # make bench holds 1.1: a search through them all would cost a hundred times as much
    for connection in idle[::100]:
        connection.token("p")
    for connection in idle:
        connection.close()
    wait_until(lambda: agent.descriptors() < 100)


def test_ten_thousand_profiles(authority, home, start_agent, peaceful):
    """Issue row 8."""
    secret = service(authority, home, "load-0")
    home.config({"p": service(authority, home), **{f"n{i}": {**secret, "client_id": f"load-{i}"} for i in range(10000)}})
    agent = start_agent()
    with Varlink(home.socket) as connection:
        listed = sum(1 for _ in connection.more("List"))
        assert listed == 10001
        connection.token("n0")
        connection.token("n9999")
    ratio, after, before = medians(home.socket, peaceful)
    print(f"hit: {before * 1e6:.0f} us alone, {after * 1e6:.0f} us beside 10,000 profiles: ratio {ratio:.2f}; "
          f"{agent.anonymous_kib()} KiB anonymous")
    assert ratio < 5  # make bench holds 1.1: a search through them all would cost a hundred times as much


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
    assert statistics.median(timed_hits(home.socket, "p0", 200)) < 0.5
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
