"""A peer in another language, written from docs/wire.md and docs/wire-push.md. Needs Python 3.9 and cryptography.

It reads JSON lines: first what it is, then what to do. It answers each by one. interop_test.go starts it.
"""
import base64, collections, hashlib, http.client, http.server, json, os, re, socket, ssl, struct, sys, threading, time
import urllib.parse, uuid

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PUSH, SINCE, KEYS = "/api/v1/sync/push", "/api/v1/sync/since", "/.well-known/federation/keys"
BATCH, ANSWER, PAGE = ("application/vnd.federation." + what for what in ("batch", "answer", "page"))
SKEW, LIFE = 30, 30


class Refused(Exception):
    def __init__(self, tag, status=401):
        super().__init__(tag)
        self.tag, self.status = tag, status


# Names, keys, encodings: wire.md

def sha256(b):
    return hashlib.sha256(b).digest()


def b64url(b):
    return base64.urlsafe_b64encode(b).rstrip(b"=").decode()


def unb64url(s, size):
    b = base64.urlsafe_b64decode(s + "=" * (-len(s) % 4))
    if len(b) != size or b64url(b) != s:
        raise ValueError("base64url")
    return b


def unb64(s):
    b = base64.b64decode(s, validate=True)
    if base64.b64encode(b).decode() != s:
        raise ValueError("base64")
    return b


def raw(public):
    return public.public_bytes(Encoding.Raw, PublicFormat.Raw)


def thumbprint(public):
    return sha256(b'{"crv":"Ed25519","kty":"OKP","x":"%s"}' % b64url(raw(public)).encode())


def statement(domain, payload):
    return b"\xfffederation-statement-v1\0" + bytes([len(domain)]) + domain + payload


# The key directory

def encode_keys(*publics):
    return json.dumps({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": b64url(raw(p)), "kid": b64url(thumbprint(p))}
                                for p in publics], "valid_seconds": 300}).encode()


def parse_keys(b):
    keys = {}
    if len(b) > 65536:
        raise ValueError("directory")
    for k in json.loads(b)["keys"]:
        if k["kty"] != "OKP" or k["crv"] != "Ed25519" or k.get("use", "sig") != "sig":
            continue
        public = Ed25519PublicKey.from_public_bytes(unb64url(k["x"], 32))
        name = b64url(thumbprint(public))
        if k.get("kid", name) != name or name in keys or "d" in k:
            raise ValueError("directory")
        keys[name] = public
    return keys


# Signed requests

PLAIN = ("@method", "@authority", "@path", "@query", "federation-to", "federation-op")
BODY = PLAIN[:4] + ("content-type", "content-digest") + PLAIN[4:]


def digest(body):
    return "sha-256=:%s:" % base64.b64encode(sha256(body)).decode()


def base(components, params, method, host, target, fields):
    host = host.lower()
    path, _, query = target.partition("?")
    values = {"@method": method, "@authority": re.sub(r":(443)?$", "", host), "@path": path, "@query": "?" + query}
    lines = ['"%s": %s\n' % (c, values[c] if c[0] == "@" else fields[c]) for c in components]
    return ("".join(lines) + '"@signature-params": ' + params).encode()


def sign(key, epoch, method, host, target, to, op, media=None, body=None):
    fields = {"federation-to": to, "federation-op": op}
    components = PLAIN
    if media:
        components = BODY
        fields.update({"content-type": media, "content-digest": digest(body)})
    now = int(time.time())
    params = '(%s);created=%d;expires=%d;nonce="%s";keyid="%s";alg="ed25519";tag="federation-v1"' % (
        " ".join('"%s"' % c for c in components), now, now + LIFE, b64url(epoch + os.urandom(16 - len(epoch))),
        b64url(thumbprint(key.public_key())))
    signature = key.sign(base(components, params, method, host, target, fields))
    fields["signature-input"] = "sig=" + params
    fields["signature"] = "sig=:%s:" % base64.b64encode(signature).decode()
    return fields


INPUT = re.compile(r'sig=(\((.*?)\);created=(0|[1-9]\d{0,14});expires=(0|[1-9]\d{0,14});nonce="([\w-]{22})";'
                   r'keyid="([\w-]{43})";alg="ed25519";tag="federation-v1")', re.ASCII)


