"""The rows of the table: each function measures one line or more of DESIGN's bar and yields them as Row."""

import dataclasses
import os
import pathlib
import shutil
import statistics
import subprocess
import time

import desktop
import stage as stages
from stage import NotMeasured, cpu_ns, end, get_token, stats

CROWD = 500
PROFILES_COLD = 200
DELAY_MS = 200
PROFILES_MANY = 10000
CONNECTIONS_IDLE = 2000
DRIBBLERS = 64
HANGING = 4
HUSH_S = 6  # more than LIMIT_STORE_HUSH_MS


@dataclasses.dataclass
class Row:
    what: str
    measured: str  # the figures behind the verdict
    figure: str
    bar: str
    met: bool | None  # None: a figure without a bar
    values: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Effort:
    """How long a run takes: full, or quick for a run that only shows that all rows can be measured."""
    spawns: int
    rounds: int
    round_ms: int
    starts: int
    repeats: int
    idle_s: float


FULL = Effort(spawns=2000, rounds=16, round_ms=250, starts=40, repeats=5, idle_s=5)
QUICK = Effort(spawns=150, rounds=4, round_ms=100, starts=5, repeats=2, idle_s=1.5)


def middle(target, key):
    return statistics.median(turn[key] for turn in target["rounds"])


def paired(target, base, key):
    """Median over the rounds of the ratio to the base's round beside it: drift of the machine cancels."""
    return statistics.median(a[key] / b[key] for a, b in zip(target["rounds"], base["rounds"]))


def load_values(target):
    return {key: round(middle(target, key), 2) for key in ("rate", "median_us", "p99_us", "cpu_ns")} | {
        "reply_bytes": target["reply_bytes"]}


def command_row(stage, effort, authority):
    """Warm `mltoken get` against /bin/true and, where it is installed, oidc-token."""
    agent = stage.agent("get", stage.config("get", {"bench": f"{authority}/d0"}))
    agent.warm()
    environment = agent.environment | {"OIDC_SOCK": str(stage.directory / "oidc.sock"),
                                       "OIDC_CONFIG_DIR": str(stage.directory / "oidc")}
    shown = subprocess.run([stage.command_program, "get", "bench"], env=environment, capture_output=True, check=False)
    if shown.returncode != 0 or len(shown.stdout) != stages.TOKEN_BYTES + 1:
        raise NotMeasured(f"mltoken get: status {shown.returncode}, {len(shown.stdout)} bytes: "
                          + shown.stderr.decode(errors="replace")[:200])
    before = stats(authority)["token"]
    commands = ["true", "/bin/true", ";", "mltoken", stage.command_program, "get", "bench"]
    peer = None
    try:
        oidc_token = start_oidc_agent(stage, environment, authority)
        commands += [";", "oidc-token", oidc_token, "bench"]
        before = stats(authority)["token"]
    except NotMeasured as error:
        peer = error
    took = {line["name"]: line for line in stage.run("spawn", effort.spawns, *commands, environment=environment)}
    if stats(authority)["token"] != before:
        raise NotMeasured("a call went to the authority: the tokens were not cached")
    true, ours = took["true"], took["mltoken"]
    over = ours["over_first_ms"]
    yield Row("warm `mltoken get` over /bin/true",
              f"{ours['median_ms']:.2f} ms, /bin/true {true['median_ms']:.2f} ms, {effort.spawns} runs each",
              f"+{over:.2f} ms", "<= 0.3 ms", over <= 0.3, {"mltoken": ours, "true": true})
    if peer:
        raise peer
    theirs = took["oidc-token"]
    ratio = ours["median_ms"] / theirs["median_ms"]
    yield Row("warm `mltoken get` against oidc-token", f"{ours['median_ms']:.2f} ms, oidc-token {theirs['median_ms']:.2f} ms",
              f"{ratio:.2f}x", "< 1x", ratio < 1, {"oidc-token": theirs})


