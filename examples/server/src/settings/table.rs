//! All settings, as the file, the environment and the documentation name them.

/// A setting.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Its name in the file; a dot separates a table from a key in it.
    pub(crate) key: &'static str,
    pub(crate) kind: Kind,
    /// As it is written in the file; empty where there is none.
    pub(crate) default: &'static str,
    /// What it means, for the documentation.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests compare it with the documentation"))]
    pub(crate) meaning: &'static str,
}

/// What the value of a setting is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A text.
    Text,
    /// A text that may contain a secret: it is never shown.
    SecretText,
    /// A number without a fraction, not negative.
    Integer,
    /// A number of seconds, not negative.
    Seconds,
    /// `true` or `false`.
    Switch,
    /// A list of texts; in a variable, commas separate them.
    List,
    /// A list of texts that are secrets: it is never shown.
    SecretList,
}

impl Kind {
    /// Whether values of this kind are shown to nobody.
    pub(crate) fn is_secret(self) -> bool {
        matches!(self, Self::SecretText | Self::SecretList)
    }

    /// Whether a value of this kind can be empty.
    pub(crate) fn can_be_empty(self) -> bool {
        matches!(self, Self::Text | Self::SecretText | Self::List | Self::SecretList)
    }
}

impl Setting {
    /// The environment variable: `TUS_` and the key in capitals, with underscores for dots.
    pub(crate) fn variable(&self) -> String {
        format!("TUS_{}", self.key.replace('.', "_").to_uppercase())
    }
}

macro_rules! settings {
    ($($key:literal $kind:ident $default:literal $meaning:literal;)*) => {
        pub(crate) const SETTINGS: &[Setting] = &[$(
            Setting { key: $key, kind: Kind::$kind, default: $default, meaning: $meaning }
        ),*];
    };
}

