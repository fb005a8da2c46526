//! The hash of a server's certificate to which a SCRAM login is bound (`tls-server-end-point`, RFC 5929
//! §4.1): of the certificate's own signature hash, and at least SHA-256.

use ring::digest;

/// The hash, or `None` where the certificate's signature names no hash that is known here; then no
/// login can be bound.
pub(crate) fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let (_, certificate_content, _) = element(certificate)?;
    let (_, _, behind_body) = element(certificate_content)?;
    let (_, algorithm, _) = element(behind_body)?;
    let (tag, identifier, _) = element(algorithm)?;
    if tag != 6 {
        return None;
    }
    let hash = match identifier {
        // md5, sha1, sha256WithRSAEncryption (RFC 8017 A.2.4): 1.2.840.113549.1.1.{4,5,11}.
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 4 | 5 | 11] => &digest::SHA256,
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12] => &digest::SHA384,
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13] => &digest::SHA512,
        // ecdsa-with-SHA256, 384, 512 (RFC 5758 §3.2): 1.2.840.10045.4.3.{2,3,4}.
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2] => &digest::SHA256,
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3] => &digest::SHA384,
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4] => &digest::SHA512,
        _ => return None,
    };
    Some(digest::digest(hash, certificate).as_ref().to_vec())
}

/// The first element of `der` (X.690 §8.1): its tag, its content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = digits
                .iter()
                .fold(0, |length, digit| length << 8 | usize::from(*digit));
            (length, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate of nothing but its signature's algorithm.
    fn certificate(identifier: &[u8]) -> Vec<u8> {
        let algorithm = [&[6, identifier.len() as u8], identifier].concat();
        let algorithm = [&[0x30, algorithm.len() as u8], &algorithm[..]].concat();
        let body = [0x30, 0];
        let content = [&body[..], &algorithm].concat();
        [&[0x30, 0x81, content.len() as u8], &content[..]].concat()
    }

    #[test]
    fn the_hash_is_that_of_the_signature() {
        let ecdsa = |last| vec![0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, last];
        let sizes: Vec<_> = (2..=5)
            .map(|last| end_point(&certificate(&ecdsa(last))).map(|hash| hash.len()))
            .collect();
        assert_eq!(sizes, [Some(32), Some(48), Some(64), None]);
    }

    #[test]
    fn what_is_cut_off_has_none() {
        let whole = certificate(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]);
        for end in 0..whole.len() {
            assert_eq!(end_point(&whole[..end]), None, "{end}");
        }
    }
}
