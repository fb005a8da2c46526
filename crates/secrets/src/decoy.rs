//! Decoys: worthless values of the same shape where secrets stood. A decoy has the length, the
//! known prefix, the alphabet at each place and, where a format has one, the checksum of the value it
//! stands for, so that programs that check a key's form accept it; and it is a function of the
//! install's secret, the workspace and the value, so that it is the same today and tomorrow.

use std::ops::Range;

use hkdf::Hkdf;
use sha2::{Digest as _, Sha256};

/// The key from which the decoys of one workspace come. Who has it cannot get a value from a decoy
/// either; who lacks it cannot tell a decoy of a guessed value.
#[derive(Clone)]
pub struct DecoyKey([u8; 32]);

impl std::fmt::Debug for DecoyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DecoyKey")
    }
}

impl DecoyKey {
    /// HKDF-SHA-256 (RFC 5869) of the install's secret, salted by what identifies the workspace.
    pub fn derive(install_secret: &[u8], workspace: &[u8]) -> Self {
        let mut key = [0; 32];
        Hkdf::<Sha256>::new(Some(workspace), install_secret)
            .expand(b"tagout decoys, version 1", &mut key)
            .unwrap_or_else(|_| unreachable!("32 bytes is a length that HKDF gives"));
        Self(key)
    }

    /// The decoy of `secret`: as long, of the same shape, never equal to it (an empty value has
    /// only itself).
    pub fn decoy(&self, secret: &[u8]) -> Vec<u8> {
        if secret.is_empty() {
            return Vec::new();
        }
        // A value of few characters can come out as itself; the next keystream is then as good.
        for attempt in 0..64 {
            let decoy = self.shaped(secret, attempt);
            if decoy != secret {
                return decoy;
            }
        }
        secret
            .iter()
            .map(|&byte| if byte == b'x' { b'y' } else { b'x' })
            .collect()
    }

    /// A keyed digest of `value`, from which nobody who lacks the key can tell whether it is that of a guessed value.
    pub fn mark(&self, value: &[u8]) -> [u8; 32] {
        let mut mark = [0; 32];
        let parts: [&[u8]; 2] = [b"tagout marks, version 1\0", value];
        Hkdf::<Sha256>::new(None, &self.0)
            .expand_multi_info(&parts, &mut mark)
            .unwrap_or_else(|_| unreachable!("32 bytes is a length that HKDF gives"));
        mark
    }

    fn shaped(&self, secret: &[u8], attempt: u8) -> Vec<u8> {
        let mut stream = Keystream::new(&self.0, secret, attempt);
        let mut decoy = match pem_body(secret) {
            Some(body) => {
                let mut decoy = secret.to_vec();
                decoy[body.clone()].copy_from_slice(&replaced_pem(&secret[body], &mut stream));
                return decoy;
            }
            None => secret.to_vec(),
        };
        let kept = kept_prefix(secret);
        let rest = secret.get(kept..).unwrap_or_default();
        let replaced = if is_uuid(rest) {
            replaced_uuid(rest, &mut stream)
        } else {
            replaced_by_class(rest, &mut stream)
        };
        decoy.truncate(kept);
        decoy.extend(replaced);
        if has_crc_checksum(secret) {
            set_crc_checksum(&mut decoy);
        }
        decoy
    }
}

