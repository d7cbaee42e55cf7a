#!/usr/bin/env python3
"""RSA public keys whose factors are known to be findable, as SubjectPublicKeyInfo PEM files.

Seeded, so every run writes the same files. Standard library only."""

import base64
import random

RANDOM = random.Random(20240229)
SMALL = [p for p in range(2, 2000) if all(p % d for d in range(2, int(p**0.5) + 1))]


def is_prime(n, rounds=24):
    for p in SMALL:
        if n % p == 0:
            return n == p
    d, s = n - 1, 0
    while d % 2 == 0:
        d, s = d // 2, s + 1
    for _ in range(rounds):
        x = pow(RANDOM.randrange(2, n - 1), d, n)
        if x in (1, n - 1):
            continue
        for _ in range(s - 1):
            x = x * x % n
            if x == n - 1:
                break
        else:
            return False
    return True


def prime(bits):
    """A prime with its two highest bits set, so that two of them multiply to 2 * bits bits."""
    while True:
        p = RANDOM.getrandbits(bits) | 3 << (bits - 2) | 1
        if is_prime(p):
            return p


def next_prime(n):
    n += 1 + n % 2
    while not is_prime(n):
        n += 2
    return n


def roca_prime(bits, primes):
    """k * M + (65537^a mod M): the shape of CVE-2017-15361, M the product of the first primes."""
    m = 1
    for p in SMALL[:primes]:
        m *= p
    while True:
        p = (RANDOM.getrandbits(bits) | 3 << (bits - 2)) // m * m + pow(65537, RANDOM.randrange(m), m)
        if p.bit_length() == bits and is_prime(p):
            return p


def tlv(tag, *values):
    value = b"".join(values)
    size = len(value)
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag]) + (bytes([size]) if size < 128 else bytes([128 | len(octets)]) + octets) + value


def integer(n):
    return tlv(2, n.to_bytes(n.bit_length() // 8 + 1, "big"))


def write(name, modulus, bits, exponent=65537):
    assert modulus.bit_length() == bits, (name, modulus.bit_length())
    rsa_encryption = tlv(0x30, bytes.fromhex("06092a864886f70d0101010500"))
    key = tlv(0x30, integer(modulus), integer(exponent))
    der = tlv(0x30, rsa_encryption, tlv(3, b"\0", key))
    text = base64.encodebytes(der).decode().replace("\n", "")
    lines = "\n".join(text[i : i + 64] for i in range(0, len(text), 64))
    with open(name, "w") as file:
        file.write(f"-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n")


for bits in (2048, 4096):
    p = prime(bits // 2)
    write(f"weak-close-{bits}.pem", p * next_prime(p), bits)

# Far enough apart that the first guess fails, near enough for a later round.
p = prime(1024)
for gap in range(511, 530):
    q = next_prime(p + (1 << gap))
    a = (p + q) // 2
    n = p * q
    floor = a
    # Integer square root by Newton's method, from above.
    while True:
        better = (floor + n // floor) // 2
        if better >= floor:
            break
        floor = better
    if 20 < a - floor <= 100:
        write("weak-close-later-round-2048.pem", n, 2048)
        break
else:
    raise SystemExit("no gap fits")

p = prime(1024)
write("weak-square-2048.pem", p * p, 2048)

for bits, primes in ((2048, 126), (3072, 126), (4096, 225)):
    write(f"weak-roca-{bits}.pem", roca_prime(bits // 2, primes) * roca_prime(bits // 2, primes), bits)

for factor in (2, 3, 751):
    sizes = (2049 - factor.bit_length(), 2048 - factor.bit_length())
    n = next(n for n in (factor * prime(size) for size in sizes) if n.bit_length() == 2048)
    write(f"weak-factor-{factor}-2048.pem", n, 2048)

# One bit short of a permitted size, the same number of octets.
while True:
    p, q = prime(1024), prime(1023)
    if (p * q).bit_length() == 2047:
        break
write("weak-2047.pem", p * q, 2047)

p, q = prime(1024), prime(1024)
write("weak-exponent-65539-2048.pem", p * q, 2048, 65539)
write("weak-exponent-1-2048.pem", p * q, 2048, 1)
write("weak-exponent-huge-2048.pem", p * q, 2048, 65537 + (1 << 64))
