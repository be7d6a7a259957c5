//! Signs messages (Standard Webhooks, "Signature scheme").

use anyhow::{Context, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const PREFIX: &str = "whsec_";

/// The fewest bytes of a secret.
const SHORTEST: usize = 24;

/// What messages are signed with: the first one, and those that are to follow it or that it follows.
pub(crate) struct Secrets(Vec<Vec<u8>>);

impl Secrets {
    /// Secrets as they are written.
    pub(crate) fn read<'a>(texts: impl IntoIterator<Item = &'a str>) -> anyhow::Result<Self> {
        let secrets: Vec<_> = texts.into_iter().map(secret).collect::<anyhow::Result<_>>()?;
        ensure!(
            !secrets.is_empty(),
            "messages cannot be signed without a secret: set `webhooks.secrets` or `webhooks.secrets_file`; {HOW}"
        );
        Ok(Self(secrets))
    }

    /// The signatures of a message, one for each secret: whoever knows one of them can verify it.
    pub(crate) fn sign(&self, id: &str, timestamp: u64, body: &str) -> anyhow::Result<String> {
        let sign = |secret: &Vec<u8>| {
            let mut mac = Hmac::<Sha256>::new_from_slice(secret)?;
            mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
            Ok(format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes())))
        };
        Ok(self.0.iter().map(sign).collect::<anyhow::Result<Vec<_>>>()?.join(" "))
    }
}

const HOW: &str = "make one by: echo whsec_$(openssl rand -base64 32)";

fn secret(text: &str) -> anyhow::Result<Vec<u8>> {
    // What is wrong is not said in detail: it is a secret.
    let bytes = text.strip_prefix(PREFIX).and_then(|text| BASE64_STANDARD.decode(text).ok());
    bytes
        .filter(|bytes| bytes.len() >= SHORTEST)
        .with_context(|| format!("a secret must be `{PREFIX}` followed by at least {SHORTEST} bytes in base64; {HOW}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's text (Standard Webhooks, "Signature scheme").
    #[test]
    fn a_signature_is_that_of_the_specification() {
        let secrets = Secrets::read(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]).unwrap();
        let signature = secrets.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, "{\"test\": 2432232314}").unwrap();
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn each_secret_signs() {
        let (old, new) = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD");
        let sign = |secrets: &[&str]| Secrets::read(secrets.iter().copied()).unwrap().sign("a", 1, "{}").unwrap();
        assert_eq!(sign(&[old, new]), format!("{} {}", sign(&[old]), sign(&[new])));
    }

    #[test]
    fn a_secret_that_is_none_is_not_repeated() {
        for text in ["hush", "whsec_c2hvcnQ=", "whsec_*", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            let error = Secrets::read([text]).err().unwrap().to_string();
            assert!(error.contains("openssl rand") && !error.contains(text), "{error}");
        }
        assert!(Secrets::read([]).is_err());
    }
}
