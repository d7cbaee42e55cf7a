// Sigstore's own JavaScript clients, unmodified, against a running Vouchsafe. `../run` starts one and
// says where it is; without that these tests fail.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { bundleFromJSON, bundleToJSON } from '@sigstore/bundle';
import { ClientTrustConfig, SigningConfig, TrustedRoot } from '@sigstore/protobuf-specs';
import { DSSEBundleBuilder, FulcioSigner, MessageSignatureBundleBuilder } from '@sigstore/sign';
import { toSignedEntity, toTrustMaterial, Verifier } from '@sigstore/verify';

const ARTIFACT = Buffer.from('what is to be signed\n');
const TIMESTAMP = fileURLToPath(new URL('../timestamp', import.meta.url));

function env(name) {
  const value = process.env[name];
  assert.ok(value, `${name} is not set: run tests/clients/run`);
  return value;
}

let url, provider, trustedRoot, directory;

before(() => {
  url = env('VOUCHSAFE_URL');
  provider = env('VOUCHSAFE_PROVIDER');
  trustedRoot = JSON.parse(readFileSync(env('VOUCHSAFE_TRUSTED_ROOT'), 'utf8'));
  directory = mkdtempSync(join(tmpdir(), 'vouchsafe-js-'));
  const authority = execFileSync(TIMESTAMP, ['authority', directory], { encoding: 'utf8' });
  trustedRoot.timestampAuthorities.push(JSON.parse(authority));
});

after(() => rmSync(directory, { recursive: true, force: true }));

async function token(path) {
  const response = await fetch(provider + path);
  assert.equal(response.status, 200);
  return (await response.text()).trim();
}

const signer = (path) =>
  new FulcioSigner({
    fulcioBaseURL: url,
    identityProvider: { getToken: () => token(path) },
    retry: 0,
    timeout: 10_000,
  });

// Witnesses what it is shown with a timestamp. The client's own speaks a protocol of one server.
const witness = {
  async testify(content) {
    const signature =
      content.$case === 'messageSignature'
        ? content.messageSignature.signature
        : content.dsseEnvelope.signatures[0].sig;
    const file = join(directory, `signature-${Math.random()}`);
    writeFileSync(file, signature);
    const stamp = execFileSync(TIMESTAMP, ['stamp', directory, file], { encoding: 'utf8' });
    return { rfc3161Timestamps: [{ signedTimestamp: Buffer.from(stamp, 'base64') }] };
  },
};

async function sign(path, Builder = MessageSignatureBundleBuilder) {
  const builder = new Builder({ signer: signer(path), witnesses: [witness] });
  const bundle = await builder.create({ data: ARTIFACT, type: 'text/plain' });
  // Through its written form, as it would travel.
  return bundleFromJSON(JSON.parse(JSON.stringify(bundleToJSON(bundle))));
}

function verify(bundle, root, policy) {
  const material = toTrustMaterial(TrustedRoot.fromJSON(root));
  // No signature log is part of a certificate authority; the timestamp and the promise of the
  // certificate's log remain required.
  const verifier = new Verifier(material, { tlogThreshold: 0 });
  return verifier.verify(toSignedEntity(bundle, ARTIFACT), policy);
}

test('an e-mail identity signs, and its chain, SCT, name and issuer verify', async () => {
  const bundle = await sign('/email/token?email=js@example.com');
  const result = verify(bundle, trustedRoot, {
    subjectAlternativeName: 'js@example.com',
    extensions: { issuer: `${provider}/email` },
  });
  assert.equal(result.identity.subjectAlternativeName, 'js@example.com');
});

test('a CI identity signs an attestation, and its name and issuer verify', async () => {
  const bundle = await sign('/github/token', DSSEBundleBuilder);
  const result = verify(bundle, trustedRoot, { extensions: { issuer: `${provider}/github` } });
  const name = result.identity.subjectAlternativeName;
  assert.match(name, /^https:\/\/.*\/example-org\/example-repo\/\.github\/workflows\/release\.yml@refs\/heads\/main$/);
});

test('another name and another issuer are refused', async () => {
  const bundle = await sign('/email/token?email=js@example.com');
  const refused = { code: 'UNTRUSTED_SIGNER_ERROR' };
  const name = { subjectAlternativeName: '^other@example\\.com$' };
  assert.throws(() => verify(bundle, trustedRoot, name), refused);
  const issuer = { extensions: { issuer: `${provider}/google` } };
  assert.throws(() => verify(bundle, trustedRoot, issuer), refused);
});

test('the SCT counts: with another log key in the trusted root nothing verifies', async () => {
  const bundle = await sign('/email/token');
  verify(bundle, trustedRoot);
  const other = structuredClone(trustedRoot);
  const { publicKey } = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign']);
  const spki = Buffer.from(await crypto.subtle.exportKey('spki', publicKey));
  other.ctlogs[0].publicKey.rawBytes = spki.toString('base64');
  assert.throws(() => verify(bundle, other), { code: 'CERTIFICATE_ERROR' });
  other.ctlogs = [];
  assert.throws(() => verify(bundle, other), { code: 'CERTIFICATE_ERROR' });
});

test('a token of another audience is refused with the reason in the reply', async () => {
  const data = ARTIFACT;
  await assert.rejects(signer('/email/token?audience=elsewhere').sign(data), (error) => {
    assert.equal(error.code, 'CA_CREATE_SIGNING_CERTIFICATE_ERROR');
    assert.equal(error.cause.statusCode, 400);
    assert.match(error.cause.message, /identity token/);
    return true;
  });
});

test('the other trust files are what the specification knows', async () => {
  const load = async (name) => (await fetch(`${url}/trust/${name}`)).json();
  const signing = await load('signing-config');
  const parsed = SigningConfig.fromJSON(signing);
  assert.equal(parsed.caUrls[0].url, url);
  assert.equal(parsed.caUrls[0].majorApiVersion, 1);
  // Nothing is lost when the specification's own code reads and writes them.
  assert.deepEqual(SigningConfig.toJSON(parsed), asWritten(signing));
  const both = await load('client-config');
  assert.deepEqual(both.signingConfig, signing);
  assert.deepEqual(ClientTrustConfig.toJSON(ClientTrustConfig.fromJSON(both)), asWritten(both));
});

// The specification's writer leaves out empty lists and empty strings, and writes milliseconds.
function asWritten(value) {
  if (Array.isArray(value)) return value.map(asWritten);
  if (typeof value === 'string') return value.replace(/^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)Z$/, '$1.000Z');
  if (value === null || typeof value !== 'object') return value;
  const kept = Object.entries(value).filter(([, v]) => v !== '' && !(Array.isArray(v) && v.length === 0));
  return Object.fromEntries(kept.map(([k, v]) => [k, asWritten(v)]));
}
