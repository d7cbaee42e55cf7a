#!/usr/bin/env python3
"""Makes what fuzzing begins with, in fuzz/corpus, from the samples and the test data."""

import base64
import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "fuzz" / "corpus"
KEYS = ROOT / "testdata" / "keys"
TOKENS = ROOT / "testdata" / "tokens"

# As in the target `claims`: 2026-01-01.
NOW = 1767225600


def seed(target, name, octets):
    directory = CORPUS / target
    directory.mkdir(parents=True, exist_ok=True)
    if isinstance(octets, str):
        octets = octets.encode()
    (directory / name).write_bytes(octets)


def tokens():
    for file in sorted((TOKENS / "signed").glob("*.jwt")):
        seed("token", file.stem, file.read_text().strip())
    seed("token", "keys", (TOKENS / "signed" / "keys.json").read_bytes())
    header = base64.urlsafe_b64encode(b'{"alg":"ES256","kid":"k","typ":"JWT"}').decode().rstrip("=")
    body = base64.urlsafe_b64encode(b'{"iss":"https://a.example","sub":1}').decode().rstrip("=")
    seed("token", "forged", f"{header}.{body}.AAAA")


def precertificates():
    for number, vector in enumerate(json.loads((ROOT / "testdata" / "ct" / "presigned.json").read_text())):
        seed("precertificate", f"presigned-{number:02}", base64.b64decode(vector["chain"][0]))


def claims():
    """One payload for each issuer, with every claim that some template asks for."""
    sample = (ROOT / "config" / "issuers.yaml").read_text()
    names = set(re.findall(r"\{\{[^}]*?\.([A-Za-z_]\w*)", sample))
    names |= set(re.findall(r'index \. "([^"]+)"', sample))
    names |= set(re.findall(r"^ {6}[\w-]+: ['\"]?([A-Za-z_]\w*)['\"]?$", sample, re.MULTILINE))
    every = {name: f"example/{name}" for name in sorted(names)}
    every |= {name: f"https://example.com/{name}" for name in names if name.endswith("url")}
    issuers = re.findall(r"^ {2}['\"]?(https://[^\s'\"]+?)['\"]?:", sample, re.MULTILINE)
    for number, issuer in enumerate(dict.fromkeys(issuers)):
        payload = every | {
            "iss": issuer.replace("*", "EXAMPLE0"),
            "aud": ["sigstore"] if number % 2 else "sigstore",
            "sub": "repo:example/project:ref:refs/heads/main",
            "iat": NOW,
            "nbf": NOW,
            "exp": NOW + 300,
            "email": "artist@example.com",
            "email_verified": True,
        }
        seed("claims", f"issuer-{number:02}", json.dumps(payload))
    seed("claims", "nested", '{"iss":"https://a.example","aud":["sigstore",[{}]],"exp":1e400,"sub":null}')


def templates():
    vectors = json.loads((TOKENS / "templates" / "vectors.json").read_text())

    def texts(value):
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            for one in value:
                yield from texts(one)
        elif isinstance(value, dict):
            for one in value.values():
                yield from texts(one)

    known = sorted({text for text in texts(vectors) if "{{" in text and "\0" not in text})
    values = "\0".join(["sha", "abc", "ref", "refs/heads/main", "empty", "", "event_name", "push"])
    for number, template in enumerate(known[:: max(1, len(known) // 60)]):
        seed("template", f"template-{number:02}", f"{template}\0{values}")


def public_keys():
    def one(name, key, proof):
        seed("public_key", name, len(key).to_bytes(2, "big") + key + proof)

    for file in sorted(KEYS.glob("*.pem")):
        text = file.read_bytes()
        if b"PUBLIC KEY" not in text or file.name.startswith("weak"):
            continue
        proof = file.with_suffix(".sig")
        proof = proof.read_bytes() if proof.exists() else b""
        one(file.stem, text, proof)
        body = b"".join(line for line in text.splitlines() if not line.startswith(b"-"))
        one(f"{file.stem}-der", base64.b64decode(body), proof)


def requests():
    token = (TOKENS / "signed" / "ES256.jwt").read_text().strip()
    key = (KEYS / "p256.pem").read_bytes()
    proof = base64.b64encode((KEYS / "p256.sig").read_bytes()).decode()
    csr = base64.b64encode((KEYS / "csr-p256-sha256.pem").read_bytes()).decode()
    public = {"publicKey": {"algorithm": "ECDSA", "content": key.decode()}, "proofOfPossession": proof}
    credentials = {"oidcIdentityToken": token}
    bodies = {
        "v2-key": {"credentials": credentials, "publicKeyRequest": public},
        "v2-csr": {"credentials": credentials, "certificateSigningRequest": csr},
        "v2-both": {"publicKeyRequest": public, "certificateSigningRequest": csr},
        "v2-snake": {
            "credentials": {"oidc_identity_token": token},
            "public_key_request": {
                "public_key": {"algorithm": 2, "content": key.decode()},
                "proof_of_possession": proof.replace("+", "-").replace("/", "_").rstrip("="),
            },
        },
        "v1-key": {
            "publicKey": {"content": base64.b64encode(key).decode(), "algorithm": "ecdsa"},
            "signedEmailAddress": proof,
        },
        "v1-csr": {"certificateSigningRequest": csr},
        "nulls": {"credentials": None, "publicKeyRequest": None, "certificateSigningRequest": None},
    }
    for name, body in bodies.items():
        seed("request", name, json.dumps(body))
    seed("request", "empty", b"")


def csrs():
    for file in sorted(KEYS.glob("csr-*.pem")):
        text = file.read_bytes()
        if file.stem in ("csr-p256-sha256", "csr-p256-new-label", "csr-rsa-2048-sha256"):
            seed("csr", file.stem, text)
        body = b"".join(line for line in text.splitlines() if not line.startswith(b"-"))
        seed("csr", f"{file.stem}-der", base64.b64decode(body))


def issuers():
    sample = (ROOT / "config" / "issuers.yaml").read_text()
    seed("issuers", "sample", sample)
    seed("issuers", "json", '{"OIDCIssuers":{"https://a.example":{"IssuerURL":"https://a.example","ClientID":"sigstore","Type":"email"}}}')
    seed("issuers", "email", "oidc-issuers:\n  https://a.example:\n    issuer-url: https://a.example\n    client-id: sigstore\n    type: email\n")
    seed("issuers", "meta", "meta-issuers:\n  https://*.a.example/id/*:\n    client-id: sigstore\n    type: email\n")
    seed("issuers", "aliases", "define: &u https://a.example\noidc-issuers:\n  *u:\n    issuer-url: *u\n    client-id: sigstore\n    type: email\n")
    seed("issuers", "bomb", "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\noidc-issuers: *c\n")


for make in (tokens, claims, templates, public_keys, csrs, requests, issuers, precertificates):
    make()