def start_oidc_agent(stage, environment, authority):
    """Debian's oidc-agent with an account whose token it has cached; returns the path of oidc-token."""
    programs = {name: shutil.which(name, path="/usr/bin") for name in ("oidc-agent", "oidc-gen", "oidc-token")}
    if not all(programs.values()):
        raise NotMeasured("oidc-agent-cli is not installed")
    (stage.directory / "oidc").mkdir(mode=0o700)
    password = stage.directory / "oidc.password"
    password.write_text("bench\n")
    agent = subprocess.Popen([programs["oidc-agent"], "-d", "-a", environment["OIDC_SOCK"]], env=environment,
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stage.stack.callback(end, agent)
    deadline = time.monotonic() + stages.START_TIMEOUT_S
    while not os.path.exists(environment["OIDC_SOCK"]) and time.monotonic() < deadline:
        time.sleep(0.02)
    made = subprocess.run(
        [programs["oidc-gen"], "bench", "--manual", f"--iss={authority}/d0", "--client-id=bench",
         "--client-secret=bench-secret", "--scope=openid", "--rt=bench-refresh", "--prompt=none",
         "--redirect-uri=http://localhost:4242", f"--pw-file={password}", "--confirm-default"],
        env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False)
    first = subprocess.run([programs["oidc-token"], "bench"], env=environment, capture_output=True, timeout=30, check=False)
    if first.returncode != 0 or len(first.stdout) < stages.TOKEN_BYTES:
        said = (made.stderr + made.stdout + first.stderr).decode(errors="replace")
        raise NotMeasured(f"oidc-agent gives no token: {said[-300:]}")
    return programs["oidc-token"]


def cached_rows(stage, effort, authority):
    """A cached token over open connections, against the echo server with a reply of the same size."""
    agent = stage.agent("cached", stage.config("cached", {"bench": f"{authority}/d0"}))
    agent.warm()
    size = stage.load(1, 1, 20, {"agent": agent.socket})["agent"]["reply_bytes"]
    echo = stage.echo(size)
    for clients in (1, 16, 64, 1000):
        took = stage.load(clients, effort.rounds, effort.round_ms, {"agent": agent.socket, "echo": echo})
        ours, floor = took["agent"], took["echo"]
        values = {"agent": load_values(ours), "echo": load_values(floor)}
        rate, tail = paired(ours, floor, "rate"), paired(ours, floor, "p99_us")
        people = "1 client (one CPU)" if clients == 1 else f"{clients} clients"
        yield Row(f"cached token, {people}: requests/s against echo",
                  f"{middle(ours, 'rate'):.0f}/s, echo {middle(floor, 'rate'):.0f}/s, reply {size} bytes, CPU a request "
                  f"{middle(ours, 'cpu_ns') / 1e3:.1f} us, echo {middle(floor, 'cpu_ns') / 1e3:.1f} us",
                  f"{rate:.2f}x", ">= 0.7x", rate >= 0.7, values)
        yield Row(f"cached token, {people}: p99 against echo",
                  f"p99 {middle(ours, 'p99_us'):.0f} us, echo {middle(floor, 'p99_us'):.0f} us; "
                  f"median {middle(ours, 'median_us'):.0f} us, echo {middle(floor, 'median_us'):.0f} us",
                  f"{tail:.2f}x", "<= 2x", tail <= 2, values)


    took = stage.load(16, effort.rounds, effort.round_ms, {"agent": agent.socket, "echo": echo},
                      get_token(application="@" * 8))
    ours, floor = took["agent"], took["echo"]
    yield Row("cached token, 16 clients, no two requests alike: requests/s",
              f"{middle(ours, 'rate'):.0f}/s, echo {middle(floor, 'rate'):.0f}/s, CPU a request "
              f"{middle(ours, 'cpu_ns') / 1e3:.1f} us, echo {middle(floor, 'cpu_ns') / 1e3:.1f} us",
              f"{paired(ours, floor, 'rate'):.2f}x", "none", None, {"agent": load_values(ours), "echo": load_values(floor)})


def against_peace(stage, effort, clients, agents, trouble):
    """A cached token of an agent in trouble, beside one in peace and its twin: how far these differ is the noise."""
    took = stage.load(clients, effort.rounds, effort.round_ms,
                      {name: agent.socket for name, agent in zip(("calm", "twin", "troubled"), agents)})
    for key, name in (("median_us", "median"), ("p99_us", "p99")):
        ratio = paired(took["troubled"], took["calm"], key)
        noise = paired(took["twin"], took["calm"], key)
        margin = 1 + max(0.1, 2 * abs(noise - 1))
        yield Row(f"{trouble}: {name} with {clients} client{'s' * (clients > 1)}{' (one CPU)' * (clients == 1)}",
                  f"{middle(took['troubled'], key):.0f} us, in peace {middle(took['calm'], key):.0f} us; "
                  f"a twin in peace {noise:.2f}x", f"{ratio:.2f}x", f"<= {margin:.2f}x (noise)", ratio <= margin,
                  {name: load_values(target) for name, target in took.items()})


def trouble_rows(stage, effort, authority):
    """The same while an authority hangs for other profiles and clients dribble, against an agent left in peace.

    A twin of the agent in peace is measured in the same turns: how far the twins differ is the noise of this run.
    """
    crowds = (1, 64)
    profiles = {"bench": f"{authority}/d0"} | {f"hang{clients}x{i}": f"{authority}/hang"
                                               for clients in crowds for i in range(HANGING)}
    config = stage.config("trouble", profiles)
    calm, twin, troubled = (stage.agent(name, config) for name in ("calm", "twin", "troubled"))
    for agent in (calm, twin, troubled):
        agent.warm()
    dribble = stage.hold("dribble", DRIBBLERS, troubled, stages.GET_INFO + " " * 64)
    for clients in crowds:
        # profiles not asked for yet: the agent gives each up after its timeout, and is slow to try again
        for i in range(HANGING):
            stage.hold("ask", 2, troubled, get_token(f"hang{clients}x{i}"))
        deadline = time.monotonic() + 5
        while stats(authority)["hanging"] < HANGING:
            if time.monotonic() > deadline:
                raise NotMeasured("the requests do not hang at the authority")
            time.sleep(0.05)
        found = list(against_peace(stage, effort, clients, (calm, twin, troubled), f"authority hangs, {DRIBBLERS} dribble"))
        if stats(authority)["hanging"] < HANGING:
            raise NotMeasured("the authority no longer hung when the run was over")
        yield from found
    if stage.end_hold(dribble)["opened"] < DRIBBLERS:
        raise NotMeasured("the dribbling clients were not all connected")


def keyring_rows(stage, effort, authority):
    """The same while a token of another profile waits for the keyring: a real one that was stopped, or that is locked
    and has its window open. When the agent gives a stopped one up, the next token is asked for at once."""
    desk = desktop.open_keyring(stage)
    config = stage.config("keyring", {"bench": f"{authority}/d0"}, kept={name: f"{authority}/d0" for name in ("mute", "locked")})
    calm, twin, troubled = (stage.agent(name, config, **desk.environment) for name in ("calm", "twin", "troubled"))
    for name in ("mute", "locked"):
        desk.keep_secret(troubled, name)
    for agent in (calm, twin, troubled):
        agent.warm()
    for name, begin, done in (("mute", desk.stop, desk.go_on), ("locked", desk.lock, desk.close)):
        trouble = f"keyring {name}"
        time.sleep(HUSH_S)  # the agent asks nobody again so soon after it asked in vain
        begin()
        with desktop.Asking(troubled, get_token(name)) as asking:
            for clients in (1, 64):
                yield from against_peace(stage, effort, clients, (calm, twin, troubled), trouble)
        done()
        if asking.waited < 0.9:
            raise NotMeasured(f"{trouble}: a token was waited for only {asking.waited:.0%} of the time: {asking.last}")


def crowd_row(stage, _effort, _authority):
    """Equal requests in one instant, cold: how many reach the authority."""
    authority = stage.authority()
    agent = stage.agent("crowd", stage.config("crowd", {"bench": f"{authority}/d50"}))
    answer = stage.burst(agent, [get_token()] * CROWD)
    if answer["tokens"] != CROWD:
        raise NotMeasured(f"of {CROWD} requests {answer['tokens']} got a token, {answer['errors']} an error, "
                          f"{answer['unanswered']} nothing")
    count = stats(authority)["token"]
    yield Row(f"{CROWD} equal requests at once, cold", f"all answered in {answer['all_ms']:.0f} ms; authority takes 50 ms",
              f"{count} request{'s' * (count != 1)}", "1 request", count == 1, answer)


def cold_rows(stage, effort, _authority):
    """Different profiles at once, cold, against an authority that takes its time; with metadata known and from scratch."""
    authority = stage.authority()
    slow = f"{authority}/d{DELAY_MS}"
    names = {f"one{r}": slow for r in range(effort.repeats + 1)}
    names |= {f"p{r}x{i}": slow for r in range(effort.repeats) for i in range(PROFILES_COLD)}
    config = stage.config("cold", names | {"bench": slow})

    def ask(agent, profiles):
        answer = stage.burst(agent, [get_token(name) for name in profiles])
        if answer["tokens"] != len(profiles):
            raise NotMeasured(f"of {len(profiles)} requests {answer['tokens']} got a token, {answer['errors']} an error")
        return answer["all_ms"]

    def row(title, ones, alls):
        one, everyone = statistics.median(ones), statistics.median(alls)
        ratio = everyone / one
        return Row(title, f"{everyone:.0f} ms for all, {one:.0f} ms for one", f"{ratio:.2f}x", "<= 2x", ratio <= 2,
                   {"one_ms": ones, "all_ms": alls})

    ones, alls = [], []
    agent = stage.agent("cold", config)
    ask(agent, [f"one{effort.repeats}"])
    for r in range(effort.repeats):
        ones.append(ask(agent, [f"one{r}"]))
        alls.append(ask(agent, [f"p{r}x{i}" for i in range(PROFILES_COLD)]))
    yield row(f"{PROFILES_COLD} cold profiles at once, authority takes {DELAY_MS} ms", ones, alls)

    ones, alls = [], []
    for r in range(effort.repeats):
        ones.append(ask(stage.agent("one", config), ["one0"]))
        alls.append(ask(stage.agent("all", config), [f"p0x{i}" for i in range(PROFILES_COLD)]))
    yield row(f"{PROFILES_COLD} cold profiles at once, agent just started", ones, alls)


def crowd_config(stage, authority, name="many", stored=False):
    others = {f"other{i}": f"{authority}/d0" for i in range(PROFILES_MANY - 1)}
    return stage.config(name, others | {"bench": f"{authority}/d0"}, stored)


def stored_config(stage, authority):
    """The same, and there is a sealed file for each of them; the agent shows that it can use the one of "bench"."""
    config = crowd_config(stage, authority, "stored", stored=True)
    with stage.act():
        agent = stage.agent("stored", config)
        stage.seal(agent, (f"other{i}" for i in range(PROFILES_MANY - 1)))
        agent.warm()
    return config


def many_rows(stage, effort, authority):
    """What 10,000 profiles and 2,000 idle connections cost a hit, and what the agent does meanwhile."""
    plain_config = stage.config("plain", {"bench": f"{authority}/d0"})
    plain, twin, idle = (stage.agent(name, plain_config) for name in ("plain", "twin", "idle"))
    many = stage.agent("many", crowd_config(stage, authority))
    agents = {"plain": plain, "twin": twin, "many": many, "idle": idle}
    for agent in agents.values():
        agent.warm()
    crowd = stage.hold("idle", CONNECTIONS_IDLE, idle)
    took = stage.load(16, effort.rounds, effort.round_ms, {name: agent.socket for name, agent in agents.items()})
    # what a hit costs the agent is its CPU time; the time a client waits is in it, with the noise of the machine
    cost = "cpu_ns" if middle(took["plain"], "cpu_ns") > 0 else "median_us"
    for name, title in (("many", f"{PROFILES_MANY} profiles: cost of a hit"),
                        ("idle", f"{CONNECTIONS_IDLE} idle connections: cost of a hit")):
        ratio = paired(took[name], took["plain"], cost)
        yield Row(title, f"CPU a request {middle(took[name], 'cpu_ns') / 1e3:.2f} us, plain "
                  f"{middle(took['plain'], 'cpu_ns') / 1e3:.2f} us, a twin of plain "
                  f"{paired(took['twin'], took['plain'], cost):.2f}x; requests/s with 16 clients "
                  f"{paired(took[name], took['plain'], 'rate'):.2f}x, the twin {paired(took['twin'], took['plain'], 'rate'):.2f}x",
                  f"{ratio:.2f}x", "<= 1.1x", ratio <= 1.1, {n: load_values(t) for n, t in took.items()})
    for agent, title in ((plain, "idle: CPU"), (many, f"idle with {PROFILES_MANY} profiles: CPU"),
                         (idle, f"idle with {CONNECTIONS_IDLE} connections: CPU")):
        time.sleep(0.2)
        before = cpu_ns(agent.pid)
        time.sleep(effort.idle_s)
        share = (cpu_ns(agent.pid) - before) / (effort.idle_s * 1e9)
        yield Row(title, f"{share * effort.idle_s * 1e3:.2f} ms CPU in {effort.idle_s:g} s", f"{share * 100:.2f} %",
                  "<= 0.1 %", share <= 0.001, {"share": share})
    held = stage.end_hold(crowd)
    if held["closed"]:
        raise NotMeasured(f"the agent closed {held['closed']} of {CONNECTIONS_IDLE} idle connections")


def memory_rows(stage, _effort, authority):
    agent = stage.agent("memory", stage.config("memory", {"bench": f"{authority}/d0"}))
    try:
        fresh = agent.anonymous_kb()
        agent.warm()
        warm = agent.anonymous_kb()
    except PermissionError as error:
        raise NotMeasured("smaps_rollup of an agent that forbids dumps is root's to read") from error
    for title, kb in (("agent idle: Anonymous", fresh), ("agent idle after its first token: Anonymous", warm)):
        yield Row(title, f"{kb} kB in smaps_rollup", f"{kb / 1024:.2f} MB", "<= 4 MB", kb <= 4096, {"kb": kb})


def start_rows(stage, effort, authority):
    """From exec until GetInfo is answered."""
    if not pathlib.Path(stage.agent_program).exists():
        raise NotMeasured("mltoken-agent is not built")
    base = stage.directory / "s"
    base.mkdir(mode=0o700)
    small = stage.config("small", {"bench": f"{authority}/d0"})
    lines = stage.run("startup", effort.starts, base, stage.agent_program, small, crowd_config(stage, authority),
                      stored_config(stage, authority), environment=stage.environment, quiet=True)
    titles = ("one profile", f"{PROFILES_MANY} profiles", f"{PROFILES_MANY} profiles with stored secrets")
    for line, title in zip(lines, titles):
        yield Row(f"start until the socket answers, {title}",
                  f"median of {line['rounds']}; p10 {line['p10_ms']:.1f}, p90 {line['p90_ms']:.1f} ms; its end takes {line['end_median_ms']:.1f} ms",
                  f"{line['median_ms']:.1f} ms", "<= 20 ms", line["median_ms"] <= 20, line)


ACTS = {
    "command": command_row,
    "cached": cached_rows,
    "trouble": trouble_rows,
    "keyring": keyring_rows,
    "crowd": crowd_row,
    "cold": cold_rows,
    "many": many_rows,
    "memory": memory_rows,
    "start": start_rows,
}