/// Prefixes that name a token's kind, longest first where one begins another. What follows is the
/// secret part.
#[rustfmt::skip]
const PREFIXES: &[&str] = &[
    "github_pat_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "glpat-", "gldt-", "glrt-", "glptt-",
    "glcbt-", "glsoat-", "glft-", "glagent-", "gloas-", "glimt-", "sk-ant-api03-",
    "sk-ant-admin01-", "sk-ant-oat01-", "sk-ant-ort01-", "sk-ant-sid01-", "sk-ant-", "sk-proj-",
    "sk-svcacct-", "sk-admin-", "sk-or-v1-", "sk-lf-", "sk-", "sk_live_", "sk_test_", "rk_live_",
    "rk_test_", "whsec_", "pk_live_", "pk_test_", "xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-",
    "xoxe.xoxp-1-", "xoxe.xoxb-1-", "xoxe-1-", "xoxe-", "xapp-1-", "xapp-",
    "https://hooks.slack.com/services/", "https://discord.com/api/webhooks/",
    "https://discordapp.com/api/webhooks/", "AKIA", "ASIA", "AROA", "AIDA", "ABIA", "ACCA", "AIza",
    "GOCSPX-", "ya29.", "1//0", "npm_", "pypi-AgEIcHlwaS5vcmc", "pypi-", "rubygems_", "crates-io-",
    "cio", "dckr_pat_", "dckr_oat_", "SG.", "key-", "SK", "AC", "shpat_", "shpca_", "shppa_",
    "shpss_", "sq0atp-", "sq0csp-", "EAAA", "hf_", "api_org_", "r8_", "gsk_", "xai-", "pplx-",
    "tvly-", "fw_", "nvapi-", "tgp_v1_", "csk-", "dop_v1_", "doo_v1_", "dor_v1_", "HRKU-", "sbp_",
    "sb_secret_", "sb_publishable_", "napi_", "neon_", "pscale_tkn_", "pscale_pw_", "pscale_oauth_",
    "pscale_otkn_", "rnd_", "vcp_", "vci_", "vck_", "nfp_", "fo1_", "FlyV1 fm2_", "fm2_",
    "lin_api_", "lin_oauth_", "ntn_", "secret_", "PMAK-", "glsa_", "glc_", "eyJrIjoi", "dapi",
    "dp.pt.", "dp.st.", "dp.ct.", "dp.sa.", "hvs.", "hvb.", "hvr.", "s.", "atlasv1.", "pul-",
    "sntrys_", "sntryu_", "NRAK-", "NRJS-", "phc_", "phx_", "pat-", "ATATT3xFfGF0", "ATCTT3xFfGF0",
    "ATBB", "figd_", "sl.", "tfp_", "ops_eyJ", "AGE-SECRET-KEY-1", "CFPAT-", "PAT-", "nk_", "re_",
    "ntfy_", "tk_", "apify_api_", "ddp_", "ddapp_", "oy2", "SWMTKN-1-", "SWMKEY-1-", "aik_ci_",
    "aik_secret_", "$aact_", "bedrock-api-key-", "bkaa_", "bkaj_", "bkar_", "bkct_", "bkpt_",
    "bkpat_", "bkps_", "gcntfy-", "CLOJARS_", "csa_", "CCDB1_", "AstraCS:", "dvc_client_",
    "dvc_mobile_", "dvc_server_", "apk_user_", "apk_", "duffel_", "essu_", "fio-u-", "ico-", "ion_",
    "lip_", "mlsn.", "mercury_production_", "mergify_application_key_", "sk-api-", "api_live_ca.",
    "api_live.", "api_live_us.", "pdl_live_apikey_", "persona_production_", "pina_", "polar_at_",
    "polar_oat_", "polar_pat_", "pnu_", "prf_", "ramp_sec_", "rdme_", "rpa_", "rootly_",
    "samsara_api_", "tk-us-", "shippo_", "sgp_", "tskey-api-", "tss_", "unkey_", "ucat_", "vtwn_",
    "waka_", "wandb_v1_", "zpka_",
];

/// How many bytes of a value name its kind rather than being secret.
fn kept_prefix(secret: &[u8]) -> usize {
    // A JWT's header says which algorithm, and nothing else (RFC 7515 §4).
    if secret.starts_with(b"eyJ")
        && let Some(dot) = secret.iter().position(|&byte| byte == b'.')
        && secret.len() > dot + 16
    {
        return dot + 1;
    }
    PREFIXES
        .iter()
        .map(|prefix| prefix.as_bytes())
        // A short prefix of letters proves nothing before a short rest.
        .filter(|prefix| secret.starts_with(prefix) && secret.len() >= prefix.len() + 12)
        .map(<[u8]>::len)
        .max()
        .unwrap_or(0)
}

