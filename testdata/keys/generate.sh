#!/bin/sh
# Makes every fixture in this directory anew with the openssl command line (3.x) and weak.py.
# Private halves live in a temporary directory and are thrown away; what stays is what a client
# would send, plus one private key (private.pem) that must be refused as a public one.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -f ./*.pem ./*.sig challenge.txt fingerprints.txt

printf '%s' 'artist@example.com' > challenge.txt

# ---- Keys that are accepted, each with its proof over challenge.txt.
for bits in 2048 3072 4096; do
    openssl genpkey -algorithm RSA -pkeyopt "rsa_keygen_bits:$bits" -out "$work/rsa-$bits" 2>/dev/null
    openssl pkey -in "$work/rsa-$bits" -pubout -out "rsa-$bits.pem"
    openssl dgst -sha256 -sign "$work/rsa-$bits" -out "rsa-$bits.sig" challenge.txt
done
openssl rsa -in "$work/rsa-2048" -RSAPublicKey_out -out rsa-2048-pkcs1.pem 2>/dev/null
for curve in P-256:sha256 P-384:sha384 P-521:sha512; do
    name=$(printf '%s' "${curve%%:*}" | tr -d '-' | tr 'P' 'p')
    openssl genpkey -algorithm EC -pkeyopt "ec_paramgen_curve:${curve%%:*}" -out "$work/$name"
    openssl pkey -in "$work/$name" -pubout -out "$name.pem"
    openssl dgst "-${curve##*:}" -sign "$work/$name" -out "$name.sig" challenge.txt
done
openssl genpkey -algorithm ED25519 -out "$work/ed25519"
openssl pkey -in "$work/ed25519" -pubout -out ed25519.pem
openssl pkeyutl -sign -rawin -inkey "$work/ed25519" -in challenge.txt -out ed25519.sig

# ---- Proofs of an accepted key that are not the one signature asked for.
openssl dgst -sha384 -sign "$work/rsa-2048" -out rsa-2048-sha384.sig challenge.txt
openssl dgst -sha256 -sign "$work/rsa-2048" -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32 \
    -out rsa-2048-pss.sig challenge.txt
openssl dgst -sha256 -sign "$work/p521" -out p521-sha256.sig challenge.txt
openssl dgst -sha256 -sign "$work/p384" -out p384-sha256.sig challenge.txt

# ---- Keys that are refused.
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out "$work/rsa-1024" 2>/dev/null
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2056 -out "$work/rsa-2056" 2>/dev/null
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_pubexp:3 \
    -out "$work/rsa-e3" 2>/dev/null
openssl genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 -out "$work/rsa-pss-oid" 2>/dev/null
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-224 -out "$work/p224"
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1 -out "$work/secp256k1"
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:brainpoolP256r1 -out "$work/brainpool"
openssl genpkey -algorithm ED448 -out "$work/ed448"
openssl genpkey -algorithm X25519 -out "$work/x25519"
openssl genpkey -genparam -algorithm DSA -pkeyopt dsa_paramgen_bits:2048 \
    -pkeyopt dsa_paramgen_q_bits:256 -out "$work/dsa-parameters" 2>/dev/null
openssl genpkey -paramfile "$work/dsa-parameters" -out "$work/dsa" 2>/dev/null
for name in rsa-1024 rsa-2056 rsa-e3 rsa-pss-oid p224 secp256k1 brainpool ed448 x25519 dsa; do
    openssl pkey -in "$work/$name" -pubout -out "$name.pem"
done
openssl ec -in "$work/p256" -pubout -conv_form compressed -out p256-compressed.pem 2>/dev/null
openssl ec -in "$work/p256" -pubout -param_enc explicit -out p256-explicit.pem 2>/dev/null
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out private.pem
for name in rsa-1024 rsa-e3; do
    openssl dgst -sha256 -sign "$work/$name" -out "$name.sig" challenge.txt
done
python3 weak.py

# ---- Certificate signing requests, by key and signature hash.
request() { # key, hash, output, further options of `openssl req`
    key=$1 hash=$2 output=$3
    shift 3
    openssl req -new -key "$work/$key" "-$hash" -config requests.cnf -out "$output" "$@"
}
request rsa-2048 sha256 csr-rsa-2048-sha256.pem
request rsa-2048 sha384 csr-rsa-2048-sha384.pem
request rsa-2048 sha512 csr-rsa-2048-sha512.pem
request rsa-2048 sha1 csr-rsa-2048-sha1.pem
request rsa-2048 sha224 csr-rsa-2048-sha224.pem
for hash in sha256 sha384 sha512; do
    request rsa-2048 "$hash" "csr-rsa-2048-pss-$hash.pem" \
        -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:-1
done
request rsa-3072 sha256 csr-rsa-3072-sha256.pem
request rsa-4096 sha256 csr-rsa-4096-sha256.pem
request rsa-1024 sha256 csr-rsa-1024-sha256.pem
request p224 sha256 csr-p224-sha256.pem
for curve in p256 p384 p521; do
    for hash in sha256 sha384 sha512; do
        request "$curve" "$hash" "csr-$curve-$hash.pem"
    done
done
request p256 sha1 csr-p256-sha1.pem
request ed25519 sha512 csr-ed25519.pem
request ed448 sha512 csr-ed448.pem
request secp256k1 sha256 csr-secp256k1-sha256.pem
request dsa sha256 csr-dsa-sha256.pem
openssl req -new -newhdr -key "$work/p256" -sha256 -config requests.cnf -out csr-p256-new-label.pem

# ---- The same key under requests that ask for very different certificates.
request p256 sha256 csr-p256-bare.pem -subj /
request p256 sha256 csr-p256-greedy.pem -section greedy

# ---- What the accepted keys' SubjectPublicKeyInfo hash to.
for name in rsa-2048 rsa-3072 rsa-4096 p256 p384 p521 ed25519; do
    printf '%s %s\n' "$(openssl pkey -pubin -in $name.pem -outform DER | openssl dgst -sha256 -r | cut -c1-64)" $name
done > fingerprints.txt
