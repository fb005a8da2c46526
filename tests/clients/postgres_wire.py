"""Speaks PostgreSQL's protocol byte by byte to the gate, as no client does. Run inside a session.

Each function is one attack, and prints its name when nothing came of it. A statement that a person would
have to be asked about is answered at once with an error, since nobody waits here.
"""

import base64
import hashlib
import hmac
import os
import socket
import ssl
import struct
import sys
import urllib.parse

URL = urllib.parse.urlsplit(os.environ["DATABASE_URL"])
PASSWORD = urllib.parse.unquote(URL.password)
DELETE = "DELETE FROM people"


class Gone(Exception):
    """The gate ended the connection."""


def message(kind, body=b""):
    return kind + struct.pack("!I", len(body) + 4) + body


def text(value):
    return (value if isinstance(value, bytes) else value.encode()) + b"\0"


def query(sql):
    return message(b"Q", text(sql))


def parse(name, sql):
    return message(b"P", text(name) + text(sql) + b"\0\0")


def bind(portal, name, values=()):
    body = text(portal) + text(name) + b"\0\0" + struct.pack("!H", len(values))
    for value in values:
        body += struct.pack("!I", len(value)) + value.encode()
    return message(b"B", body + b"\0\0")


def execute(portal=""):
    return message(b"E", text(portal) + b"\0\0\0\0")


def close(kind, name):
    return message(b"C", kind + text(name))


SYNC = message(b"S")


def startup(*pairs, version=3 << 16):
    body = struct.pack("!I", version)
    for name, value in pairs:
        body += text(name) + text(value)
    body += b"\0"
    return struct.pack("!I", len(body) + 4) + body


def usual(*more):
    return startup(("user", URL.username), ("database", URL.path[1:]), *more)


class Connection:
    def __init__(self, stream=None):
        self.stream = stream or socket.create_connection((URL.hostname, URL.port), 20)
        self.stream.settimeout(20)
        self.arrived = b""

    def send(self, *messages):
        self.stream.sendall(b"".join(messages))

    def take(self, count):
        while len(self.arrived) < count:
            try:
                more = self.stream.recv(65536)
            except (ConnectionError, ssl.SSLError):
                more = b""
            if not more:
                raise Gone(self.arrived)
            self.arrived += more
        taken, self.arrived = self.arrived[:count], self.arrived[count:]
        return taken

    def next(self):
        kind = self.take(1)
        (length,) = struct.unpack("!I", self.take(4))
        return kind, self.take(length - 4)

    def answers(self, count=1):
        """All messages up to the next ReadyForQuery, or that many of them."""
        found = []
        while count:
            kind, body = self.next()
            if kind not in b"NSA":
                found.append((kind, body))
            count -= kind == b"Z"
        return found

    def kinds(self, count=1):
        return b"".join(kind for kind, _ in self.answers(count))

    def ask(self, sql):
        """The only value of a query."""
        self.send(query(sql))
        answers = self.answers()
        rows = [body for kind, body in answers if kind == b"D"]
        assert len(rows) == 1, answers
        return rows[0][6:].decode()

    def refused(self, *messages):
        """Sends what must not run; the answer is the error's text. The connection goes on."""
        self.send(*messages)
        answers = self.answers()
        errors = [body for kind, body in answers if kind == b"E"]
        assert len(errors) == 1, (messages[0][:80], answers)
        said = errors[0].decode()
        assert "Tagout" in said, said
        return said

    def ends(self):
        """The gate says why and hangs up."""
        said = b""
        try:
            while True:
                kind, body = self.next()
                assert kind in b"ENSRv", (kind, body)
                said += body if kind == b"E" else b""
        except Gone:
            return said.decode()

    def log_in(self, first=None):
        self.send(first or usual())
        kind, body = self.next()
        if kind == b"E":
            raise Gone(body)
        assert kind == b"R" and body[:4] == b"\0\0\0\x0a", (kind, body)
        nonce = base64.b64encode(os.urandom(18)).decode()
        bare = f"n=,r={nonce}"
        data = ("n,," + bare).encode()
        self.send(message(b"p", text("SCRAM-SHA-256") + struct.pack("!I", len(data)) + data))
        kind, body = self.next()
        assert kind == b"R" and body[:4] == b"\0\0\0\x0b", (kind, body)
        first = body[4:].decode()
        fields = dict(part.split("=", 1) for part in first.split(","))
        salted = hashlib.pbkdf2_hmac(
            "sha256", PASSWORD.encode(), base64.b64decode(fields["s"]), int(fields["i"])
        )
        without = f"c=biws,r={fields['r']}"
        signed = ",".join([bare, first, without]).encode()
        key = hmac.digest(salted, b"Client Key", "sha256")
        stored = hashlib.sha256(key).digest()
        proof = bytes(a ^ b for a, b in zip(key, hmac.digest(stored, signed, "sha256")))
        final = f"{without},p={base64.b64encode(proof).decode()}".encode()
        self.send(message(b"p", final))
        assert self.next()[1][:4] == b"\0\0\0\x0c"
        for kind, body in self.answers():
            if kind == b"K":
                self.key = body
        return self