fn replaced_by_class(rest: &[u8], stream: &mut Keystream) -> Vec<u8> {
    let only = |test: fn(u8) -> bool| rest.iter().all(|&b| test(b) || !b.is_ascii_alphanumeric());
    let has_digit = rest.iter().any(u8::is_ascii_digit);
    let lower_hex = has_digit && only(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let upper_hex = has_digit && only(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'));
    let base32 = only(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'7')) && has_digit;
    let letters = rest.iter().any(u8::is_ascii_alphanumeric);
    let mut decoy = Vec::with_capacity(rest.len());
    let mut at = 0;
    while let Some(&byte) = rest.get(at) {
        // An escape of the file's format stands for a byte of the value: letters take its place.
        let escape = escape_length(rest.get(at..).unwrap_or_default());
        if escape > 1 {
            for _ in 0..escape {
                decoy.push(stream.pick(b"abcdefghijklmnopqrstuvwxyz"));
            }
            at += escape;
            continue;
        }
        at += 1;
        decoy.push(match byte {
            b'0'..=b'9' | b'a'..=b'f' if lower_hex => stream.pick(b"0123456789abcdef"),
            b'0'..=b'9' | b'A'..=b'F' if upper_hex => stream.pick(b"0123456789ABCDEF"),
            b'A'..=b'Z' | b'2'..=b'7' if base32 => stream.pick(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
            b'0'..=b'9' => stream.pick(b"0123456789"),
            b'a'..=b'z' => stream.pick(b"abcdefghijklmnopqrstuvwxyz"),
            b'A'..=b'Z' => stream.pick(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
            b'\n' | b'\r' => byte,
            _ if byte.is_ascii_graphic() && letters => byte,
            b' ' | b'\t' if letters => byte,
            _ => stream.pick(b"abcdefghijklmnopqrstuvwxyz"),
        });
    }
    decoy
}

/// The length of an escape at the beginning of `bytes`: `\n`, `\u00e9`, `\x41`, `%40`; else 1.
fn escape_length(bytes: &[u8]) -> usize {
    let hex = |range: &[u8]| range.iter().all(u8::is_ascii_hexdigit);
    match bytes {
        [b'\\', b'u', a @ ..] if a.len() >= 4 && hex(&a[..4]) => 6,
        [b'\\', b'x', a @ ..] if a.len() >= 2 && hex(&a[..2]) => 4,
        [b'\\', next, ..] if next.is_ascii_graphic() => 2,
        [b'%', a @ ..] if a.len() >= 2 && hex(&a[..2]) => 3,
        _ => 1,
    }
}

/// RFC 9562: 8-4-4-4-12 hexadecimal digits.
pub(crate) fn is_uuid(value: &[u8]) -> bool {
    value.len() == 36
        && value.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Keeps the version digit and the variant digit where RFC 9562 §4 has them.
fn replaced_uuid(value: &[u8], stream: &mut Keystream) -> Vec<u8> {
    let upper = value.iter().any(u8::is_ascii_uppercase);
    let digits: &[u8; 16] = if upper {
        b"0123456789ABCDEF"
    } else {
        b"0123456789abcdef"
    };
    value
        .iter()
        .enumerate()
        .map(|(at, &byte)| match at {
            8 | 13 | 18 | 23 | 14 | 19 => byte,
            _ => stream.pick(digits),
        })
        .collect()
}

/// Where the secret part of a PEM block is: behind the end of its first line, before its last.
fn pem_body(value: &[u8]) -> Option<Range<usize>> {
    let find = |needle: &[u8], from: usize| {
        value
            .get(from..)?
            .windows(needle.len())
            .position(|window| window == needle)
            .map(|at| at + from)
    };
    let begin = find(b"-----BEGIN ", 0)?;
    let header = find(b"-----", begin + 11)? + 5;
    let end = find(b"-----END", header).unwrap_or(value.len());
    (end > header).then_some(header..end)
}

/// Keeps line ends, written out (`\n`) too, and the `Name: value` lines of an encrypted key.
fn replaced_pem(body: &[u8], stream: &mut Keystream) -> Vec<u8> {
    let mut decoy = Vec::with_capacity(body.len());
    let mut bytes = body.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                decoy.push(byte);
                if let Some(next @ (b'n' | b'r' | b't')) = bytes.peek().copied() {
                    bytes.next();
                    decoy.push(next);
                }
            }
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' => decoy.push(
                stream.pick(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"),
            ),
            _ => decoy.push(byte),
        }
    }
    decoy
}

/// GitHub's and npm's tokens end in six base62 digits of the CRC-32 of the thirty before.
fn has_crc_checksum(value: &[u8]) -> bool {
    value.len() == 40
        && ["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "npm_"]
            .iter()
            .any(|prefix| value.starts_with(prefix.as_bytes()))
}

fn set_crc_checksum(token: &mut [u8]) {
    if let Some((body, checksum)) = token.split_at_mut_checked(34) {
        let digits = base62(crc32(&body[4..]));
        if checksum.len() == digits.len() {
            checksum.copy_from_slice(&digits);
        }
    }
}

/// Whether the checksum of a GitHub or npm token fits its body; `None` where the format has none.
pub(crate) fn crc_checksum_is_valid(token: &[u8]) -> Option<bool> {
    has_crc_checksum(token).then(|| base62(crc32(&token[4..34])) == token[34..40])
}

/// CRC-32 as in ISO 3309, reflected, polynomial 0xEDB88320.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

/// Six digits of base62 (0-9A-Za-z), padded with `0`.
fn base62(mut value: u32) -> [u8; 6] {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut text = [b'0'; 6];
    for digit in text.iter_mut().rev() {
        *digit = DIGITS[(value % 62) as usize];
        value /= 62;
    }
    text
}

/// Bytes that depend on the key and the whole value, as many as are asked for.
struct Keystream {
    source: Hkdf<Sha256>,
    value: [u8; 32],
    attempt: u8,
    counter: u64,
    block: [u8; 32],
    used: usize,
}

impl Keystream {
    fn new(key: &[u8; 32], value: &[u8], attempt: u8) -> Self {
        Self {
            source: Hkdf::from_prk(key)
                .unwrap_or_else(|_| unreachable!("32 bytes is a key that HKDF-SHA-256 takes")),
            value: Sha256::digest(value).into(),
            attempt,
            counter: 0,
            block: [0; 32],
            used: 32,
        }
    }

    fn next(&mut self) -> u8 {
        if self.used == self.block.len() {
            let info = [
                &self.value[..],
                &[self.attempt],
                &self.counter.to_be_bytes(),
            ];
            self.source
                .expand_multi_info(&info, &mut self.block)
                .unwrap_or_else(|_| unreachable!("32 bytes is a length that HKDF gives"));
            self.counter += 1;
            self.used = 0;
        }
        let byte = self.block[self.used];
        self.used += 1;
        byte
    }

    /// One of `alphabet`, near enough evenly for a value that protects nothing.
    fn pick(&mut self, alphabet: &[u8]) -> u8 {
        alphabet[usize::from(self.next()) % alphabet.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> DecoyKey {
        DecoyKey::derive(b"install secret", b"workspace")
    }

    fn shape(bytes: &[u8]) -> Vec<u8> {
        bytes
            .iter()
            .map(|byte| match byte {
                b'0'..=b'9' => b'0',
                b'a'..=b'z' => b'a',
                b'A'..=b'Z' => b'A',
                other => *other,
            })
            .collect()
    }

    #[test]
    fn a_decoy_keeps_prefix_length_and_classes() {
        for secret in [
            "AKIAQYLPMN5HHHFPZAM2",
            "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
            "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",
            "hunter2",
            "p4ss w0rd!",
        ] {
            let decoy = key().decoy(secret.as_bytes());
            assert_ne!(decoy, secret.as_bytes());
            assert_eq!(decoy.len(), secret.len());
            if !secret.starts_with("AKIA") {
                assert_eq!(shape(&decoy), shape(secret.as_bytes()), "{secret}");
            }
            assert_eq!(
                decoy[..kept_prefix(secret.as_bytes())],
                secret.as_bytes()[..kept_prefix(secret.as_bytes())]
            );
            assert_eq!(decoy, key().decoy(secret.as_bytes()), "stable");
            let other = DecoyKey::derive(b"install secret", b"elsewhere");
            assert_ne!(decoy, other.decoy(secret.as_bytes()), "by workspace");
        }
    }

    #[test]
    fn a_github_decoy_has_a_valid_checksum() {
        // The published worked example of the checksum.
        assert_eq!(base62(crc32(b"zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ")), *b"0mLq17");
        let token = b"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";
        assert_eq!(crc_checksum_is_valid(token), Some(true));
        let decoy = key().decoy(token);
        assert_eq!(crc_checksum_is_valid(&decoy), Some(true));
        assert!(decoy.starts_with(b"ghp_"));
        assert_ne!(decoy[4..34], token[4..34]);
    }

    #[test]
    fn a_uuid_decoy_is_a_uuid_of_the_same_version() {
        let secret = b"3f8a1c52-9d4e-4b6a-8c21-7e5f90ab12cd";
        let decoy = key().decoy(secret);
        assert!(is_uuid(&decoy));
        assert_eq!((decoy[14], decoy[19]), (b'4', b'8'));
        assert_ne!(decoy[..8], secret[..8]);
    }

    #[test]
    fn a_pem_decoy_keeps_its_frame_and_nothing_of_its_body() {
        let pem = b"-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASC\n-----END PRIVATE KEY-----\n";
        let decoy = key().decoy(pem);
        assert!(decoy.starts_with(b"-----BEGIN PRIVATE KEY-----\n"));
        assert!(decoy.ends_with(b"\n-----END PRIVATE KEY-----\n"));
        assert!(!decoy.windows(8).any(|w| w == b"MIIEvQIB"));
        let escaped =
            br"-----BEGIN PRIVATE KEY-----\nMIIEvQIBADAN\nBgkq\n-----END PRIVATE KEY-----\n";
        let decoy = key().decoy(escaped);
        assert_eq!(decoy.windows(2).filter(|w| w == br"\n").count(), 4);
    }

    #[test]
    fn a_jwt_keeps_its_header_only() {
        let token = b"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N";
        let decoy = key().decoy(token);
        assert!(decoy.starts_with(b"eyJhbGciOiJIUzI1NiJ9."));
        assert_ne!(decoy[21..40], token[21..40]);
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", key()), "DecoyKey");
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_decoy(secret in proptest::collection::vec(any::<u8>(), 1..200)) {
            let decoy = key().decoy(&secret);
            prop_assert_eq!(decoy.len(), secret.len());
            prop_assert_ne!(decoy, secret);
        }

        #[test]
        fn text_stays_text(secret in "\\PC{1,60}") {
            let decoy = key().decoy(secret.as_bytes());
            prop_assert!(std::str::from_utf8(&decoy).is_ok());
        }

        #[test]
        fn no_run_of_the_secret_survives(secret in "[A-Za-z0-9]{24,60}") {
            let decoy = key().decoy(secret.as_bytes());
            let kept = kept_prefix(secret.as_bytes());
            for window in secret.as_bytes()[kept..].windows(10) {
                prop_assert!(!decoy.windows(10).any(|other| other == window));
            }
        }
    }
}
