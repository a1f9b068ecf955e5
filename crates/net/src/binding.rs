//! Channel bindings: what both ends of a TLS connection know and nobody in between can imitate.

use std::sync::Arc;

use aws_lc_rs::digest;

/// What a login may be bound to (RFC 5056), by the names under which SASL knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelBindings {
    /// `tls-exporter` (RFC 9266): keying material of this very connection. Only of TLS 1.3: below it the value says
    /// something only with the extended master secret, of which the library does not tell whether it is in use.
    pub exporter: Option<[u8; 32]>,
    /// `tls-server-end-point` (RFC 5929 §4): a hash of the server's certificate. `None` if its signature algorithm does
    /// not name a hash.
    pub end_point: Option<Arc<[u8]>>,
}

/// The label under which `tls-exporter` is exported (RFC 9266 §2); its context is empty.
pub(crate) const EXPORTER: &[u8] = b"EXPORTER-Channel-Binding";

/// The hash of a certificate in DER that `tls-server-end-point` is: by the hash of its signature algorithm, but SHA-256
/// where that is MD5 or SHA-1. Where the algorithm uses none, or names it in a parameter, nothing is defined or taken.
pub(crate) fn end_point(certificate: &[u8]) -> Option<Arc<[u8]>> {
    /// 1.2.840.113549.1.1: RSA with PKCS #1 v1.5.
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    /// 1.2.840.10045.4: ECDSA.
    const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04];
    let oid = signature_algorithm(certificate)?;
    let algorithm = match (oid.strip_prefix(RSA), oid.strip_prefix(ECDSA)) {
        // md5WithRSA, sha1WithRSA, sha256WithRSA; ecdsa-with-SHA1, ecdsa-with-SHA256.
        (Some([4 | 5 | 11]), _) | (_, Some([1] | [3, 2])) => &digest::SHA256,
        (Some([12]), _) | (_, Some([3, 3])) => &digest::SHA384,
        (Some([13]), _) | (_, Some([3, 4])) => &digest::SHA512,
        _ => return None,
    };
    Some(digest::digest(algorithm, certificate).as_ref().into())
}

/// The object identifier of a certificate's signature algorithm (RFC 5280 §4.1.1.2), as DER has it.
fn signature_algorithm(certificate: &[u8]) -> Option<&[u8]> {
    const SEQUENCE: u8 = 0x30;
    const OBJECT_IDENTIFIER: u8 = 0x06;
    let (fields, _) = value(certificate, SEQUENCE)?;
    let (_, after_signed_part) = value(fields, SEQUENCE)?;
    let (algorithm, _) = value(after_signed_part, SEQUENCE)?;
    value(algorithm, OBJECT_IDENTIFIER).map(|(oid, _)| oid)
}

/// The content of the DER value at the front, which has this tag, and what follows it.
fn value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, length], rest) = der.split_first_chunk::<2>()?;
    if found != tag {
        return None;
    }
    let (length, rest) = match length {
        short @ ..0x80 => (usize::from(short), rest),
        // As many octets of length follow; certificates need no more than four.
        long => {
            let (octets, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            if octets.len() > 4 {
                return None;
            }
            (octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet)), rest)
        }
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let params = rcgen::CertificateParams::new(["mx.example.org".to_owned()]).unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_hash_is_that_of_the_signature() {
        let certificate = made(&rcgen::PKCS_ECDSA_P256_SHA256);
        let expected = digest::digest(&digest::SHA256, &certificate);
        assert_eq!(end_point(&certificate).as_deref(), Some(expected.as_ref()));
        let certificate = made(&rcgen::PKCS_ECDSA_P384_SHA384);
        let expected = digest::digest(&digest::SHA384, &certificate);
        assert_eq!(end_point(&certificate).as_deref(), Some(expected.as_ref()));
        assert_eq!(end_point(&made(&rcgen::PKCS_ED25519)), None, "no hash is named");
    }

    #[test]
    fn what_is_no_certificate_has_none() {
        let certificate = made(&rcgen::PKCS_ECDSA_P256_SHA256);
        for end in 0..certificate.len() {
            assert_eq!(end_point(&certificate[..end]), None);
        }
        assert_eq!(end_point(&[0x30, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