def connected():
    return Connection().log_in()


ATTACKS = []


def attack(run):
    ATTACKS.append(run)
    return run


@attack
def what_runs_is_judged_in_either_protocol():
    c = connected()
    c.refused(query(DELETE))
    c.refused(parse("", DELETE), bind("", ""), execute(), SYNC)
    c.refused(query("SELECT 1; COMMIT; " + DELETE))
    c.refused(query("BEGIN READ ONLY; SELECT 1; COMMIT; " + DELETE))
    assert c.ask("SELECT 1") == "1"


@attack
def nothing_behind_a_refusal_in_a_pipeline_runs():
    c = connected()
    insert = "INSERT INTO people VALUES (99, 'x')"
    one = [parse("", insert), bind("", ""), execute()]
    c.refused(*one, parse("", DELETE), bind("", ""), execute(), *one, SYNC)
    c.refused(parse("", DELETE), bind("", ""), execute(), *one, close(b"S", ""), SYNC)
    # Not even a Query, which an error in front of it skips as well.
    c.refused(parse("", DELETE), bind("", ""), execute(), query(insert), SYNC)
    assert c.ask("SELECT count(*) FROM people") == "50"


@attack
def a_transaction_that_was_refused_something_has_failed():
    c = connected()
    c.send(query("BEGIN"))
    c.answers()
    c.send(query(DELETE))
    assert c.answers()[-1] == (b"Z", b"E")
    c.send(query("COMMIT"))
    assert (b"C", b"ROLLBACK\0") in c.answers()


@attack
def a_name_means_what_the_server_has():
    c = connected()
    c.send(parse("s", "SELECT 1"), SYNC)
    assert c.kinds() == b"1Z"
    c.refused(close(b"S", "s"), parse("s", DELETE), bind("", "s"), execute(), SYNC)
    # What an error skipped has not happened.
    c.send(parse("s2", "SELECT 1"), SYNC)
    c.answers()
    c.send(query("no sql"))
    c.answers()
    c.send(parse("e", "SELECT nothing"), close(b"S", "s2"), parse("s2", DELETE), SYNC)
    assert c.kinds() == b"EZ"
    c.send(bind("", "s2"), execute(), SYNC)
    assert c.kinds() == b"2DCZ"
    c.send(parse("s2", DELETE), SYNC)
    assert c.kinds() == b"EZ"
    c.send(bind("", "s2"), execute(), SYNC)
    assert c.kinds() == b"2DCZ"


@attack
def a_portal_that_was_made_anew_is_judged_anew():
    c = connected()
    c.send(query("BEGIN"), )
    c.answers()
    c.send(parse("r", "SELECT 1"), bind("p", "r"), SYNC)
    c.answers()
    c.send(parse("d", DELETE), close(b"P", "p"), bind("p", "d"), execute("p"), SYNC)
    found = c.answers()
    assert found[-1] == (b"Z", b"E") and [kind for kind, _ in found].count(b"E") == 1, found


@attack
def sql_that_prepares_is_judged():
    c = connected()
    c.refused(query("PREPARE d AS " + DELETE))
    c.refused(query("EXECUTE d"))
    c.send(query("PREPARE r AS SELECT 7"))
    assert c.kinds() == b"CZ"
    # A name that SQL prepared is not known to the protocol, so that nobody has to guess.
    c.send(bind("", "r"), execute(), SYNC)
    assert c.kinds() == b"EZ"
    c.send(parse("x", DELETE), SYNC)
    c.answers()
    c.refused(query("EXECUTE x"))


