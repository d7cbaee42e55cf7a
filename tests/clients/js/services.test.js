// Sigstore's own JavaScript clients as their users run them: told by one file where everything is,
// with a signature log and a timestamp authority. `../run` starts them.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';

import { bundleFromJSON, bundleToJSON } from '@sigstore/bundle';
import { SigningConfig, TrustedRoot } from '@sigstore/protobuf-specs';
import { bundleBuilderFromSigningConfig } from '@sigstore/sign';
import { toSignedEntity, toTrustMaterial, Verifier } from '@sigstore/verify';

const ARTIFACT = Buffer.from('what is to be signed\n');

function env(name) {
  const value = process.env[name];
  assert.ok(value, `${name} is not set: run tests/clients/run`);
  return value;
}

let provider, config;

before(() => {
  provider = env('VOUCHSAFE_PROVIDER');
  config = JSON.parse(readFileSync(env('VOUCHSAFE_CLIENT_CONFIG'), 'utf8'));
});

async function sign(path, bundleType = 'messageSignature') {
  const getToken = async () => (await (await fetch(`${provider}/${path}`)).text()).trim();
  const builder = bundleBuilderFromSigningConfig({
    signingConfig: SigningConfig.fromJSON(config.signingConfig),
    identityProvider: { getToken },
    bundleType,
    fetchOptions: { retry: 0, timeout: 20_000 },
  });
  const bundle = await builder.create({ data: ARTIFACT, type: 'text/plain' });
  return bundleToJSON(bundle);
}

function verify(bundle, policy, root = config.trustedRoot) {
  const verifier = new Verifier(toTrustMaterial(TrustedRoot.fromJSON(root)), {
    ctlogThreshold: 1,
    tlogThreshold: 1,
    timestampThreshold: 1,
  });
  return verifier.verify(toSignedEntity(bundleFromJSON(bundle), ARTIFACT), policy);
}

test('an artefact cannot be signed and verified with every service', async () => {
  const bundle = await sign('email/token?email=js@example.com');
  assert.equal(bundle.verificationMaterial.tlogEntries.length, 1);
  assert.equal(bundle.verificationMaterial.timestampVerificationData.rfc3161Timestamps.length, 1);
  const extensions = { issuer: `${provider}/email` };
  verify(bundle, { subjectAlternativeName: 'js@example.com', extensions });
  assert.throws(() => verify(bundle, { subjectAlternativeName: 'other@example.com', extensions }));
});

test('the log or the timestamp counts without being in the trusted root', async () => {
  const bundle = await sign('email/token?email=js@example.com');
  verify(bundle);
  for (const service of ['tlogs', 'timestampAuthorities']) {
    const root = structuredClone(config.trustedRoot);
    root[service] = [];
    assert.throws(() => verify(bundle, undefined, root), service);
  }
  // For the other clients. Not the first entry of the log: this client leaves out members that are
  // zero, the entry's index too, and others want them.
  const bundles = process.env.VOUCHSAFE_BUNDLES;
  if (bundles) writeFileSync(join(bundles, 'js.json'), JSON.stringify(bundle));
});