def verify(node, peer, method, target, headers, body):
    fields = {}
    for name, value in headers.items():
        if name.lower() in fields and name.lower() in BODY + ("signature", "signature-input"):
            raise Refused("field_doubled")
        fields[name.lower()] = value.strip(" \t")
    if "signature" not in fields or "signature-input" not in fields:
        raise Refused("signature_missing")
    if "content-encoding" in fields:
        raise Refused("encoding_unsigned")
    given = INPUT.fullmatch(fields["signature-input"])
    signature = re.fullmatch(r"sig=:(.{88}):", fields["signature"])
    if not given or not signature:
        raise Refused("signature_malformed")
    components = tuple(c.strip('"') for c in given[2].split(" "))
    if components not in (PLAIN, BODY):
        raise Refused("components_mismatch")
    if any(c[0] != "@" and c not in fields for c in components):
        raise Refused("field_missing")
    if components == PLAIN and (body or "content-type" in fields or "content-digest" in fields):
        raise Refused("body_unsigned")
    if fields["federation-to"] not in (node.name,):
        raise Refused("recipient_mismatch", 403)
    key = peer.key(given[6])
    created, expires, nonce, now = int(given[3]), int(given[4]), given[5], time.time()
    if not 0 < expires - created <= LIFE:
        raise Refused("window_invalid")
    if created > now + SKEW:
        raise Refused("created_in_future")
    if now >= expires + SKEW:
        raise Refused("expired")
    if created <= node.started + SKEW and unb64url(nonce, 16)[:8] != node.epoch:
        raise Refused("sign_again")
    try:
        key.verify(unb64(signature[1]), base(components, given[1], method, fields["host"], target, fields))
    except (InvalidSignature, ValueError):
        raise Refused("signature_invalid")
    if components == BODY and fields["content-digest"] != digest(body):
        raise Refused("digest_mismatch")
    with node.lock:
        if (given[6], nonce) in node.nonces:
            raise Refused("nonce_replayed")
        node.nonces.add((given[6], nonce))
    return fields["federation-to"]


# Batches, answers, acks, receipts, pages: wire-push.md

Message = collections.namedtuple("Message", "op media time body")
Ack = collections.namedtuple("Ack", "verdict time digest op sender recipient proof")
Proof = collections.namedtuple("Proof", "key index path signature")


def string(s):
    b = s if isinstance(s, bytes) else s.encode()
    return struct.pack(">H", len(b)) + b


class Reader:
    def __init__(self, b, magic):
        self.b = b
        self.want(self.take(len(magic)) == magic)

    def want(self, ok):
        if not ok:
            raise ValueError("malformed")

    def take(self, n):
        self.want(len(self.b) >= n)
        head, self.b = self.b[:n], self.b[n:]
        return head

    def number(self, n):
        return int.from_bytes(self.take(n), "big")

    def string(self):
        return self.take(self.number(2)).decode()

    def message(self):
        op, media, when = self.string(), self.string(), self.number(8)
        return Message(op, media, when, self.take(self.number(4)))

    def proof(self):
        key, index, depth = self.take(32), self.number(2), self.number(1)
        self.want(depth <= 10 and index >> depth == 0)
        return Proof(key, index, [self.take(32) for _ in range(depth)], self.take(64))

    def ack(self):
        self.want(self.number(1) == 1)
        verdict, when = self.number(1), self.number(8)
        self.want(verdict in (1, 2) and 1 <= when <= 253402300799999)
        sure, op, sender, recipient, signed = self.take(32), self.string(), self.string(), self.string(), self.number(1)
        self.want(signed == 1)  # this peer takes no other
        return Ack(verdict, when, sure, op, sender, recipient, self.proof())

    def end(self, result):
        self.want(not self.b)
        return result


def encode_message(m):
    return string(m.op) + string(m.media) + struct.pack(">QI", m.time, len(m.body)) + m.body


def encode_batch(sender, messages):
    return (b"FPB\1" + bytes(16) + string(sender) + struct.pack(">H", len(messages)) + b"".join(map(encode_message, messages)))


def parse_batch(b):
    r = Reader(b, b"FPB\1")
    r.take(16)  # one request at a time is applied here, so that streams are in order by themselves
    sender = r.string()
    return r.end((sender, [r.message() for _ in range(r.number(2))]))


def batch_id(messages):
    if len(messages) == 1:
        return messages[0].op
    return "batch:" + b64url(sha256(b"".join(m.op.encode() + b"\0" for m in messages)))


def encode_ack(a, proven=True):
    b = struct.pack(">BBQ", 1, a.verdict, a.time) + a.digest + string(a.op) + string(a.sender) + string(a.recipient)
    if not proven:
        return b
    p = a.proof
    return b + (b"\1" + p.key + struct.pack(">HB", p.index, len(p.path)) + b"".join(p.path) + p.signature if p else b"\0")


