"""Sigstore's own Python client, unmodified, against a running Vouchsafe with a signature log and a
timestamp authority. `../run` starts them and says where they are; without that these tests fail."""

import base64
import copy
import json
import os
import subprocess
import sys
import tempfile
import unittest
import urllib.request
from pathlib import Path


def env(name):
    value = os.environ.get(name)
    assert value, f"{name} is not set: run tests/clients/run"
    return value


class Client(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.provider = env("VOUCHSAFE_PROVIDER")
        self.config = json.loads(Path(env("VOUCHSAFE_CLIENT_CONFIG")).read_text())
        self.artifact = self.directory / "artifact"
        self.artifact.write_bytes(b"what is to be signed\n")
        self.bundle = self.directory / "bundle.json"

    def token(self, path):
        with urllib.request.urlopen(f"{self.provider}/{path}") as reply:
            return reply.read().decode().strip()

    def sigstore(self, *arguments, config=None):
        """The program as its users call it; nothing of the environment leads it elsewhere."""
        trust = self.directory / "client_config.json"
        trust.write_text(json.dumps(config or self.config))
        command = [sys.executable, "-m", "sigstore", "--trust-config", trust, *arguments]
        home = {"HOME": str(self.directory), "PATH": os.environ["PATH"]}
        if "REQUESTS_CA_BUNDLE" in os.environ:
            home["REQUESTS_CA_BUNDLE"] = os.environ["REQUESTS_CA_BUNDLE"]
        return subprocess.run(command, capture_output=True, text=True, env=home, timeout=120)

    def sign(self, token, **options):
        return self.sigstore(
            "sign", "--identity-token", token, "--bundle", self.bundle, "--overwrite", self.artifact, **options
        )

    def verify(self, name, issuer, **options):
        return self.sigstore(
            "verify", "identity", "--bundle", self.bundle,
            "--cert-identity", name, "--cert-oidc-issuer", f"{self.provider}/{issuer}", self.artifact, **options,
        )  # fmt: skip

    def succeeds(self, outcome):
        self.assertEqual(outcome.returncode, 0, outcome.stdout + outcome.stderr)

    def fails(self, outcome, reason):
        output = outcome.stdout + outcome.stderr
        self.assertNotEqual(outcome.returncode, 0, output)
        # The program wraps its lines.
        self.assertIn(reason, " ".join(output.split()))

    def test_an_email_identity_cannot_sign_or_be_verified(self):
        self.succeeds(self.sign(self.token("email/token?email=python@example.com")))
        self.succeeds(self.verify("python@example.com", "email"))
        material = json.loads(self.bundle.read_text())["verificationMaterial"]
        self.assertEqual(len(material["tlogEntries"]), 1)
        self.assertEqual(len(material["timestampVerificationData"]["rfc3161Timestamps"]), 1)

    def test_a_ci_identity_cannot_sign_or_be_verified(self):
        self.succeeds(self.sign(self.token("github/token?repository=example-org/other")))
        name = "https://github.com/example-org/other/.github/workflows/release.yml@refs/heads/main"
        self.succeeds(self.verify(name, "github"))

    def test_a_service_account_cannot_sign_or_be_verified(self):
        self.succeeds(self.sign(self.token("google/token")))
        self.succeeds(self.verify("builder@example-project.iam.gserviceaccount.com", "google"))

    def test_another_name_issuer_or_artifact_verifies(self):
        self.succeeds(self.sign(self.token("email/token?email=python@example.com")))
        self.succeeds(self.verify("python@example.com", "email"))
        self.fails(self.verify("other@example.com", "email"), "Certificate's SANs do not match")
        self.fails(self.verify("python@example.com", "google"), "Certificate's OIDCIssuer does not match")
        self.artifact.write_bytes(b"something else\n")
        self.fails(self.verify("python@example.com", "email"), "digest mismatch")

    def test_a_certificate_of_a_log_that_is_not_trusted_is_taken(self):
        config = copy.deepcopy(self.config)
        other = subprocess.run(
            "openssl ecparam -name prime256v1 -genkey -noout | openssl ec -pubout -outform DER",
            shell=True, capture_output=True, check=True,
        ).stdout  # fmt: skip
        config["trustedRoot"]["ctlogs"][0]["publicKey"]["rawBytes"] = base64.b64encode(other).decode()
        self.fails(self.sign(self.token("email/token"), config=config), "SCT")
        self.succeeds(self.sign(self.token("email/token?email=python@example.com")))
        self.fails(self.verify("python@example.com", "email", config=config), "SCT")

    def test_the_services_count_without_being_in_the_trusted_root(self):
        self.succeeds(self.sign(self.token("email/token?email=python@example.com")))
        for service in ["tlogs", "timestampAuthorities"]:
            config = copy.deepcopy(self.config)
            config["trustedRoot"][service] = []
            outcome = self.verify("python@example.com", "email", config=config)
            self.assertNotEqual(outcome.returncode, 0, service)

    def test_a_bundle_of_another_client_is_refused(self):
        bundles = sorted(Path(env("VOUCHSAFE_BUNDLES")).glob("*.json"))
        for bundle in bundles:
            with self.subTest(bundle.stem):
                self.bundle.write_bytes(bundle.read_bytes())
                self.succeeds(self.verify(f"{bundle.stem}@example.com", "email"))
        print("of other clients:", *(bundle.stem for bundle in bundles), file=sys.stderr)

    def test_a_token_of_another_audience_is_taken(self):
        token = self.token("email/token?audience=elsewhere")
        outcome = self.sign(token)
        self.assertNotEqual(outcome.returncode, 0)
        # Told not to look at the audience itself, the client asks the authority.
        outcome = self.sigstore(
            "sign", "--oidc-client-id", "elsewhere", "--identity-token", token,
            "--bundle", self.bundle, self.artifact,
        )  # fmt: skip
        self.assertNotEqual(outcome.returncode, 0)
        self.assertFalse(self.bundle.exists())


if __name__ == "__main__":
    unittest.main()
