//! Keys on curves of which the library knows only half.
//!
//! It reads keys on Brainpool's curves and cannot use them; P-256 and P-384 are checked here. Of signatures on secp256k1 it
//! takes only those that Bitcoin would, which is half of what OpenPGP programs make: of the two forms that every signature has,
//! the one with the smaller number. The other is brought into this form.

use std::io;

use bp256::BrainpoolP256r1;
use bp384::BrainpoolP384r1;
use ecdsa::signature::hazmat::PrehashVerifier as _;
use ecdsa::{Signature, VerifyingKey as Verifier};
use pgp::crypto::ecc_curve::ECCCurve;
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::errors::Result;
use pgp::ser::Serialize;
use pgp::types::{
    EcdsaPublicParams, Fingerprint, KeyDetails, KeyId, KeyVersion, Mpi, PublicParams, SignatureBytes, Timestamp,
    VerifyingKey,
};

/// The order of secp256k1: a signature is a pair of numbers below it, and the second may be taken from it.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0xba, 0xae, 0xdc,
    0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41,
];

/// A key with which signatures are checked on every curve that is supported.
#[derive(Debug)]
pub struct Complete<'a, K>(pub &'a K);

/// Whether the library, or this, can check signatures by the key.
pub fn is_supported(params: &EcdsaPublicParams) -> bool {
    match params {
        EcdsaPublicParams::Unsupported { curve, .. } => {
            matches!(curve, ECCCurve::BrainpoolP256r1 | ECCCurve::BrainpoolP384r1)
        }
        _ => true,
    }
}

impl<K: VerifyingKey> VerifyingKey for Complete<'_, K> {
    fn verify(&self, hash: HashAlgorithm, data: &[u8], signature: &SignatureBytes) -> Result<()> {
        let bad = || io::Error::other("the signature is not valid");
        match self.0.public_params() {
            PublicParams::ECDSA(EcdsaPublicParams::Secp256k1 { .. }) => {
                let (r, s) = numbers(signature, 32).ok_or_else(bad)?;
                let low = [r, lower(s)].map(|number| Mpi::from_slice(&number));
                self.0.verify(hash, data, &SignatureBytes::Mpis(low.to_vec()))
            }
            PublicParams::ECDSA(EcdsaPublicParams::Unsupported { curve, opaque }) => {
                Ok(on_brainpool(curve, opaque, data, signature).ok_or_else(bad)?)
            }
            _ => self.0.verify(hash, data, signature),
        }
    }
}

/// Something if the key, a number with its length in front, has made the signature.
fn on_brainpool(curve: &ECCCurve, key: &[u8], data: &[u8], signature: &SignatureBytes) -> Option<()> {
    let point = key.get(2..)?;
    // One type per curve, and the same to do with each.
    macro_rules! verify_on {
        ($curve:ty, $width:literal) => {{
            let (r, s) = numbers(signature, $width)?;
            let signature = Signature::<$curve>::from_slice(&[r, s].concat()).ok()?;
            let key = Verifier::<$curve>::from_sec1_bytes(point).ok()?;
            key.verify_prehash(data, &signature).ok()
        }};
    }
    match curve {
        ECCCurve::BrainpoolP256r1 => verify_on!(BrainpoolP256r1, 32),
        ECCCurve::BrainpoolP384r1 => verify_on!(BrainpoolP384r1, 48),
        _ => None,
    }
}

/// The two numbers of a signature, with as many bytes as the curve has.
fn numbers(signature: &SignatureBytes, width: usize) -> Option<(Vec<u8>, Vec<u8>)> {
    let SignatureBytes::Mpis(numbers) = signature else {
        return None;
    };
    let [r, s] = numbers.as_slice() else { return None };
    let wide = |number: &Mpi| {
        let zeros = width.checked_sub(number.len())?;
        Some([vec![0; zeros].as_slice(), number.as_ref()].concat())
    };
    Some((wide(r)?, wide(s)?))
}

/// The smaller of a number and what it lacks to the order; what is no number below the order stays as it is.
fn lower(number: Vec<u8>) -> Vec<u8> {
    let mut other = ORDER.to_vec();
    let mut borrow = false;
    for (left, right) in other.iter_mut().rev().zip(number.iter().rev()) {
        let (difference, first) = left.overflowing_sub(*right);
        let (difference, second) = difference.overflowing_sub(u8::from(borrow));
        (*left, borrow) = (difference, first || second);
    }
    if borrow { number } else { other.min(number) }
}

impl<K: KeyDetails> KeyDetails for Complete<'_, K> {
    fn version(&self) -> KeyVersion {
        self.0.version()
    }

    fn legacy_key_id(&self) -> KeyId {
        self.0.legacy_key_id()
    }

    fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint()
    }

    fn algorithm(&self) -> PublicKeyAlgorithm {
        self.0.algorithm()
    }

    fn created_at(&self) -> Timestamp {
        self.0.created_at()
    }

    fn legacy_v3_expiration_days(&self) -> Option<u16> {
        self.0.legacy_v3_expiration_days()
    }

    fn public_params(&self) -> &PublicParams {
        self.0.public_params()
    }
}

impl<K: Serialize> Serialize for Complete<'_, K> {
    fn to_writer<W: io::Write>(&self, writer: &mut W) -> Result<()> {
        self.0.to_writer(writer)
    }

    fn write_len(&self) -> usize {
        self.0.write_len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_numbers_that_make_the_order_the_lower_is_taken() {
        let number = |last: u8| [[0; 31].as_slice(), &[last]].concat();
        let minus = |less: u8| [&ORDER[..31], &[ORDER[31] - less]].concat();
        assert_eq!(lower(number(5)), number(5));
        assert_eq!(lower(minus(5)), number(5));
        assert_eq!(lower(minus(0x41)), number(0x41));
        assert_eq!(lower(ORDER.to_vec()), number(0));
        assert_eq!(lower(vec![0xff; 32]), vec![0xff; 32]);
    }
}
