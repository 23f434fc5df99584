"""What one primary must be: judged by what it says about itself, nothing asked here."""

from __future__ import annotations

from perseus.store.facts import Facts
from perseus.store.findings import Finding, Severity, fine, grant
from perseus.timing import LeaseTiming

MINIMUM_VERSION = (6, 2)
CLOCK_WARN_MS = 60_000
NEARLY = 0.9  # of a limit: time to act
_ALWAYS = "and put the same into its configuration file"


def check_server(facts: Facts, *, timing: LeaseTiming, kind: str) -> list[Finding]:
    """Every finding about one primary by itself. `kind`: what STORE_URL names (`facts.kind_of`)."""
    if "INFO" in facts.denied or not facts.info:
        return [
            Finding(
                name="server",
                severity=Severity.WARN,
                says="INFO is denied, so version, role, eviction and persistence are unknown, and after each start of "
                f"an instance its claim waits {timing.ttl_s + 1} s.",
                fix=grant(facts.user, "+info"),
            )
        ]
    return [
        _version(facts),
        _role(facts, kind=kind),
        _loading(facts),
        _eviction(facts),
        _memory(facts),
        _persistence(facts, timing=timing),
        _disk(facts),
        _clients(facts),
        _idle_clients(facts, timing=timing),
        _clock(facts),
    ]


def _version(facts: Facts) -> Finding:
    is_valkey = "valkey_version" in facts.info
    text = facts.info.get("valkey_version") or facts.info.get("redis_version", "")
    # Valkey answers redis_version 7.2.4 for the clients' sake; its own versions begin above the minimum
    numbers = tuple(int(part) for part in facts.info.get("redis_version", "").split(".")[:2] if part.isdigit())
    if not numbers:
        return Finding(
            name="version",
            severity=Severity.UNKNOWN,
            says="The server does not say which version it is.",
            fix="Make sure that it is Redis 6.2 or newer, or Valkey.",
        )
    says = f"{'Valkey' if is_valkey else 'Redis'} {text}"
    if numbers >= MINIMUM_VERSION:
        return fine("version", f"{says}.")
    # Not a warning: XADD … MINID is a syntax error there, so no event and no loss would ever be on record
    return Finding(
        name="version",
        severity=Severity.REFUSE,
        says=f"{says} is too old: it cannot trim the activity log by age, so it would refuse every entry.",
        fix="Use Redis 6.2 or newer, or Valkey.",
    )


def _role(facts: Facts, *, kind: str) -> Finding:
    mode = facts.info.get("redis_mode") or facts.info.get("server_mode")  # Redis's word, Valkey's
    if mode == "sentinel":
        says, fix = "This is a Sentinel: it keeps no data.", "STORE_URL redis+sentinel://HOST:PORT,HOST:PORT/SERVICE"
        return Finding(name="role", severity=Severity.REFUSE, says=says, fix=f"Set {fix}.")
    if mode == "cluster" and kind != "cluster":
        says = "This is a node of a Cluster: it serves only some of the exchanges."
        return Finding(
            name="role", severity=Severity.REFUSE, says=says, fix="Set STORE_URL redis+cluster://HOST:PORT,HOST:PORT."
        )
    if facts.info.get("role") != "slave":
        return fine("role", "A primary: it takes writes.")
    if kind != "server":
        says = "It was named as the primary, but says that it is a replica: a failover is under way."
        return Finding(name="role", severity=Severity.DOWN, says=says, fix="Wait, then look again.")
    primary = f"{facts.info.get('master_host')}:{facts.info.get('master_port')}"
    return Finding(
        name="role",
        severity=Severity.REFUSE,
        says="The server is a replica: it refuses writes.",
        fix=f"Set STORE_URL to its primary, {primary}.",
    )


def _loading(facts: Facts) -> Finding:
    if facts.info.get("loading") != "1":
        return fine("ready", "Its data is loaded.")
    return Finding(
        name="ready",
        severity=Severity.DOWN,
        says=f"It is loading its data and refuses everything until then, about {facts.number('loading_eta_seconds')} "
        f"s from now by its own guess.",
        fix="Wait, then look again.",
    )


def _eviction(facts: Facts) -> Finding:
    policy = facts.info.get("maxmemory_policy") or facts.config.get("maxmemory-policy", "")
    if policy == "noeviction":
        return fine("eviction", "Evicts nothing (maxmemory-policy noeviction).")
    if not policy:
        return Finding(
            name="eviction",
            severity=Severity.UNKNOWN,
            says="The server does not say whether it evicts keys when memory runs short.",
            fix="Make sure that its maxmemory-policy is noeviction.",
        )
    return Finding(
        name="eviction",
        severity=Severity.REFUSE,
        says=f"It evicts keys when memory runs short (maxmemory-policy {policy}): a lease could vanish while it runs, "
        f"and a second instance start.",
        fix=f"Run `CONFIG SET maxmemory-policy noeviction` on it, {_ALWAYS}.",
    )


def _memory(facts: Facts) -> Finding:
    limit, used = facts.number("maxmemory"), facts.number("used_memory")
    if not limit:
        return fine("memory", "No limit is set (maxmemory 0).")
    says = f"{used / limit:.0%} of its {limit / 2**20:.0f} MiB are used (maxmemory)"
    fix = f"Give it more, for example `CONFIG SET maxmemory {2 * max(limit, used)}`, {_ALWAYS}."
    if used >= limit:
        says = f"{says}: it refuses writes, so no lease can be claimed or renewed."
        return Finding(name="memory", severity=Severity.DOWN, says=says, fix=fix)
    if used >= NEARLY * limit:
        says = f"{says}; when it is full, no lease can be claimed or renewed."
        return Finding(name="memory", severity=Severity.WARN, says=says, fix=fix)
    return fine("memory", f"At most {NEARLY:.0%} of its limit is used.")


