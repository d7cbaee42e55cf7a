"""The log as others keep it and vouch for it: in an object store, behind a plain web server, by a witness.

Everything is read by code of its own, from the bytes up; nothing here is the program's.
"""

import base64
import functools
import hashlib
import http.client
import http.server
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import boto3
import botocore.exceptions
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

VOUCHSAFE, LITEWITNESS = sys.argv[1:]
WITNESS = "witness.test/one"
BUCKET = "logs"
KEYS = ("AKIDEXAMPLE", "a secret for a store in memory")
PATIENCE = 60


def main():
    with tempfile.TemporaryDirectory() as directory:
        stage = Stage(Path(directory))
        try:
            stage.play()
        except BaseException:
            stage.tell()
            raise
        finally:
            stage.close()
    print("the published log: all of it checked")


class Stage:
    def __init__(self, work):
        self.work = work
        self.processes = []
        self.at = work / "deployment"
        self.port, self.s3_port, self.witness_port, self.spare, self.metrics_port = free_ports(5)
        self.origin = f"127.0.0.1:{self.port}/log"
        self.s3_url = f"http://127.0.0.1:{self.s3_port}"
        self.server = None
        self.moto = None
        self.issued = 0

    # What runs.

    def start(self, name, *command, **options):
        output = open(self.work / f"{name}.log", "ab")
        process = subprocess.Popen([str(part) for part in command], stdout=output, stderr=output, **options)
        self.processes.append(process)
        return process

    def close(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.kill()
            process.wait()

    def tell(self):
        for log in sorted(self.work.glob("*.log")):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-4000:]}", file=sys.stderr)

    def run(self, *command):
        done = subprocess.run([VOUCHSAFE, *map(str, command)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def start_moto(self):
        moto = Path(sys.executable).with_name("moto_server")
        self.moto = self.start("moto", moto, "-H", "127.0.0.1", "-p", self.s3_port)
        self.s3 = boto3.client(
            "s3", endpoint_url=self.s3_url, region_name="us-east-1",
            aws_access_key_id=KEYS[0], aws_secret_access_key=KEYS[1],
        )
        until("the store", lambda: self.s3.create_bucket(Bucket=BUCKET))

    def start_witness(self, log_key):
        socket_path, database = self.work / "agent", self.work / "witness.db"
        self.start("agent", "ssh-agent", "-D", "-a", socket_path)
        until("the agent", socket_path.exists)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.work / "key"], check=True)
        environment = {**os.environ, "SSH_AUTH_SOCK": str(socket_path)}
        subprocess.run(["ssh-add", "-q", self.work / "key"], check=True, env=environment)
        told = subprocess.run(["ssh-keygen", "-lf", self.work / "key.pub"], capture_output=True, text=True, check=True)
        self.start(
            "witness", LITEWITNESS, "-db", database, "-name", WITNESS, "-key", told.stdout.split()[1],
            "-ssh-agent", socket_path, "-listen", f"127.0.0.1:{self.witness_port}",
        )
        key = until("the witness", lambda: verifier_key_in((self.work / "witness.log").read_text()))
        # What its own tool for this would do, which cannot be had.
        with sqlite3.connect(database) as connection:
            empty = base64.b64encode(hashlib.sha256().digest()).decode()
            connection.execute("INSERT INTO log VALUES (?, 0, ?)", (self.origin, empty))
            connection.execute("INSERT INTO key VALUES (?, ?)", (self.origin, log_key))
        connection.close()
        return key

    def serve(self):
        self.server = self.start("server", VOUCHSAFE, "serve", "--config", self.at / "vouchsafe.yaml")
        until("the server", lambda: fetch(f"http://127.0.0.1:{self.port}/readyz"), self.server)

    def refused(self):
        """What the server says that does not start."""
        command = [VOUCHSAFE, "serve", "--config", self.at / "vouchsafe.yaml"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode != 0, "it starts"
        return done.stdout + done.stderr

    def configure(self, lines):
        base = (self.work / "base.yaml").read_text()
        (self.at / "vouchsafe.yaml").write_text(base.replace("log:\n", "log:\n" + lines, 1))

    def issue(self, count):
        for _ in range(count):
            key = ec.generate_private_key(ec.SECP256R1())
            email = f"log{self.issued}@example.com"
            token = fetch(f"{self.provider}/email/token?email={email}").decode().strip()
            public = key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            proof = key.sign(email.encode(), ec.ECDSA(hashes.SHA256()))
            body = {
                "credentials": {"oidcIdentityToken": token},
                "publicKeyRequest": {
                    "publicKey": {"algorithm": "ECDSA", "content": public.decode()},
                    "proofOfPossession": base64.b64encode(proof).decode(),
                },
            }
            url = f"http://127.0.0.1:{self.port}/api/v2/signingCert"
            request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
            with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
                assert reply.status == 200
            self.issued += 1

    def metrics(self):
        text = fetch(f"http://127.0.0.1:{self.metrics_port}/metrics").decode()
        assert "vouchsafe_log_published_size" in text
        return text

    # Readers.

    def in_bucket(self, path):
        try:
            return self.s3.get_object(Bucket=BUCKET, Key=f"prod/log/{path}")["Body"].read()
        except self.s3.exceptions.NoSuchKey:
            raise Missing(path) from None

    def published(self, read, size, cosigned=True):
        """Waits until so much is published, and checks it whole."""

        def is_there():
            tree = read_log(read, self.origin, self.log_key, self.note_key, self.witness_key)
            enough = tree["size"] >= size and (tree["cosigned"] or not cosigned)
            return tree if enough else None

        return until(f"{size} published entries", is_there, seldom=True)

    # What happens.

    def play(self):
        self.start("dev", VOUCHSAFE, "dev", "--listen", f"127.0.0.1:{self.spare}", "--dir", self.work / "dev")
        self.provider = until("the provider", lambda: json.loads((self.work / "dev/dev.json").read_text()))["provider"]
        address = f"127.0.0.1:{self.port}"
        self.run("init", "--dir", self.at, "--public-url", f"http://{address}", "--listen", address)
        shutil.copy(self.work / "dev/issuers.yaml", self.at)
        shutil.copy(self.at / "vouchsafe.yaml", self.work / "base.yaml")
        with open(self.work / "base.yaml", "a") as settings:
            settings.write(f"\nmetrics-listen: 127.0.0.1:{self.metrics_port}")
            settings.write("\ndevelopment: {allow-http-loopback-issuers: true}\n")
        (self.at / "keys").write_text(f"[default]\naws_access_key_id={KEYS[0]}\naws_secret_access_key={KEYS[1]}\n")
        self.configure("")
        told = self.run("check", "--config", self.at / "vouchsafe.yaml")
        verifier = told.split("witnesses know the log as ")[1].split()[0]
        self.note_key = note_key(verifier, self.origin, 1)
        root = json.loads(self.run("trust", "trusted-root", "--config", self.at / "vouchsafe.yaml"))
        self.log_key = base64.b64decode(root["ctlogs"][0]["publicKey"]["rawBytes"])
        self.start_moto()
        cosigner = self.start_witness(verifier)
        self.witness_key = note_key(cosigner, WITNESS, 4)
        witness = f"  witnesses: [{{url: 'http://127.0.0.1:{self.witness_port}', public-key: {cosigner}, allow-http-loopback: true}}]\n"
        bucket = published_at(self.s3_url)
        self.configure(bucket + witness)

        self.serve()
        self.issue(5)
        self.published(self.in_bucket, 5)
        served = functools.partial(over_http, f"http://{self.origin}")
        self.published(served, 5)
        kind = self.s3.head_object(Bucket=BUCKET, Key="prod/log/checkpoint")
        assert kind["ContentType"] == "text/plain; charset=utf-8", kind
        print("published to the store, cosigned, and read back")

        # Another publisher that is behind puts its checkpoint between the server's look and its put.
        behind = self.in_bucket("checkpoint")
        self.issue(2)
        self.published(self.in_bucket, self.issued)
        self.stop()
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Meddler) as meddler:
            meddler.stage, meddler.behind, meddler.statuses = self, behind, []
            threading.Thread(target=meddler.serve_forever, daemon=True).start()
            self.configure(published_at(f"http://127.0.0.1:{meddler.server_port}") + witness)
            self.serve()
            self.issue(2)
            until("a refused checkpoint", lambda: 412 in meddler.statuses)
            self.published(self.in_bucket, self.issued)
            self.stop()
            meddler.shutdown()
        assert meddler.statuses[0] == 412, meddler.statuses
        self.configure(bucket + witness)
        self.serve()
        print("a checkpoint that another publisher exchanged was not written over unseen")

        for round in range(3):
            stop = threading.Timer(0.3 + round * 0.4, self.server.kill)
            stop.start()
            try:
                while True:
                    self.issue(1)
            except (OSError, urllib.error.URLError):
                pass
            stop.join()
            self.server.wait()
            read_log(self.in_bucket, self.origin, self.log_key, self.note_key, self.witness_key)
            self.serve()
            self.published(self.in_bucket, self.issued)
        print(f"killed three times while publishing: {self.issued} entries, none missing")

        self.moto.kill()
        self.moto.wait()
        before = self.issued
        self.issue(5)
        # Not before the publisher has felt it.
        until("a failure", lambda: "vouchsafe_log_publish_failures_total 0\n" not in self.metrics())
        self.start_moto()
        self.published(self.in_bucket, before + 5)
        print("the store away and back, empty: issued all the while, and published from the beginning")

        self.stop()
        backup = self.work / "backup.sqlite"
        shutil.copy(self.at / "log/log.sqlite", backup)
        self.serve()
        self.issue(3)
        self.published(self.in_bucket, self.issued)
        self.stop()
        newest = self.work / "newest.sqlite"
        shutil.copy(self.at / "log/log.sqlite", newest)
        mark = (self.at / "high-water").read_bytes()
        shutil.copy(backup, self.at / "log/log.sqlite")
        for guard, settings in [("high-water", ""), ("what is published", bucket), ("the witness", witness)]:
            self.configure(settings)
            if guard == "what is published":
                # From here on the mark remembers no more than the backup.
                (self.at / "high-water").unlink()
                self.run("log", "adopt", "--config", self.at / "vouchsafe.yaml")
            told = self.refused()
            assert guard in told and "docs/log.md" in told, told
        shutil.copy(newest, self.at / "log/log.sqlite")
        (self.at / "high-water").write_bytes(mark)
        print("an older database refused by each of mark, store and witness alone")

        self.configure("  publish: {to: public/log}\n" + witness)
        self.serve()
        self.issue(3)
        handler = functools.partial(QuietHandler, directory=self.at / "public")
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
            threading.Thread(target=web.serve_forever, daemon=True).start()
            plain = functools.partial(over_http, f"http://127.0.0.1:{web.server_port}/log")
            self.published(plain, self.issued)
            web.shutdown()
        print("a directory behind a plain web server is the log")
        self.stop()

    def stop(self):
        self.server.send_signal(signal.SIGTERM)
        assert self.server.wait(timeout=PATIENCE) == 0


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Meddler(QuietHandler):
    """The store, but that somebody else exchanges the checkpoint just before it is first put."""

    def pass_on(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        is_checkpoint = self.command == "PUT" and self.path.endswith("/checkpoint")
        server = self.server
        meddles = is_checkpoint and not server.statuses
        if meddles:
            server.stage.s3.put_object(Bucket=BUCKET, Key="prod/log/checkpoint", Body=server.behind)
        upstream = http.client.HTTPConnection("127.0.0.1", server.stage.s3_port, timeout=PATIENCE)
        upstream.request(self.command, self.path, body, dict(self.headers))
        reply = upstream.getresponse()
        content = reply.read()
        upstream.close()
        if meddles:
            assert server.stage.in_bucket("checkpoint") == server.behind, "written over unseen"
        if is_checkpoint:
            server.statuses.append(reply.status)
        self.send_response(reply.status)
        for name, value in reply.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.send_header("content-length", reply.getheader("content-length") or str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = pass_on


def published_at(url):
    """The setting that publishes to a store at this address."""
    return (
        f"  publish: {{to: 's3://{BUCKET}/prod/log', endpoint: '{url}', region: us-east-1, "
        "path-style: true, credentials: keys, allow-http-loopback: true}\n"
    )


class Missing(Exception):
    pass


def over_http(base, path):
    try:
        return fetch(f"{base}/{path}")
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise Missing(path) from None
        raise


def fetch(url):
    with urllib.request.urlopen(url, timeout=PATIENCE) as reply:
        return reply.read()


def until(what, attempt, process=None, seldom=False):
    """Tries until something comes, but not for ever. A published log that is wrong is never retried:
    its faults are assertions."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            found = attempt()
            if found is not None and found is not False:
                return found
        except (OSError, ValueError, Missing, urllib.error.URLError, botocore.exceptions.BotoCoreError) as error:
            last = error
        else:
            last = None
        assert process is None or process.poll() is None, f"{what}: it ended"
        assert time.monotonic() < deadline, f"{what}: not after {PATIENCE} s ({last})"
        time.sleep(0.3 if seldom else 0.1)


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def verifier_key_in(text):
    for word in text.split():
        if word.startswith("vkey="):
            return word.removeprefix("vkey=").strip('"')
    return None


# The log's formats.


def key_id(name, kind, key):
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + key).digest()[:4]


def note_key(text, name, kind):
    """C2SP signed-note: NAME+HASH+KEY."""
    found, digest, encoded = text.split("+", 2)
    blob = base64.b64decode(encoded)
    assert found == name and blob[0] == kind, text
    assert key_id(name, kind, blob[1:]).hex() == digest, text
    return blob[1:]


def read_log(read, origin, log_key, note, witness):
    """C2SP static-ct-api: the checkpoint, then everything it stands for."""
    text, _, lines = read("checkpoint").decode().partition("\n\n")
    text += "\n"
    name, size, root = text.splitlines()
    assert name == origin
    size, root = int(size), base64.b64decode(root)
    signatures = {}
    for line in lines.splitlines():
        mark, signer, blob = line.split(" ")
        assert mark == "\u2014"
        blob = base64.b64decode(blob)
        signatures[signer, blob[:4]] = blob[4:]

    log_id = hashlib.sha256(log_key).digest()
    head = signatures[origin, key_id(origin, 5, log_id)]
    stamp, algorithm, length = head[:8], head[8:10], int.from_bytes(head[10:12])
    assert algorithm == b"\x04\x03" and length == len(head) - 12
    signed = b"\0\1" + stamp + size.to_bytes(8) + root
    serialization.load_der_public_key(log_key).verify(head[12:], signed, ec.ECDSA(hashes.SHA256()))
    second = signatures[origin, key_id(origin, 1, note)]
    ed25519.Ed25519PublicKey.from_public_bytes(note).verify(second, text.encode())
    cosignature = signatures.get((WITNESS, key_id(WITNESS, 4, witness)))
    if cosignature is not None:
        seconds = int.from_bytes(cosignature[:8])
        message = f"cosignature/v1\ntime {seconds}\n{text}".encode()
        ed25519.Ed25519PublicKey.from_public_bytes(witness).verify(cosignature[8:], message)

    # From here on a missing file is a fault: the checkpoint has promised it.
    try:
        leaves = []
        for n in range((size + 255) // 256):
            width = min(256, size - n * 256)
            data = read(tile("data", n, width))
            hashed = read(tile("0", n, width))
            for index in range(n * 256, n * 256 + width):
                leaf, chain, data = split_leaf(data, index)
                digest = hashlib.sha256(b"\0" + leaf).digest()
                assert hashed[:32] == digest, f"entry {index}"
                hashed = hashed[32:]
                leaves.append(digest)
                for fingerprint in chain:
                    issuer = read(f"issuer/{fingerprint.hex()}")
                    assert hashlib.sha256(issuer).digest() == fingerprint
            assert not data and not hashed
    except Missing as missing:
        raise AssertionError(f"the checkpoint of {size} entries is there, {missing} is not") from None
    assert merkle_root(leaves) == root, f"the root of {size} entries"
    return {"size": size, "cosigned": cosignature is not None}


def tile(kind, n, width):
    assert n < 1000
    return f"tile/{kind}/{n:03}" + (f".p/{width}" if width < 256 else "")


def split_leaf(data, index):
    """A TileLeaf of a precertificate: the MerkleTreeLeaf, the fingerprints above it, the rest."""
    assert data[8:10] == b"\0\1"
    at = 42 + 3 + int.from_bytes(data[42:45])
    extensions = int.from_bytes(data[at:at + 2])
    assert data[at + 2:at + 2 + extensions] == b"\0\0\5" + index.to_bytes(5)
    end = at + 2 + extensions
    leaf = b"\0\0" + data[:end]
    end += 3 + int.from_bytes(data[end:end + 3])
    length = int.from_bytes(data[end:end + 2])
    chain = data[end + 2:end + 2 + length]
    assert length % 32 == 0 and len(chain) == length
    return leaf, [chain[at:at + 32] for at in range(0, length, 32)], data[end + 2 + length:]


def merkle_root(leaves):
    """RFC 6962 section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + merkle_root(leaves[:k]) + merkle_root(leaves[k:])).digest()


main()
