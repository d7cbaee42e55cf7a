#!/usr/bin/env python3
"""Writes tokens signed by OpenSSL, one for each accepted algorithm, and the key set that verifies
them. The private keys are made for the occasion and thrown away. Run it in its own directory."""

import base64, json, pathlib, subprocess, tempfile

CLAIMS = {"iss": "https://issuer.example", "aud": "sigstore", "sub": "somebody", "exp": 1700000300}


def openssl(*arguments, feed=None):
    return subprocess.run(["openssl", *arguments], input=feed, check=True, capture_output=True).stdout


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def bit_string(spki):
    """The public key at the end of a SubjectPublicKeyInfo."""
    text = openssl("asn1parse", "-inform", "DER", feed=spki).decode()
    line = [line for line in text.splitlines() if "BIT STRING" in line][-1]
    offset = int(line.split(":")[0]) + int(line.split("hl=")[1].split()[0])
    return spki[offset + 1:]


def integers(der):
    """The integers of a DER sequence of integers."""
    text = openssl("asn1parse", "-inform", "DER", feed=der).decode()
    return [int(line.rsplit(":", 1)[1], 16) for line in text.splitlines() if "INTEGER" in line]


with tempfile.TemporaryDirectory() as directory:
    keys = []

    def make(kid, *arguments):
        path = f"{directory}/{kid}.pem"
        openssl("genpkey", "-out", path, *arguments)
        spki = openssl("pkey", "-in", path, "-pubout", "-outform", "DER")
        return path, bit_string(spki)

    def write(name, kid, message_signature):
        header = {"alg": name, "kid": kid, "typ": "JWT"}
        signed = b64(json.dumps(header).encode()) + "." + b64(json.dumps(CLAIMS).encode())
        token = signed + "." + b64(message_signature(signed.encode()))
        pathlib.Path(f"{name}.jwt").write_text(token)

    rsa, public = make("rsa", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
    modulus, exponent = integers(public)
    keys.append({"kty": "RSA", "kid": "rsa", "use": "sig", "e": b64(exponent.to_bytes(3, "big")),
                 "n": b64(modulus.to_bytes(256, "big"))})
    pss = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"]
    for size in ("256", "384", "512"):
        sign = lambda extra: lambda m: openssl("dgst", f"-sha{size}", "-sign", rsa, *extra, feed=m)
        write(f"RS{size}", "rsa", sign([]))
        write(f"PS{size}", "rsa", sign(pss))
    for size, width in (("256", 32), ("384", 48)):
        path, public = make(f"ec{size}", "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:P-{size}")
        keys.append({"kty": "EC", "crv": f"P-{size}", "kid": f"ec{size}", "alg": f"ES{size}",
                     "x": b64(public[1:1 + width]), "y": b64(public[1 + width:])})
        halves = lambda m: b"".join(number.to_bytes(width, "big") for number in
                                    integers(openssl("dgst", f"-sha{size}", "-sign", path, feed=m)))
        write(f"ES{size}", f"ec{size}", halves)
    path, public = make("ed", "-algorithm", "ED25519")
    keys.append({"kty": "OKP", "crv": "Ed25519", "kid": "ed", "key_ops": ["verify"], "x": b64(public)})

    def ed25519(message):
        pathlib.Path(f"{directory}/message").write_bytes(message)
        return openssl("pkeyutl", "-sign", "-inkey", path, "-rawin", "-in", f"{directory}/message")

    write("EdDSA", "ed", ed25519)
    pathlib.Path("keys.json").write_text(json.dumps({"keys": keys}, indent=1) + "\n")