def sign_acks(key, acks):
    depth = (len(acks) - 1).bit_length()
    level = [sha256(b"\0" + encode_ack(a, False)) for a in acks] + [bytes(32)] * ((1 << depth) - len(acks))
    paths = [[] for _ in acks]
    for d in range(depth):
        for i, path in enumerate(paths):
            path.append(level[(i >> d) ^ 1])
        level = [sha256(b"\1" + level[i] + level[i + 1]) for i in range(0, len(level), 2)]
    signature = key.sign(statement(b"ack/1", level[0]))
    return [a._replace(proof=Proof(thumbprint(key.public_key()), i, paths[i], signature)) for i, a in enumerate(acks)]


def verify_ack(a, key):
    root = sha256(b"\0" + encode_ack(a, False))
    for i, other in enumerate(a.proof.path):
        root = sha256(b"\1" + (other + root if a.proof.index >> i & 1 else root + other))
    if a.proof.key != thumbprint(key):
        raise ValueError("another key")
    key.verify(a.proof.signature, statement(b"ack/1", root))


def verify_receipt(b, keys, writes):
    r = Reader(b, b"FQR\1")
    sure, op, sender, w, n = r.take(32), r.string(), r.string(), r.number(2), r.number(2)
    r.want(w >= 1 and n >= max(w, writes))
    nodes, signers = set(), set()
    for _ in range(n):
        a = Ack(r.number(1), r.number(8), sure, op, sender, r.string(), r.proof())
        r.want(a.recipient not in nodes and a.proof.key not in signers)
        nodes.add(a.recipient)
        signers.add(a.proof.key)
        verify_ack(a, Ed25519PublicKey.from_public_bytes(base64.b64decode(keys[a.recipient])))
    return r.end({"op": op, "digest": sure.hex(), "sender": sender, "nodes": sorted(nodes)})


def parse_answer(b, n):
    r = Reader(b, b"FPA\1")
    r.want(r.number(2) == n)
    results = []
    for _ in range(n):
        state = r.number(1)
        results.append((state, r.ack() if state == 1 else r.string()))
    return r.end(results)


def encode_answer(results):
    return b"FPA\1" + struct.pack(">H", len(results)) + b"".join(
        bytes([state]) + (encode_ack(what) if state == 1 else string(what)) for state, what in results)


def encode_page(cursor, more, messages):
    return b"FPG\1" + string(cursor) + bytes([more]) + struct.pack(">H", len(messages)) + b"".join(map(encode_message, messages))


def parse_page(b):
    r = Reader(b, b"FPG\1")
    cursor, more = r.string(), r.number(1)
    return r.end((cursor, more, [r.message() for _ in range(r.number(2))]))


# The other node

class Peer:
    def __init__(self, node, name, url):
        self.node, self.name, self.keys, self.epoch = node, name, {}, b""
        self.host, self.port = re.fullmatch(r"https://(.*):(\d+)", url).groups()

    def exchange(self, method, target, fields, body=None):
        c = http.client.HTTPConnection(self.host, int(self.port))
        c.sock = self.node.client.wrap_socket(socket.create_connection((self.host, self.port), 20), server_hostname=self.name)
        try:
            c.putrequest(method, target, skip_accept_encoding=True)
            for name, value in fields.items():
                c.putheader(name, value)
            if body is not None:
                c.putheader("Content-Length", str(len(body)))
            c.endheaders(body)
            r = c.getresponse()
            answer = r.read()
        finally:
            c.close()
        if r.status != 200:
            raise Answered(r.headers.get("Federation-Refusal"), r.status, r.headers)
        return r.headers.get("Content-Type"), answer

    def key(self, name):
        if name not in self.keys:
            self.keys = parse_keys(self.exchange("GET", KEYS, {})[1])
        if name not in self.keys:
            raise Refused("key_unknown")
        return self.keys[name]

    def send(self, method, target, op, media=None, body=None, spoil=lambda f, b: (f, b)):
        for again in (True, False):
            fields = sign(self.node.key, self.epoch, method, self.host + ":" + self.port, target, self.name, op, media, body)
            try:
                return self.exchange(method, target, *spoil(fields, body))
            except Answered as e:
                if e.tag != "sign_again" or not again:
                    raise
                self.epoch = unb64url(e.headers["Federation-Epoch"], 8)

    def push(self, messages, **kw):
        media, answer = self.send("POST", PUSH, batch_id(messages), BATCH, encode_batch(self.node.name, messages), **kw)
        if media != ANSWER:
            raise ValueError("an answer of type %r" % media)
        results = parse_answer(answer, len(messages))
        for m, (state, a) in zip(messages, results):
            if state == 1:
                if (a.op, a.digest, a.sender, a.recipient) != (m.op, sha256(m.body), self.node.name, self.name):
                    raise ValueError("an ack of something else")
                verify_ack(a, self.key(b64url(a.proof.key)))
        return [state for state, _ in results]

    def pull(self):
        messages, cursor, more = [], "", 1
        while more:
            target = SINCE + (cursor and "?" + urllib.parse.urlencode({"cursor": cursor}))
            media, page = self.send("GET", target, "-")
            if media != PAGE:
                raise ValueError("a page of type %r" % media)
            cursor, more, got = parse_page(page)
            messages += got
        return messages

    # The ai-memory wire.

    def remember(self, method, target, body=b"", op=None):
        nonce = str(uuid.uuid4())
        fields = {"x-memory-nonce": nonce, "x-peer-id": self.node.name,
                  "x-memory-sig": "ed25519=" + base64.b64encode(self.node.key.sign(body + b"\0" + nonce.encode())).decode()}
        if method == "POST":
            fields["content-type"] = "application/json"
        if op:
            fields["idempotency-key"] = op
        return json.loads(self.exchange(method, target, fields, body if method == "POST" else None)[1])


