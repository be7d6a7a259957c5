//! What proxies report about a request.
//!
//! Read here, because the crates for this are abandoned (`forwarded-header-value`), or split quoted strings and leave
//! the quotes in place (`rfc7239` 0.1).

use http::{HeaderMap, HeaderName, Uri, header, uri::Authority};

use super::Config;

/// What the proxy that the client reached reports about the request (RFC 7239, and the older header names). It must
/// overwrite what the client itself sends in these headers.
#[derive(Default)]
pub(super) struct Forwarded {
    pub(super) proto: Option<String>,
    pub(super) host: Option<Authority>,
    pub(super) prefix: String,
}

impl Forwarded {
    pub(super) fn read(config: &Config, headers: &HeaderMap) -> Self {
        if !config.trust_forwarded {
            return Self::default();
        }
        let list = headers.get(header::FORWARDED).and_then(|list| list.to_str().ok());
        let old = |name: &'static str| first(headers, &HeaderName::from_static(name));
        let proto = parameter(list, "proto").or_else(|| old("x-forwarded-proto"));
        let host = parameter(list, "host").or_else(|| old("x-forwarded-host"));
        let prefix = old("x-forwarded-prefix")
            .filter(|prefix| !prefix.starts_with("//") && prefix.parse::<Uri>().is_ok_and(|u| u.path() == prefix));
        Self {
            proto: proto.map(|p| p.to_ascii_lowercase()).filter(|p| p == "http" || p == "https"),
            host: host.and_then(|h| h.parse().ok()),
            prefix: prefix.unwrap_or_default().trim_end_matches('/').to_owned(),
        }
    }
}

/// A parameter of the first element of `Forwarded` (RFC 7239, section 4): what the client reached, according to the
/// proxy.
fn parameter(list: Option<&str>, name: &str) -> Option<String> {
    let element = unquoted(list?, ',').map(str::trim).find(|element| !element.is_empty())?;
    let mut pairs = unquoted(element, ';').filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    let Some(quoted) = value.strip_prefix('"') else {
        return Some(value.to_owned());
    };
    let mut characters = quoted.strip_suffix('"')?.chars();
    let mut text = String::new();
    while let Some(character) = characters.next() {
        text.push(if character == '\\' { characters.next()? } else { character });
    }
    Some(text)
}

/// Splits at the separators outside quoted strings (RFC 9110, 5.6.4).
fn unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |character| {
        quoted ^= character == '"' && !escaped;
        escaped = quoted && character == '\\' && !escaped;
        character == separator && !quoted
    })
}

/// The first element of a list in the older headers, which have no quoted strings.
fn first(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let list = headers.get(name)?.to_str().ok()?;
    list.split(',').next().map(|value| value.trim().to_owned())
}
