//! `Upload-Limit` (draft 12, "Limits").

use std::time::SystemTime;

use http::HeaderValue;

use super::interop::Rules;
use crate::{
    Upload,
    field::MAX_INTEGER,
    header::value,
    server::{Config, exchange::Exchange},
};

/// "If the server does not apply any limits, it MUST use min-size=0 instead of an empty header value."
const NONE: &str = "min-size=0";

/// The limits of new uploads.
pub(super) fn of_new(config: &Config, rules: &Rules) -> HeaderValue {
    list(config, rules, config.max_size, config.expire_after.map(|after| after.as_secs()))
}

/// The limits of new uploads at a resource of the application. Smaller content does not become an upload and cannot
/// be resumed.
pub(super) fn of_resource(config: &Config, rules: &Rules, min_size: u64) -> HeaderValue {
    let limits = of_new(config, rules);
    match limits.to_str() {
        Ok(others) if min_size > 0 && others != NONE => value(format!("min-size={min_size}, {others}")),
        Ok(_) if min_size > 0 => value(format!("min-size={min_size}")),
        _ => limits,
    }
}

/// The limits of an upload at this time.
pub(super) fn of(upload: &Upload, config: &Config, rules: &Rules, now: SystemTime) -> HeaderValue {
    let left = upload.expires.map(|expires| expires.duration_since(now).map_or(0, |left| left.as_secs()));
    list(config, rules, upload.max_size, left)
}

/// The limits that a rejection announces, if the upload may have this many bytes.
pub(super) fn refusing(exchange: &Exchange, rules: &Rules, max_size: Option<u64>) -> HeaderValue {
    let config = &*exchange.config;
    match exchange.expires {
        Some(expires) => {
            let left = expires.duration_since(exchange.now).map_or(0, |left| left.as_secs());
            list(config, rules, max_size, Some(left))
        }
        None => list(config, rules, max_size, config.expire_after.map(|after| after.as_secs())),
    }
}

fn list(config: &Config, rules: &Rules, max_size: Option<u64>, lifetime: Option<u64>) -> HeaderValue {
    let limits = [
        ("max-size", max_size),
        ("max-append-size", config.max_append_size),
        ("min-append-size", config.min_append_size),
        (rules.lifetime, lifetime),
    ];
    let limits = limits.into_iter().filter_map(|(key, limit)| Some(format!("{key}={}", limit?.min(MAX_INTEGER))));
    let list = limits.collect::<Vec<_>>().join(", ");
    value(if list.is_empty() { NONE.to_owned() } else { list })
}