class Answered(Refused):
    def __init__(self, tag, status, headers):
        super().__init__(tag or "status %d" % status, status)
        self.headers = headers


# This node

class Node:
    def __init__(self, c):
        self.name, self.key = c["name"], Ed25519PrivateKey.from_private_bytes(base64.b64decode(c["seed"]))
        self.memory = c.get("memory", False)
        self.started, self.epoch = time.time(), os.urandom(8)
        self.lock, self.turn = threading.Lock(), threading.Lock()
        self.nonces, self.got, self.acks, self.lie = set(), [], {}, ""
        self.client = ssl.create_default_context(cafile=c["ca"])
        self.server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=c["ca"])
        self.server.verify_mode = ssl.CERT_REQUIRED
        self.server.set_alpn_protocols(["http/1.1"])
        for context in self.client, self.server:
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.load_cert_chain(c["cert"], c["key"])
        self.peers = {name: Peer(self, name, url) for name, url in c["peers"].items()}

    def take(self, sender, to, messages):
        """The results of a batch: what is new is applied, and every message has an ack that is signed now."""
        results = []
        for m in messages:
            a = self.acks.get((sender, m.op))
            if a is None:
                self.got.append(m)
                a = Ack(1, int(time.time() * 1000), sha256(m.body), m.op, sender, to, None)
                self.acks[sender, m.op] = a
            if a.digest != sha256(m.body):
                results.append((4, "the id is known with another digest"))
                continue
            if self.lie in ("digest", "op", "sender", "recipient"):
                a = a._replace(**{self.lie: bytes(32) if self.lie == "digest" else "another"})
            results.append((1, a))
        key = Ed25519PrivateKey.generate() if self.lie == "key" else self.key
        acks = [a for state, a in results if state == 1]
        signed = iter(sign_acks(key, acks) if acks else [])
        results = [(state, next(signed) if state == 1 else what) for state, what in results]
        if self.lie == "proof":
            results = [(1, a._replace(proof=None)) for _, a in results]
        if self.lie == "signature":
            results = [(1, a._replace(proof=a.proof._replace(signature=bytes(64)))) for _, a in results]
        return results * 2 if self.lie == "twice" else results

    def recall(self, peer, method, target, headers, body):
        """An exchange on the ai-memory wire."""
        if "Signature" in headers or "X-Memory-Sig" not in headers:
            raise Refused("x_memory_sig_missing")
        scheme, _, signature = headers["X-Memory-Sig"].partition(";")[0].partition("=")
        signed = body + b"\0" + str(uuid.UUID(headers["X-Memory-Nonce"])).encode()
        for key in parse_keys(peer.exchange("GET", KEYS, {})[1]).values():
            key.verify(unb64(signature), signed)
        if scheme != "ed25519" or headers["X-Peer-Id"] != peer.name:
            raise Refused("peer_id_header_missing", 403)
        if method == "GET":
            query = urllib.parse.parse_qs(target.partition("?")[2])
            return json.dumps({"memories": [json.loads(m.body) for m in self.got if m.time > query.get("since", [""])[0]]})
        batch = json.loads(body)
        if batch["sender_agent_id"] != peer.name:
            raise Refused("sender_agent_id_mismatch", 403)
        for m in batch["memories"]:
            self.got.append(Message(m["id"], "application/json", m["updated_at"], json.dumps(m).encode()))
        return json.dumps({"ids": [m["id"] for m in batch["memories"]]})

    def serve(self):
        node = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            log_message = lambda *_: None

            def reply(self, status, media, body, **fields):
                self.send_response(status)
                for name, value in fields.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Type", media)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def answer(self, body):
                names = {value for _, value in self.connection.getpeercert().get("subjectAltName", ())}
                peers = [p for name, p in node.peers.items() if name in names]
                if len(peers) != 1:
                    raise Refused("peer_unknown", 403)
                if self.path == KEYS:
                    return "application/jwk-set+json", encode_keys(node.key.public_key())
                if node.memory:
                    return "application/json", node.recall(peers[0], self.command, self.path, self.headers, body).encode()
                to = verify(node, peers[0], self.command, self.path, self.headers, body)
                path, _, query = self.path.partition("?")
                if (self.command, path) == ("GET", SINCE):
                    first = int(urllib.parse.parse_qs(query).get("cursor", ["0"])[0])
                    last = min(first + 2, len(node.got))
                    return PAGE, encode_page(str(last), last < len(node.got), node.got[first:last])
                if (self.command, path) != ("POST", PUSH):
                    raise Refused("path_unknown", 404)
                if self.headers["Content-Type"] != BATCH:
                    raise Refused("media_unknown", 415)
                try:
                    sender, messages = parse_batch(body)
                except ValueError:
                    raise Refused("message_malformed", 400)
                with node.turn:
                    return ANSWER, encode_answer(node.take(sender, to, messages))

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                try:
                    self.reply(200, *self.answer(body))
                except Refused as e:
                    fields = {"Federation_Epoch": b64url(node.epoch)} if e.tag == "sign_again" else {}
                    self.reply(e.status, "application/json", b'{"error":"%s"}\n' % e.tag.encode(), Federation_Refusal=e.tag, **fields)

            do_GET = do_POST = handle_any

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def get_request(self):
                connection, address = self.socket.accept()
                return node.server.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

            def handle_error(self, request, address):
                print("peer.py: a connection ended: %r" % sys.exc_info()[1], file=sys.stderr)

        server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server.server_address[1]

    # What it can be told to do.

    def do(self, c):
        peer = self.peers.get(c.get("peer"))
        do = c["do"]
        if do == "push":
            return {"states": peer.push(self.messages(c))}
        if do == "spoil":
            return {"tag": self.spoil(peer, self.messages(c), c["how"])}
        if do == "pull":
            return {"messages": [[m.op, m.body.decode()] for m in peer.pull()]}
        if do == "received":
            return {"messages": [[m.op, m.body.decode()] for m in self.got]}
        if do == "receipt":
            return verify_receipt(base64.b64decode(c["receipt"]), c["keys"], c["writes"])
        if do == "lie":
            self.lie = c["how"]
            return {}
        if do == "remember":
            memories = [json.loads(body) for _, body in c["messages"]]
            body = json.dumps({"sender_agent_id": self.name, "memories": memories, "dry_run": False}).encode()
            return peer.remember("POST", PUSH, body, memories[0]["id"])
        if do == "recall":
            return peer.remember("GET", SINCE + "?" + urllib.parse.urlencode({"since": "", "peer": self.name}))
        raise ValueError("do what?")

    def messages(self, c):
        return [Message(op, "text/plain", int(time.time() * 1000), body.encode()) for op, body in c["messages"]]

    def spoil(self, peer, messages, how):
        """The tag with which a push is refused after something was done to it on its way."""
        kept = []

        def change(fields, body):
            f = dict(fields)
            if how == "body":
                body = body[:-1] + b"?"
            elif how == "digest":
                body = body[:-1] + b"?"
                f["content-digest"] = digest(body)
            elif how == "replay" and not kept:
                kept.append(1)
                peer.exchange("POST", PUSH, f, body)
            elif how == "operation":
                f["federation-op"] += "x"
            elif how == "recipient":
                f["federation-to"] = "another.node"
            elif how == "encoding":
                f["content-encoding"] = "gzip"
            elif how == "space":
                f["signature-input"] = f["signature-input"].replace(";created", "; created")
            elif how == "nothing":
                f = {name: value for name, value in f.items() if not name.startswith("signature")}
            return f, body
        try:
            peer.push(messages, spoil=change)
        except Refused as e:
            return e.tag
        return ""


def main():
    node = Node(json.loads(sys.stdin.readline()))
    print(json.dumps({"port": node.serve()}), flush=True)
    for line in sys.stdin:
        try:
            answer = node.do(json.loads(line))
        except Exception as e:
            answer = {"error": repr(e)}
        print(json.dumps(answer), flush=True)


main()