def _persistence(facts: Facts, *, timing: LeaseTiming) -> Finding:
    wait = f"nothing is claimed then until it has been up for {timing.ttl_s + 1} s"
    fsync = facts.config.get("appendfsync")
    if facts.info.get("aof_enabled") != "1":
        return _no_append_only_file(facts, wait=wait)
    if fsync == "always":
        return fine("persistence", "Every write is on disk before it is answered: a restart loses nothing.")
    if fsync == "no":
        return Finding(
            name="persistence",
            severity=Severity.WARN,
            says=f"The append-only file is written when the kernel pleases (appendfsync no): a crash of the machine "
            f"loses up to half a minute of log and candles, perhaps a lease; {wait}.",
            fix=f"Run `CONFIG SET appendfsync everysec` on it, {_ALWAYS}.",
        )
    often = "once a second" if fsync == "everysec" else "how often is not said"
    return fine("persistence", f"An append-only file, on disk {often}: a restart loses little; {wait}.")


def _no_append_only_file(facts: Facts, *, wait: str) -> Finding:
    rules = facts.config.get("save")
    if rules is None:
        says = "There is no append-only file, and whether snapshots are taken is not said: a restart may lose all"
    elif rules:
        longest_s = max(int(seconds) for seconds in rules.split()[::2])
        says = f"There are only snapshots (save {rules}): a restart loses up to {_span(longest_s)}"
    else:
        says = "Nothing is kept on disk: a restart loses all"
    return Finding(
        name="persistence",
        severity=Severity.WARN,
        says=f"{says} of activity log, candles and leases; {wait}.",
        fix=f"Run `CONFIG SET appendonly yes` on it, {_ALWAYS}.",
    )


def _disk(facts: Facts) -> Finding:
    fix = "Free its disk, or make its directory writable; its log says what was wrong."
    if facts.info.get("aof_enabled") == "1" and facts.info.get("aof_last_write_status", "ok") != "ok":
        says = "It could not write its append-only file, and refuses every write until it can."
        return Finding(name="disk", severity=Severity.DOWN, says=says, fix=f"{fix} It goes on by itself.")
    if facts.info.get("rdb_last_bgsave_status", "ok") == "ok":
        return fine("disk", "Its last write to disk succeeded.")
    fix = f"{fix} Then run `BGSAVE` on it."
    refuses = facts.config.get("stop-writes-on-bgsave-error"), facts.config.get("save")
    if refuses[0] == "no" or refuses[1] == "":
        says = "Its last snapshot failed: what it has on disk is old."
        return Finding(name="disk", severity=Severity.WARN, says=says, fix=fix)
    surely = "refuses every write" if all(refuses) else "may refuse every write"
    says = f"Its last snapshot failed, and it {surely} until one succeeds (stop-writes-on-bgsave-error)."
    return Finding(name="disk", severity=Severity.DOWN, says=says, fix=fix)


def _clients(facts: Facts) -> Finding:
    used = facts.number("connected_clients") + facts.number("cluster_connections")
    limit = int(facts.config.get("maxclients") or facts.number("maxclients"))
    if not limit:
        says = "The server does not say how many clients it takes."
        return Finding(name="clients", severity=Severity.UNKNOWN, says=says, fix=_unsaid(facts))
    if used < NEARLY * limit:
        return fine("clients", f"Less than {NEARLY:.0%} of its {limit} connections are in use.")
    return Finding(
        name="clients",
        severity=Severity.WARN,
        says=f"{used} of its {limit} connections are in use: soon an instance that has to connect again cannot.",
        fix=f"Run `CONFIG SET maxclients {2 * limit}` on it, {_ALWAYS}; or find out who leaves connections open.",
    )


def _idle_clients(facts: Facts, *, timing: LeaseTiming) -> Finding:
    text = facts.config.get("timeout")
    if text is None:
        says = "The server does not say after how long it closes idle connections."
        return Finding(name="idle clients", severity=Severity.UNKNOWN, says=says, fix=_unsaid(facts))
    if text == "0" or int(text) > timing.interval_s:
        return fine("idle clients", "It leaves connections open between two renewals.")
    return Finding(
        name="idle clients",
        severity=Severity.WARN,
        says=f"It closes connections idle for {text} s, and a lease is renewed every {timing.interval_s:g} s: each "
        f"renewal has to connect anew.",
        fix=f"Run `CONFIG SET timeout 0` on it, {_ALWAYS}.",
    )


def _clock(facts: Facts) -> Finding:
    if facts.time is None:
        says, fix = "TIME is denied, and without it nothing works.", grant(facts.user, "+time")
        return Finding(name="clock", severity=Severity.UNKNOWN, says=says, fix=fix)
    ahead_ms = facts.time.store_ms - facts.time.wall_ms
    if abs(ahead_ms) <= CLOCK_WARN_MS:
        within = next(limit for limit in (1, 5, 15, 60) if abs(ahead_ms) <= limit * 1000)
        return fine("clock", f"Its clock and this host's are less than {within} s apart.")
    return Finding(
        name="clock",
        severity=Severity.WARN,
        says=f"Its clock is {abs(ahead_ms) / 1000:.0f} s {'ahead of' if ahead_ms > 0 else 'behind'} this host's. All "
        f"times shown are the store's; leases do not depend on this host's.",
        fix="Let NTP set both (`timedatectl set-ntp true`).",
    )


def _unsaid(facts: Facts) -> str:
    """What to do where the server was not allowed to say something, or cannot."""
    if "CONFIG GET" in facts.denied:
        return grant(facts.user, "+config|get")
    return "Look at the server's configuration, or its provider's."


def _span(seconds: int) -> str:
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} minutes"