@attack
def the_unnamed_statement_outlives_questions_of_the_gate():
    c = connected()
    c.send(query("SET search_path = public"))
    assert c.kinds() == b"CZ"
    c.send(parse("", "SELECT 5"), SYNC)
    assert c.kinds() == b"1Z"
    c.send(message(b"D", b"S\0"), SYNC)
    assert c.kinds() == b"tTZ"
    c.send(bind("", ""), execute(), SYNC)
    assert c.kinds() == b"2DCZ"
    c.send(parse("", DELETE), SYNC)
    assert c.kinds() == b"1Z"
    c.refused(bind("", ""), execute(), SYNC)
    # A Query of the client's own ends it, also one that never reaches the server.
    for sql in ["SELECT 1", "no sql at all"]:
        c.send(parse("", "SELECT 5"), SYNC, query(sql), bind("", ""), execute(), SYNC)
        assert b"26000" in c.answers(3)[-2][1], sql


@attack
def nobody_is_asked_about_what_a_failed_transaction_ignores():
    c = connected()
    c.send(query("BEGIN"), query("SELECT 1 / 0"), query(DELETE), query("SELECT 1"))
    assert c.kinds(4) == b"CZEZEZEZ"
    # But what ends it may stand in the same text.
    c.refused(query("ROLLBACK; " + DELETE))
    c.send(query("ROLLBACK"))
    assert c.kinds() == b"CZ"


@attack
def calling_functions_by_number_ends_the_connection():
    c = connected()
    # 2096 is pg_terminate_backend.
    c.send(message(b"F", struct.pack("!IHHHIIH", 2096, 0, 0, 1, 4, 1, 0)))
    assert "Tagout" in c.ends()


@attack
def what_comes_byte_by_byte_is_the_same():
    stream = socket.create_connection((URL.hostname, URL.port), 20)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    class Slow(Connection):
        def send(self, *messages):
            for byte in b"".join(messages):
                self.stream.sendall(bytes([byte]))

    c = Slow(stream).log_in()
    assert c.ask("SELECT 2") == "2"
    c.refused(query(DELETE))
    c.refused(parse("", DELETE), bind("", ""), execute(), SYNC)


@attack
def messages_in_one_segment_are_answered_one_by_one():
    c = connected()
    c.send(query("SELECT 1"), query(DELETE), query("SELECT 3"), SYNC, SYNC, query(""))
    assert c.kinds(6) == b"TDCZEZTDCZZZIZ"
    c.send(*[SYNC] * 500)
    assert c.kinds(500) == b"Z" * 500


@attack
def lengths_that_lie_end_the_connection():
    for bytes_sent in [
        b"Q" + struct.pack("!I", 0x7FFFFFFF) + b"SELECT 1\0",
        b"Q" + struct.pack("!I", 3),
        b"Q" + struct.pack("!I", 0xFFFFFFFF) + b"x",
        b"D" + struct.pack("!I", 100_000) + b"S",
        b"B" + struct.pack("!I", 12) + b"\0\0\0\0\xff\xff\0\0",
        b"Q" + struct.pack("!I", 12) + b"SELECT 1",
        message(b"P", b"\0SELECT $1\0\xff\xff"),
        message(b"!", b"what"),
        message(b"p", b"a password again\0"),
        message(b"X", b"more than goodbye")[:3] + b"\xff\xff",
        message(b"B", text("x" * 65536) + b"\0\0\0\0\0\0\0")[:40] + b"\xff" * 70_000,
    ]:
        c = connected()
        c.send(bytes_sent)
        c.stream.shutdown(socket.SHUT_WR)
        c.ends()
    # What was announced too long is told.
    c = connected()
    c.send(b"Q" + struct.pack("!I", 0x7FFFFFFF))
    assert "Tagout" in c.ends()


@attack
def text_that_two_read_differently_is_not_sent():
    for bytes_sent in [
        message(b"Q", b"SELECT 1\0; DELETE FROM people\0"),
        message(b"Q", b"SELECT '\x95\x5c'; DELETE FROM people; --'\0"),
        message(b"Q", b"SELECT '\xc0\x27; DELETE FROM people; --'\0"),
        message(b"P", b"\0SELECT 1\0DELETE FROM people\0\0\0"),
    ]:
        c = connected()
        c.send(bytes_sent)
        assert "Tagout" in c.ends()


