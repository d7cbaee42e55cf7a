//! RSA keys whose private half is within reach of anyone who looks.
//!
//! The rules are the public Web PKI's: three sizes, one exponent, and the three flaws that key
//! generators have had in the field. Public values only, so variable-time arithmetic is fine.

use std::sync::LazyLock;

use num_bigint::BigUint;

use super::{KeyAlgorithm, Weakness};

/// Checks a modulus and exponent, both unsigned, big-endian and without leading zeros.
pub(super) fn check_rsa(modulus: &[u8], exponent: &[u8]) -> Result<KeyAlgorithm, Weakness> {
    let n = BigUint::from_bytes_be(modulus);
    let algorithm = match n.bits() {
        2048 => KeyAlgorithm::Rsa2048,
        3072 => KeyAlgorithm::Rsa3072,
        4096 => KeyAlgorithm::Rsa4096,
        bits => return Err(Weakness::ModulusSize { bits }),
    };
    if exponent != EXPONENT {
        return Err(Weakness::Exponent);
    }
    let residues = Residues::of(&n);
    if let Some(prime) = residues.zero() {
        return Err(Weakness::SmallFactor { prime });
    }
    if residues.are_roca() {
        return Err(Weakness::Roca);
    }
    if has_close_factors(&n) {
        return Err(Weakness::ClosePrimes);
    }
    Ok(algorithm)
}

/// Whether a modulus, big-endian, comes from the generator whose keys can be factored
/// (CVE-2017-15361).
pub fn is_roca(modulus: &[u8]) -> bool {
    Residues::of(&BigUint::from_bytes_be(modulus)).are_roca()
}

/// A number modulo each small prime.
struct Residues(Vec<(u32, u32)>);

impl Residues {
    /// One long division by the product of all the primes, then short ones.
    fn of(n: &BigUint) -> Self {
        let rest = n % &SMALL_PRIMES.product;
        let words = rest.to_u32_digits();
        let residue = |prime: u32| {
            words.iter().rev().fold(0, |high, &word| {
                let prime = u64::from(prime);
                ((high << 32) | u64::from(word)) % prime
            }) as u32
        };
        Self(
            SMALL_PRIMES
                .primes
                .iter()
                .map(|&prime| (prime, residue(prime)))
                .collect(),
        )
    }

    /// The smallest prime that divides.
    fn zero(&self) -> Option<u32> {
        self.0
            .iter()
            .find_map(|&(prime, residue)| (residue == 0).then_some(prime))
    }

    /// Whether the number is a power of 65537 modulo every prime up to 167.
    ///
    /// Primes of the flawed generator have the form k * M + (65537^a mod M), M the product of at
    /// least the first 39 primes, so their product is a power of 65537 modulo each of those. Of
    /// good moduli fewer than one in 2^27 looks so.
    fn are_roca(&self) -> bool {
        self.0
            .iter()
            .take_while(|&&(prime, _)| prime <= ROCA_LARGEST)
            .all(|&(prime, residue)| is_power_of_65537(residue, prime))
    }
}

fn is_power_of_65537(residue: u32, prime: u32) -> bool {
    let generator = 65537 % prime;
    let mut power = 1 % prime;
    // The powers come round within prime - 1 steps.
    for _ in 1..prime {
        if power == residue {
            return true;
        }
        power = power * generator % prime;
    }
    false
}

/// Fermat's method: n = a² - b² = (a + b)(a - b), tried for a from the square root of n upwards,
/// where close factors are found at once.
fn has_close_factors(n: &BigUint) -> bool {
    let root = n.sqrt();
    if &root * &root == *n {
        return true;
    }
    let a = root + 1_u32;
    let mut b_squared = &a * &a - n;
    // (a + 1)² - a² = 2a + 1, and two more for each a after.
    let mut step = (a << 1) + 1_u32;
    for _ in 0..FERMAT_ROUNDS {
        if is_square(&b_squared) {
            return true;
        }
        b_squared += &step;
        step += 2_u32;
    }
    false
}

fn is_square(n: &BigUint) -> bool {
    // Squares end in few ways; most numbers are told apart without a root.
    if !SQUARES.ends(n) {
        return false;
    }
    let root = n.sqrt();
    &root * &root == *n
}

/// Which residues modulo 64 and 3465 (= 9 * 5 * 7 * 11) are squares: one number in sixty passes.
struct Squares {
    modulo_64: [bool; 64],
    modulo_3465: [bool; 3465],
}

impl Squares {
    const fn table() -> Self {
        let mut table = Self {
            modulo_64: [false; 64],
            modulo_3465: [false; 3465],
        };
        let mut i = 0;
        while i < 3465 {
            table.modulo_64[i * i % 64] = true;
            table.modulo_3465[i * i % 3465] = true;
            i += 1;
        }
        table
    }

    fn ends(&self, n: &BigUint) -> bool {
        let lowest = n.iter_u32_digits().next().unwrap_or(0);
        if !in_table(&self.modulo_64, lowest % 64) {
            return false;
        }
        let rest = (n % 3465_u32).iter_u32_digits().next().unwrap_or(0);
        in_table(&self.modulo_3465, rest)
    }
}

fn in_table(table: &[bool], index: u32) -> bool {
    table.get(index as usize).copied().unwrap_or(false)
}

struct SmallPrimes {
    primes: Vec<u32>,
    product: BigUint,
}

static SMALL_PRIMES: LazyLock<SmallPrimes> = LazyLock::new(|| {
    let primes: Vec<u32> = (2..SMALL_PRIME_LIMIT)
        .filter(|n| (2..*n).all(|divisor| !n.is_multiple_of(divisor)))
        .collect();
    let product = primes.iter().product();
    SmallPrimes { primes, product }
});

static SQUARES: Squares = Squares::table();

/// 65537.
const EXPONENT: &[u8] = &[1, 0, 1];
const SMALL_PRIME_LIMIT: u32 = 752;
/// The 39th prime.
const ROCA_LARGEST: u32 = 167;
const FERMAT_ROUNDS: u32 = 100;