settings! {
    "addr" Text r#""127.0.0.1:8080""# "address and port to listen on, or `unix:` and the path of a socket";
    "socket_mode" Text r#""660""# "permissions of the Unix socket, in octal";
    "monitor_addr" Text r#""127.0.0.1:8081""# "address and port of `/healthz`, `/readyz` and `/metrics`; empty for none";
    "max_connections" Integer "10000" "connections at once; further clients wait until one ends";
    "path" Text r#""/files""# "path of the endpoint";
    "page" Switch "false" "a page to upload from, above the endpoint: at `/` by default; `path` must end with `/files` then";
    "dir" Text r#""./uploads-data""# "directory of the uploads; created if missing";
    "store" SecretText r#""""# "instead of the directory: `s3://bucket/prefix`, `gs://…`, `az://…`, or `memory:` for tests";
    "durability" Text r#""synced""# "in the directory: `synced` survives a power cut, `buffered` a killed process";
    "busy_timeout" Seconds "5" "how long to wait for another process that writes to the directory's database";
    "max_size" Integer "" "largest upload, in bytes; no limit by default";
    "expires" Seconds "86400" "time without progress until an unfinished upload is deleted; 0 for never";
    "remove_finished" Seconds "0" "time until a finished upload is deleted; 0 for never";
    "keep_parts" Seconds "3600" "time until the parts of a concatenated upload are deleted; 0 to keep them as long as unfinished uploads";
    "max_metadata" Integer "4096" "bytes of metadata of an upload";
    "max_parts" Integer "16" "parts of a concatenated upload";
    "max_pending_finals" Integer "1024" "concatenated uploads that wait for their parts";
    "max_append_size" Integer "" "largest content of one request of the draft, in bytes; no limit by default";
    "min_append_size" Integer "" "smallest content of one request of the draft, except the last, in bytes; no limit by default";
    "protocols" List r#"["tus", "draft"]"# "`tus`: tus 1.0.0. `draft`: the IETF's draft";
    "disabled_extensions" List "[]" "extensions of tus to turn off: `creation-with-upload`, `termination`, …";
    "checksums" List r#"["sha1"]"# "algorithms to offer, in addition to `sha1`: `sha256`, `sha512`, `md5`, `crc32`; in the IETF's draft, `sha256` and `sha512` verify digests";
    "interim_through_proxies" Switch "false" "send `104` responses through proxies, too (the draft)";
    "location" Text r#""path""# "form of `Location`: `path`, `host`, or the public URL of the endpoint, without a query";
    "trust_forwarded" Switch "false" "trust `Forwarded` and `X-Forwarded-*`; only behind a proxy that overwrites them";
    "cors" List "[]" "origins whose pages may upload, `https://app.example`; `*` for any";
    "expose_headers" List "[]" "more response headers that pages of these origins may read";
    "download" Switch "false" "finished uploads by GET";
    "download_inline" List "[]" "media types that browsers show instead of saving: `image/png`, …";
    "download_timeout" Seconds "60" "time after which a download is aborted if its client reads nothing";
    "max_downloads" Integer "2048" "downloads at once";
    "body_timeout" Seconds "30" "silence that ends a request; what has arrived is kept";
    "body_rate" Integer "100" "slowest body that is accepted, in bytes per second over a minute; 0 for any";
    "checkpoint_interval" Seconds "0.5" "longest time until arrived bytes are committed";
    "sweep_interval" Seconds "60" "time between two sweeps for expired uploads and pending work";
    "background" Switch "true" "delete expired uploads, assemble concatenated ones, and call webhooks that are due";
    "drain" Seconds "0" "how long the server keeps serving after a stop signal, while `/readyz` returns 503";
    "grace" Seconds "10" "time for uploads to be committed and for connections to end when the server stops, then the same time again for pending webhooks";
    "log" Text r#""info""# "`error`, `warn`, `info`, `debug` or `trace`";
    "log_format" Text r#""text""# "`text` or `json`, on standard error";
    "tls.cert" SecretText r#""""# "file with the certificate chain (PEM); with it, the server speaks TLS";
    "tls.key" SecretText r#""""# "file with the private key (PEM)";
    "webhooks.url" SecretText r#""""# "where webhooks are sent; empty for none";
    "webhooks.hooks" List r#"["finished"]"# "hooks to send: `authorize`, `before_create`, `creation_failed`, `created`, `progress`, `before_finish`, `finished`, `before_terminate`, `terminated`";
    "webhooks.headers" List "[]" "headers of clients' requests that are passed on: `authorization`, `cookie`, …";
    "webhooks.secrets" SecretList "[]" "keys that sign messages, at least one if `webhooks.url` is set: `whsec_` and at least 24 bytes in base64; list old and new during a rotation";
    "webhooks.secrets_file" SecretText r#""""# "file with further secrets, one per line";
    "webhooks.timeout" Seconds "30" "time for the answer to a question";
    "webhooks.finished_timeout" Seconds "60" "time for an answer to `finished`; 0 for as long as it takes";
    "bucket.key" Text r#""files/{id}""# "name of the finished object: `{id}` is the upload's id, `{owner}` its owner";
    "bucket.part_size" Integer "8388608" "bytes of a part, at least 5 MiB";
    "bucket.window" Integer "4" "parts of one upload that may be stored but not recorded yet, at least 2";
    "bucket.memory" Integer "134217728" "memory for bytes that are on their way to the bucket, at least 8 MiB";
    "bucket.equal_parts" Switch "" "parts of equal size; on for R2 by default";
    "bucket.write_interval" Seconds "" "time between two writes of one object; 1 for R2 and GCS by default";
    "bucket.request_timeout" Seconds "15" "time for a small request to the bucket; those that transfer bytes get more";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn row(setting: &Setting) -> String {
        let default = if setting.default.is_empty() { String::new() } else { format!("`{}`", setting.default) };
        format!("| `{}` | `{}` | {default} | {} |", setting.key, setting.variable(), setting.meaning)
    }

    #[test]
    fn the_readme_lists_every_setting() {
        let readme = include_str!("../../README.md");
        let listed: Vec<_> =
            readme.lines().filter(|line| line.starts_with("| `") && line.contains("| `TUS_")).collect();
        assert_eq!(listed, SETTINGS.iter().map(row).collect::<Vec<_>>());
    }

    /// What the other examples read has the same name here.
    #[test]
    fn the_variables_of_the_examples_are_settings() {
        assert_known(include_str!("../../../shared/lib.rs"), "TUS_ADDR");
    }

    #[test]
    fn the_variables_of_container_and_unit_are_settings() {
        assert_known(include_str!("../../Containerfile"), "TUS_MONITOR_ADDR");
        assert_known(include_str!("../../tus-serve.service"), "TUS_DIR");
    }

    /// Every variable that a text names is one of ours, and this one is there.
    fn assert_known(text: &str, named: &str) {
        let known: BTreeSet<_> = SETTINGS.iter().map(Setting::variable).chain(["TUS_CONFIG".to_owned()]).collect();
        let words: BTreeSet<_> = text.split(|c: char| c != '_' && !c.is_ascii_alphanumeric()).collect();
        assert!(words.contains(named), "{words:?}");
        for word in words.into_iter().filter(|word| word.starts_with("TUS_")) {
            assert!(known.contains(word), "{word}");
        }
    }
}