@attack
def names_are_as_long_as_the_server_has_them():
    # The server knows statements and portals by the first 63 bytes of their names.
    one, other = "n" * 63 + "a" * 5_000, "n" * 63 + "b"
    c = connected()
    c.send(parse(one, "SELECT 5"), bind(one, one), execute(one), SYNC)
    assert c.kinds() == b"12DCZ"
    c.send(close(b"S", other), parse(other, DELETE), SYNC)
    assert c.kinds() == b"31Z"
    c.refused(bind("", one), execute(), SYNC)
    c.send(query("BEGIN"))
    c.answers()
    c.send(close(b"S", other), parse(other, "SELECT 5"), bind(other, other), close(b"P", one), SYNC)
    assert c.kinds() == b"3123Z"
    c.refused(parse("", DELETE), bind(one, ""), execute(other), SYNC)
    c = connected()
    c.send(parse("n" * 62 + "\u00e9", "SELECT 5"), SYNC)
    assert "Tagout" in c.ends()


@attack
def deep_and_long_texts_are_refused_and_nothing_else():
    c = connected()
    for sql in ["SELECT " + "(" * 20_000 + "1" + ")" * 20_000, "SELECT 1" + " + 1" * 200_000]:
        c.send(query(sql))
        assert c.kinds()[-2:-1] in b"EC"
    assert c.ask("SELECT 1") == "1"


@attack
def copied_data_where_nobody_copies_is_not_heeded():
    c = connected()
    c.send(message(b"d", b"1\tx\n"), message(b"c"), message(b"f", b"no\0"), query("SELECT 6"))
    assert c.kinds() == b"TDCZ"
    c.send(query("COPY people (id, name) FROM STDIN"))
    assert c.next()[0] == b"G"
    # Anything but data ends it.
    c.send(query(DELETE))
    assert "Tagout" in c.ends()
    assert connected().ask("SELECT count(*) FROM people") == "50"


@attack
def a_start_is_rebuilt():
    for more in [
        ("options", "-c standard_conforming_strings=off"),
        ("replication", "database"),
        ("replication", "true"),
        ("session_replication_role", "replica"),
        ("search_path", "evil"),
        ("client_encoding", "SJIS"),
        ("standard_conforming_strings", "off"),
        ("application_name", "x" * 5000),
    ]:
        c = Connection()
        c.send(usual(more))
        assert "Tagout" in c.ends(), more
    for pairs in [
        [("user", "postgres"), ("database", URL.path[1:])],
        [("user", URL.username), ("database", "postgres")],
        [("user", URL.username)],
        [("user", URL.username), ("database", URL.path[1:]), ("user", "postgres")],
        [],
    ]:
        c = Connection()
        c.send(startup(*pairs))
        if pairs == [("user", URL.username)] and URL.username == URL.path[1:]:
            # The database is called like the role where none is named.
            continue
        assert "Tagout" in c.ends(), pairs
    for version in [(2 << 16), (3 << 16) | 9999, (4 << 16), 1]:
        c = Connection()
        c.send(startup(("user", URL.username), ("database", URL.path[1:]), version=version))
        if version >> 16 == 3:
            assert c.next()[0] == b"v"
        else:
            c.ends()
    # An option of a later protocol is not taken, and told.
    c = Connection()
    c.send(usual(("_pq_.later", "on")))
    kind, body = c.next()
    assert kind == b"v" and b"_pq_.later" in body, (kind, body)


