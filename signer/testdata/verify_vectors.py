#!/usr/bin/env python3
"""A second verifier, written from docs/wire.md alone. Exits 0 if every test vector, beside it or in the folder that is
given, comes out as it says."""

import base64
import binascii
import hashlib
import json
import os
import re
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

HERE = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
P = 2**255 - 19
SMALL_Y = {0, 1, P - 1, P, P + 1,
           int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"),
           int.from_bytes(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little")}
COMPONENTS = ["@method", "@authority", "@path", "@query", "content-type", "content-digest", "federation-to", "federation-op"]
NO_BODY = [c for c in COMPONENTS if not c.startswith("content-")]


class Refused(Exception):
    pass


def b64(text, urlsafe=False):
    """Decodes base64 in its one canonical form, or returns None."""
    pad = "=" * (-len(text) % 4) if urlsafe else ""
    try:
        raw = base64.b64decode(text + pad, altchars=b"-_" if urlsafe else None, validate=True)
    except (binascii.Error, ValueError):
        return None
    enc = base64.urlsafe_b64encode(raw).rstrip(b"=") if urlsafe else base64.b64encode(raw)
    return raw if enc.decode() == text else None


def thumbprint(raw):
    x = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    jwk = '{"crv":"Ed25519","kty":"OKP","x":"%s"}' % x
    return base64.urlsafe_b64encode(hashlib.sha256(jwk.encode()).digest()).rstrip(b"=").decode()


def holds(raw, message, sig):
    if len(raw) != 32 or len(sig) != 64 or int.from_bytes(raw, "little") & (2**255 - 1) in SMALL_Y:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(raw).verify(sig, message)
        return True
    except (InvalidSignature, ValueError):
        return False


def visible(s):
    return re.fullmatch(r"[\x21-\x7e]+", s) is not None


def printable(s):
    return re.fullmatch(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", s) is not None


def single(fields, name, missing, doubled):
    v = fields.get(name.lower(), [])
    if not v:
        raise Refused(missing)
    if len(v) > 1:
        raise Refused(doubled)
    return v[0]


def signature_field(fields, name):
    v = single(fields, name, "signature_missing", "signature_doubled")
    if v == "":
        raise Refused("signature_empty")
    if len(v.encode()) > 512:
        raise Refused("signature_oversized")
    return v


def doubled_or_malformed(rest):
    raise Refused("signature_doubled" if rest.lstrip(" \t").startswith(",") else "signature_malformed")


def parse_input(text):
    m = re.match(r"sig=(\([^)]*\))", text)
    if not m:
        raise Refused("signature_malformed")
    lists = {"(%s)" % " ".join('"%s"' % c for c in names): names for names in (COMPONENTS, NO_BODY)}
    if m.group(1) not in lists:
        raise Refused("components_mismatch")
    n = r"(0|[1-9][0-9]{0,14})"
    q = r'"([^"\\]*)"'
    rest = text[m.end():]
    p = re.match(";created=%s;expires=%s;nonce=%s;keyid=%s;alg=%s;tag=%s" % (n, n, q, q, q, q), rest)
    if not p:
        raise Refused("signature_malformed")
    if rest[p.end():]:
        doubled_or_malformed(rest[p.end():])
    created, expires, nonce, keyid, alg, tag = p.groups()
    if alg != "ed25519":
        raise Refused("algorithm_unknown")
    if tag != "federation-v1":
        raise Refused("profile_unknown")
    raw = b64(nonce, True)
    if raw is None or len(raw) != 16:
        raise Refused("nonce_malformed")
    key = b64(keyid, True)
    if key is None or len(key) != 32:
        raise Refused("keyid_malformed")
    return lists[m.group(1)], int(created), int(expires), raw, keyid, text[len("sig="):]


def parse_signature(text):
    m = re.match(r"sig=:([^:]*):", text)
    if not m:
        raise Refused("signature_malformed")
    if text[m.end():]:
        doubled_or_malformed(text[m.end():])
    raw = b64(m.group(1))
    if raw is None or len(raw) != 64:
        raise Refused("signature_malformed")
    return raw


def authority(host, scheme, beside):
    m = re.fullmatch(r"([A-Za-z0-9._~-]+|\[[0-9A-Za-z._~:-]{2,}\])(?::([1-9][0-9]{0,4})?)?", host)
    if not m or len(host) > 261:
        raise Refused("authority_malformed")
    if beside not in (None, [host]):
        raise Refused("authority_malformed")
    name, port = m.groups()
    if not port or (scheme, port) in (("https", "443"), ("http", "80")):
        return name.lower()
    return ("%s:%s" % (name, port)).lower()


def text_field(fields, name, limit):
    v = single(fields, name, "field_missing", "field_doubled")
    if len(v.encode()) > limit:
        raise Refused("field_oversized")
    if not visible(v):
        raise Refused("field_malformed")
    return v


def federation(f, v, fields, body):
    if "x-memory-sig" in fields or "x-memory-nonce" in fields:
        raise Refused("wire_mismatch")
    value_input, value_sig = signature_field(fields, "Signature-Input"), signature_field(fields, "Signature")
    names, created, expires, nonce, keyid, params = parse_input(value_input)
    sig = parse_signature(value_sig)
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}", v["method"]) or v["method"] == "CONNECT":
        raise Refused("target_malformed")
    target = v["target"]
    path, mark, query = target.partition("?")
    if not re.fullmatch(r"/[\x21\x22\x24-\x7e]*", target) or len(target) > 8192 or (mark and not query):
        raise Refused("target_malformed")
    values = {"@method": v["method"], "@authority": v.get("authority") or authority(v["host"], v["scheme"], fields.get("host")),
              "@path": path, "@query": "?" + query,
              "federation-to": text_field(fields, "Federation-To", 2048),
              "federation-op": text_field(fields, "Federation-Op", 128)}
    if "content-encoding" in fields:
        raise Refused("encoding_unsigned")
    if names is NO_BODY:
        if "content-type" in fields or "content-digest" in fields or body:
            raise Refused("body_unsigned")
    else:
        t = single(fields, "Content-Type", "field_missing", "field_doubled")
        if len(t.encode()) > 256:
            raise Refused("field_oversized")
        if not printable(t):
            raise Refused("field_malformed")
        d = single(fields, "Content-Digest", "digest_missing", "field_doubled")
        if not d.startswith("sha-256=:") or "," in d:
            raise Refused("digest_algorithm")
        digest = b64(d[9:-1]) if d.endswith(":") else None
        if digest is None or len(digest) != 32:
            raise Refused("digest_malformed")
        values["content-type"], values["content-digest"] = t, d
    if len(body) > f["max_body_bytes"]:
        raise Refused("body_too_large")
    if values["federation-to"] not in f["recipients"]:
        raise Refused("recipient_mismatch")
    keys = {thumbprint(raw): raw for raw in (b64(k, True) for k in f["keys"].get(v["peer"], []))}
    if keyid not in keys:
        raise Refused("key_unknown")
    now, skew = v["now"], f["skew_seconds"]
    if expires <= created or expires - created > f["max_age_seconds"]:
        raise Refused("window_invalid")
    if created > now + skew:
        raise Refused("created_in_future")
    if now >= expires + skew:
        raise Refused("expired")
    if "started" in v and created <= v["started"] + skew and nonce[:8] != b64(v["epoch"], True):
        raise Refused("sign_again")
    base = "".join('"%s": %s\n' % (n, values[n]) for n in names) + '"@signature-params": ' + params
    if not holds(keys[keyid], base.encode(), sig):
        raise Refused("signature_invalid")
    if names is COMPONENTS and hashlib.sha256(body).digest() != digest:
        raise Refused("digest_mismatch")
    if v.get("repeat"):
        raise Refused("nonce_replayed")
    op = values["federation-op"]
    return base.encode(), "" if op == "-" else op


def memory(f, v, fields, body):
    if "signature" in fields or "signature-input" in fields:
        raise Refused("wire_mismatch")
    if "content-encoding" in fields:
        raise Refused("encoding_unsigned")
    s = single(fields, "X-Memory-Sig", "x_memory_sig_missing", "x_memory_sig_malformed")
    if len(s) > 512 or not (s == "" or printable(s)):
        raise Refused("x_memory_sig_malformed")
    s = s.split(";")[0].rstrip(" ")
    sig = b64(s[8:]) if s.startswith("ed25519=") else None
    if sig is None or len(sig) != 64:
        raise Refused("x_memory_sig_malformed")
    nonce = single(fields, "X-Memory-Nonce", "x_memory_nonce_missing", "x_memory_nonce_malformed")
    if not re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", nonce):
        raise Refused("x_memory_nonce_malformed")
    peer_id = single(fields, "X-Peer-Id", "peer_id_header_missing", "field_doubled")
    if not visible(peer_id) or len(peer_id) > 2048:
        raise Refused("field_malformed")
    op = ""
    if "idempotency-key" in fields:
        op = single(fields, "Idempotency-Key", "", "field_doubled")
        if not visible(op) or len(op) > 128:
            raise Refused("field_malformed")
    if v.get("peer_id") and v["peer_id"] != peer_id:
        raise Refused("sender_agent_id_mismatch")
    if len(body) > f["max_body_bytes"]:
        raise Refused("body_too_large")
    if v["peer"] not in f["keys"]:
        raise Refused("key_unknown")
    signed = body + b"\0" + nonce.encode()
    if body.startswith(b"\xff"):
        raise Refused("x_memory_sig_bad_signature")
    if not any(holds(b64(k, True), signed, sig) for k in f["keys"][v["peer"]]):
        raise Refused("x_memory_sig_bad_signature")
    if body.lstrip(b" \t\r\n").startswith(b"{"):
        try:
            json.loads(body)
        except ValueError:
            raise Refused("sender_agent_id_mismatch")
        senders = [(k, x) for k, x in json.loads(body, object_pairs_hook=list) if k.lower() == "sender_agent_id"]
        if senders and senders != [("sender_agent_id", peer_id)]:
            raise Refused("sender_agent_id_mismatch")
    if v.get("repeat"):
        raise Refused("x_memory_nonce_replay")
    return signed, op


def load(name):
    with open(os.path.join(HERE, name), encoding="utf-8") as f:
        return json.load(f)


def main():
    bad = total = 0
    for name, verify in (("federation.json", federation), ("ai-memory.json", memory)):
        f = load(name)
        for v in f["vectors"]:
            total += 1
            fields = {}
            for k, x in v["header"]:
                fields.setdefault(k.lower(), []).append(x)
            base, op, tag = None, "", ""
            try:
                if v["peer"] == "":
                    raise Refused("peer_unknown")
                base, op = verify(f, v, fields, base64.b64decode(v["body_base64"]))
            except Refused as r:
                tag = str(r)
            want_base = base64.b64decode(v["signed_base64"]) if tag == "" and "signed_base64" in v else base
            if tag != v["tag"] or op != v.get("operation", "") or base != want_base:
                bad += 1
                print("%s: %s: got %r %r, want %r %r" % (name, v["name"], tag, op, v["tag"], v.get("operation", "")))
    for v in load("statements.json")["vectors"]:
        total += 1
        domain = v["domain"].encode()
        signed = b"\xfffederation-statement-v1\0" + bytes([len(domain)]) + domain + base64.b64decode(v["payload_base64"])
        ok = visible(v["domain"]) and len(domain) <= 64 and holds(b64(v["key"], True), signed, base64.b64decode(v["signature_base64"]))
        if ok != v["ok"] or (ok and signed != base64.b64decode(v["signed_base64"])):
            bad += 1
            print("statements.json: %s: got %r" % (v["name"], ok))
    print("%d vectors, %d wrong" % (total, bad))
    return 1 if bad or not total else 0


if __name__ == "__main__":
    sys.exit(main())