@attack
def nothing_said_before_encryption_counts_behind_it():
    request = struct.pack("!II", 8, (1234 << 16) | 5679)
    # CVE-2021-23214 and 23222: what stands behind the request in the clear.
    for behind in [usual(), query(DELETE), b"\x16\x03\x01"]:
        c = Connection()
        c.send(request + behind)
        try:
            first = c.take(1)
            assert first != b"S", first
            c.take(1 << 20)
        except Gone as gone:
            assert b"SCRAM" not in gone.args[0], gone
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    c = Connection()
    c.send(request)
    assert c.take(1) == b"S"
    c = Connection(trusting.wrap_socket(c.stream, server_hostname=URL.hostname)).log_in()
    c.refused(query(DELETE))
    # A second request inside is no start.
    inside = Connection()
    inside.send(request)
    assert inside.take(1) == b"S"
    inside = Connection(trusting.wrap_socket(inside.stream, server_hostname=URL.hostname))
    inside.send(request)
    try:
        assert inside.take(1) == b"N"
        inside.log_in()
    except Gone:
        pass
    # TLS from the first byte.
    direct = ssl.create_default_context()
    direct.check_hostname = False
    direct.verify_mode = ssl.CERT_NONE
    direct.set_alpn_protocols(["postgresql"])
    stream = socket.create_connection((URL.hostname, URL.port), 20)
    c = Connection(direct.wrap_socket(stream, server_hostname=URL.hostname)).log_in()
    c.refused(query(DELETE))
    assert c.ask("SELECT 8") == "8"
    # Encryption by Kerberos is declined, and the connection goes on.
    c = Connection()
    c.send(struct.pack("!II", 8, (1234 << 16) | 5680))
    assert c.take(1) == b"N"
    c.log_in()


@attack
def who_does_not_know_the_key_cancels_nothing():
    a, b = connected(), connected()
    process, key = struct.unpack("!II", a.key)
    assert int(a.ask("SELECT pg_backend_pid()")) != process
    real = int(a.ask("SELECT pg_backend_pid()"))
    a.send(query("SELECT pg_sleep(0.5)"))
    theirs = struct.unpack("!II", b.key)[1]
    for packet in [(process, key ^ 1), (process, theirs), (real, key), (process + 1, key), (0, 0)]:
        c = Connection()
        c.send(struct.pack("!IIII", 16, (1234 << 16) | 5678, *packet))
        c.ends()
    assert a.kinds() == b"TDCZ"
    a.send(query("SELECT pg_sleep(15)"))
    runs = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(15)' AND state = 'active'"
    assert any(b.ask(runs) == "1" for _ in range(100_000))
    c = Connection()
    c.send(struct.pack("!IIII", 16, (1234 << 16) | 5678, process, key))
    c.ends()
    assert a.kinds() == b"TEZ"


@attack
def what_decides_how_text_is_read_stays():
    c = connected()
    for sql in [
        "SET standard_conforming_strings = off",
        "SET LOCAL standard_conforming_strings = off",
        "BEGIN; SET LOCAL standard_conforming_strings TO 'off'",
        "RESET standard_conforming_strings",
        "SELECT set_config('standard_conforming_strings', 'off', false)",
        "SELECT set_config('standard_' || 'conforming_strings', 'off', true)",
        "SELECT set_config(name, 'off', false) FROM pg_settings WHERE name ~ '^standard_c'",
        "DO $$ BEGIN PERFORM set_config('standard_conforming_strings', 'off', false); END $$",
        "ALTER ROLE app SET standard_conforming_strings = off",
        "ALTER DATABASE app SET standard_conforming_strings = off",
        "UPDATE pg_settings SET setting = 'off' WHERE name = 'standard_conforming_strings'",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET standard_conforming_strings = off AS 'SELECT 1'",
        "SET client_encoding = 'SJIS'",
        "SET NAMES 'BIG5'",
        "SET backslash_quote = on",
        "SET ROLE postgres",
        "SET SESSION AUTHORIZATION postgres",
        "SET session_replication_role = replica",
        "SET default_transaction_read_only = off",
        "SET local_preload_libraries = 'x'",
    ]:
        c.refused(query(sql))
        if ";" not in sql:
            c.refused(parse("", sql), bind("", ""), execute(), SYNC)
    # The usual ones are the client's own; with row_security off a query fails where rows would be hidden.
    for sql in ["SET search_path = public", "SET row_security = off", "SET TimeZone = 'UTC'", "SET client_encoding = 'UTF8'"]:
        c.send(query(sql))
        assert c.kinds() == b"CZ", sql


for run in ATTACKS:
    if len(sys.argv) > 1 and run.__name__ not in sys.argv[1:]:
        continue
    try:
        run()
        print("stopped:", run.__name__, flush=True)
    except BaseException as error:  # noqa: BLE001: the next one is tried all the same
        import traceback

        traceback.print_exc()
        print("not as expected:", run.__name__, repr(error), flush=True)
print("all of", len(ATTACKS), "tried", flush=True)
