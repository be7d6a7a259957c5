//! The settings: defaults, over them a file, over both the environment.

mod convert;
mod layers;
mod table;

use std::{
    env::{self, VarError},
    path::Path,
    time::Duration,
};

use serde::Deserialize;

pub(crate) use self::convert::Address;

/// All settings; [`table::SETTINGS`] says what they mean.
///
/// Without `Debug`: there are secrets among them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) addr: String,
    pub(crate) socket_mode: String,
    pub(crate) monitor_addr: String,
    pub(crate) max_connections: usize,
    pub(crate) path: String,
    pub(crate) page: bool,
    pub(crate) dir: String,
    pub(crate) store: String,
    pub(crate) durability: String,
    pub(crate) busy_timeout: Seconds,
    pub(crate) max_size: Option<u64>,
    pub(crate) expires: Seconds,
    pub(crate) remove_finished: Seconds,
    pub(crate) keep_parts: Seconds,
    pub(crate) max_metadata: usize,
    pub(crate) max_parts: usize,
    pub(crate) max_pending_finals: usize,
    pub(crate) max_append_size: Option<u64>,
    pub(crate) min_append_size: Option<u64>,
    pub(crate) protocols: Vec<String>,
    pub(crate) disabled_extensions: Vec<String>,
    pub(crate) checksums: Vec<String>,
    pub(crate) interim_through_proxies: bool,
    pub(crate) location: String,
    pub(crate) trust_forwarded: bool,
    pub(crate) cors: Vec<String>,
    pub(crate) expose_headers: Vec<String>,
    pub(crate) download: bool,
    pub(crate) download_inline: Vec<String>,
    pub(crate) download_timeout: Seconds,
    pub(crate) max_downloads: usize,
    pub(crate) body_timeout: Seconds,
    pub(crate) body_rate: u64,
    pub(crate) checkpoint_interval: Seconds,
    pub(crate) sweep_interval: Seconds,
    pub(crate) background: bool,
    pub(crate) drain: Seconds,
    pub(crate) grace: Seconds,
    pub(crate) log: String,
    pub(crate) log_format: String,
    pub(crate) tls: Tls,
    pub(crate) webhooks: Webhooks,
    pub(crate) bucket: Bucket,
}

/// TLS.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    pub(crate) cert: String,
    pub(crate) key: String,
}

/// Webhooks. Without `Debug`: there are secrets among them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Webhooks {
    pub(crate) url: String,
    pub(crate) hooks: Vec<String>,
    pub(crate) headers: Vec<String>,
    pub(crate) secrets: Vec<String>,
    pub(crate) secrets_file: String,
    pub(crate) timeout: Seconds,
    pub(crate) finished_timeout: Seconds,
}

/// How a bucket is used.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bucket {
    pub(crate) key: String,
    pub(crate) part_size: u64,
    pub(crate) window: usize,
    pub(crate) memory: usize,
    pub(crate) equal_parts: Option<bool>,
    pub(crate) write_interval: Option<Seconds>,
    pub(crate) request_timeout: Seconds,
}

/// The longest time of a setting, in seconds: ten years.
const LONGEST: f64 = 315_360_000.0;

/// A number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "f64")]
pub(crate) struct Seconds(pub(crate) Duration);

impl Seconds {
    /// `None` for 0, where that means never.
    pub(crate) fn unless_zero(self) -> Option<Duration> {
        Some(self.0).filter(|duration| !duration.is_zero())
    }
}

impl TryFrom<f64> for Seconds {
    type Error = String;

    fn try_from(seconds: f64) -> Result<Self, String> {
        Duration::try_from_secs_f64(seconds).map(Self).map_err(|error| error.to_string())
    }
}

impl Settings {
    /// Reads the file, if there is one, and the environment, and checks every value except those of TLS and of webhooks,
    /// which [`Self::check_serving`] checks.
    ///
    /// # Errors
    ///
    /// When something makes no sense; the text names it and says what would.
    pub(crate) fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        let text = file.map(layers::read).transpose()?;
        let file = file.zip(text.as_deref());
        let settings = Self::from_layers(file, |name| env::var(name))?;
        settings.check()?;
        Ok(settings)
    }

    /// Environment variables that are probably meant as settings and are none: a sentence for each. They are no errors,
    /// because Kubernetes and others set variables of their own that begin with `TUS_`.
    pub(crate) fn doubtful_variables() -> Vec<String> {
        env::vars_os().filter_map(|(name, _)| layers::doubt(name.to_str()?)).collect()
    }

    /// The defaults.
    #[cfg(test)]
    pub(crate) fn of_nothing() -> anyhow::Result<Self> {
        Self::from_layers(None, |_| Err(VarError::NotPresent))
    }

    fn from_layers(
        file: Option<(&Path, &str)>,
        variable: impl Fn(&str) -> Result<String, VarError>,
    ) -> anyhow::Result<Self> {
        let mut merged = layers::defaults()?;
        if let Some((path, text)) = file {
            layers::add_file(&mut merged, path, text)?;
        }
        layers::add_variables(&mut merged, variable)?;
        Ok(Self::deserialize(merged)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, variables: &[(&str, &str)]) -> anyhow::Result<Settings> {
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
        let variable = |name: &str| variable(name).ok_or(VarError::NotPresent);
        let settings = Settings::from_layers(Some((Path::new("server.toml"), file)), variable)?;
        settings.check()?;
        settings.check_serving()?;
        Ok(settings)
    }

    fn error(file: &str, variables: &[(&str, &str)]) -> String {
        format!("{:#}", load(file, variables).err().unwrap())
    }

    #[test]
    fn the_environment_outranks_the_file_and_the_file_the_defaults() {
        let settings =
            load("max_size = 5\npath = \"/up\"\ncors = [\"https://a.example\"]", &[("TUS_MAX_SIZE", "7")]).unwrap();
        assert_eq!((settings.max_size, &*settings.path), (Some(7), "/up"));
        assert_eq!(settings.expires, Seconds(Duration::from_secs(86400)));
        assert_eq!(settings.cors, ["https://a.example"]);
        let settings = load("[bucket]\nwindow = 8", &[("TUS_CORS", " https://b.example,https://c.example ")]).unwrap();
        assert_eq!(settings.cors, ["https://b.example", "https://c.example"]);
        assert_eq!((settings.bucket.window, settings.bucket.part_size), (8, 8 << 20));
    }

    #[test]
    fn an_empty_variable_empties_texts_and_lists_and_nothing_else() {
        let file = "max_size = 5\ndownload = true\ngrace = 2\ncors = [\"*\"]\nmonitor_addr = \"127.0.0.1:1\"";
        let names = ["TUS_MAX_SIZE", "TUS_DOWNLOAD", "TUS_GRACE", "TUS_CORS", "TUS_MONITOR_ADDR"];
        let settings = load(file, &names.map(|name| (name, ""))).unwrap();
        assert_eq!((settings.max_size, settings.download), (Some(5), true));
        assert_eq!(settings.grace, Seconds(Duration::from_secs(2)));
        assert!(settings.cors.is_empty());
        assert!(settings.monitor_address().unwrap().is_none());
        assert!(error("", &[("TUS_ADDR", "")]).starts_with("`addr` is \"\", but it must be an address and a port"));
    }

    #[test]
    fn a_variable_that_is_no_text_is_refused_by_name() {
        use std::os::unix::ffi::OsStringExt;
        for setting in super::table::SETTINGS {
            let broken = |name: &str| match name == setting.variable() {
                true => Err(VarError::NotUnicode(std::ffi::OsString::from_vec(b"hush\xff".to_vec()))),
                false => Err(VarError::NotPresent),
            };
            let said = Settings::from_layers(None, broken).err().unwrap().to_string();
            assert_eq!(said, format!("{} is not valid UTF-8", setting.variable()));
        }
    }

    #[test]
    fn switches_and_seconds_are_written_as_people_do() {
        for (text, on) in [("on", true), ("off", false), ("true", true), ("false", false)] {
            assert_eq!(load("", &[("TUS_DOWNLOAD", text)]).unwrap().download, on);
        }
        let half = Seconds(Duration::from_millis(500));
        assert_eq!(load("grace = 0.5", &[]).unwrap().grace, half);
        assert_eq!(load("", &[("TUS_GRACE", "0.5")]).unwrap().grace, half);
        assert_eq!(load("grace = 2", &[]).unwrap().grace, Seconds(Duration::from_secs(2)));
    }

    #[test]
    fn invalid_settings_are_refused() {
        for (file, expected) in [
            ("max_sise = 5", "server.toml: unknown setting `max_sise`; did you mean `max_size`?"),
            ("[buckets]\nwindow = 5", "server.toml: unknown setting `buckets.window`; did you mean `bucket.window`?"),
            ("[nothing]", "server.toml: unknown setting `nothing`"),
            ("[addr]\nhost = \"a\"", "server.toml: unknown setting `addr.host`"),
            ("max_size = \"5 GB\"", "server.toml: `max_size` is \"5 GB\", but it must be an integer"),
            ("max_size = -5", "server.toml: `max_size` is -5, but it must be an integer"),
            ("tls = 5", "server.toml: `tls` is a table, with keys of its own"),
            ("grace = -1", "server.toml: `grace` is -1, but it must be a number of seconds"),
            ("download = \"on\"", "server.toml: `download` is \"on\", but it must be true or false"),
            ("cors = \"*\"", "server.toml: `cors` is \"*\", but it must be a list of texts"),
            ("path = files", "server.toml: line 1, column 8: "),
            ("path = files", "; texts need quotes"),
            ("path = /files", "; texts need quotes"),
            ("addr = 127.0.0.1:8080", "; texts need quotes"),
            ("[tls]\ncert = cert.pem", "; texts need quotes"),
            ("cert = \"a\"", "server.toml: unknown setting `cert`; did you mean `tls.cert`?"),
            ("durability = \"fast\"", "`durability` is \"fast\", but it must be synced or buffered"),
            ("location = \"here\"", "`location` is \"here\", but it must be path, host or a URL without a query"),
            ("store = \"ftp://a\"", "`store` must begin with s3://, gs:// or az://, or be memory:"),
            ("cors = [\"app.example\"]", "`cors` has \"app.example\", but an origin is"),
            ("checksums = [\"sha3\"]", "`checksums` has \"sha3\", but these are known: sha1, sha256"),
            (
                "disabled_extensions = [\"upload\"]",
                "`disabled_extensions` has \"upload\", but these are known: creation",
            ),
            ("protocols = []", "`protocols` is empty"),
            ("protocols = [\"ftp\"]", "`protocols` has \"ftp\", but these are known: tus, draft"),
            ("path = \"files\"", "`path` is \"files\", but it must begin with a slash"),
            ("path = \"/files#here\"", "`path` is \"/files#here\", but it must begin with a slash"),
            ("path = \"//files\"", "`path` is \"//files\", but it must begin with a slash"),
            ("path = \"/a/%2E./files\"", "`path` is \"/a/%2E./files\", but it must begin with a slash"),
            ("path = \"/a{b}/files\"", "`path` is \"/a{b}/files\", but it must begin with a slash"),
            ("path = '/up\\files'", "but it must begin with a slash"),
            ("cors = [\"https://app.example:443\"]", "`cors` has \"https://app.example:443\", but an origin is"),
            ("cors = [\"https://app.example?x\"]", "`cors` has \"https://app.example?x\", but an origin is"),
            ("cors = [\"https://app.example#x\"]", "`cors` has \"https://app.example#x\", but an origin is"),
            ("path = \"/é\"", "`path` is \"/é\", but it must begin with a slash"),
            ("page = true\nprotocols = [\"draft\"]", "`page` is on, but the page needs tus in `protocols`"),
            ("page = true\ndisabled_extensions = [\"creation\"]", "`page` is on, but the page needs tus"),
            ("addr = \"[::]:81\"\nmonitor_addr = \"127.0.0.1:81\"", "but each needs a port of its own"),
            ("cors = [\"https://App.example\"]", "`cors` has \"https://App.example\", but an origin is"),
            ("cors = [\"https://a@app.example\"]", "`cors` has \"https://a@app.example\", but an origin is"),
            ("cors = [\"https://app.example:\"]", "`cors` has \"https://app.example:\", but an origin is"),
            ("cors = [\"https://app.example:99999\"]", "`cors` has \"https://app.example:99999\", but an origin is"),
            ("cors = [\"https://app.example:https\"]", "`cors` has \"https://app.example:https\", but an origin is"),
            ("cors = [\"https://app.example:08443\"]", "`cors` has \"https://app.example:08443\", but an origin is"),
            ("cors = [\"https://*.app.example\"]", "`cors` has \"https://*.app.example\", but an origin is"),
            ("log = \"\"", "`log` is \"\", but it must be error, warn, info, debug or trace"),
            ("log = \"off\"", "`log` is \"off\", but it must be error, warn, info, debug or trace"),
            ("page = true\npath = \"/up\"", "`path` is \"/up\", but with `page` it must end with /files"),
            ("addr = \"here\"", "`addr` is \"here\", but it must be an address and a port"),
            ("addr = \"unix:\"", "`addr` is \"unix:\", but it must be an address and a port"),
            ("socket_mode = \"999\"", "`socket_mode` is \"999\", but it must be an octal number"),
            ("bucket.key = \"films\"", "`bucket.key` is \"films\", but it must contain {id}"),
            ("log = \"loud\"", "`log` is \"loud\", but it must be error, warn, info, debug or trace"),
            ("log_format = \"xml\"", "`log_format` is \"xml\", but it must be text or json"),
            (
                "webhooks.url = \"ftp://a\"\nwebhooks.secrets = [\"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"]",
                "`webhooks.url` must be an http or https URL",
            ),
            ("webhooks.url = \"http://a\"", "messages cannot be signed"),
            (
                "webhooks.url = \"http://a\"\nwebhooks.hooks = []",
                "`webhooks.hooks` is empty, but `webhooks.url` is set",
            ),
            (
                "webhooks.url = \"http://a\"\nwebhooks.hooks = [\"finish\"]",
                "`webhooks.hooks` has \"finish\", but these are known: authorize",
            ),
            ("webhooks.url = \"http://a\"\nwebhooks.headers = [\"a b\"]", "`webhooks.headers` has \"a b\""),
            (
                "webhooks.url = \"http://a\"\nwebhooks.secrets_file = \"/nowhere\"",
                "`webhooks.secrets_file` cannot be read",
            ),
            ("tls.cert = \"/nowhere\"\ntls.key = \"/nowhere\"", "the file of `tls.cert` cannot be read: No such file"),
            ("tls.cert = \"a\"", "`tls.cert` and `tls.key` belong together"),
        ] {
            let said = error(file, &[]);
            assert!(said.contains(expected), "{file}: {said}");
        }
        assert!(!error("max_size = 5 GB", &[]).contains("quotes"));
        let said = error("", &[("TUS_MAX_SIZE", "5 GB")]);
        assert_eq!(said, "TUS_MAX_SIZE is \"5 GB\", but it must be an integer, 0 or more");
        let said = error("", &[("TUS_DOWNLOAD", "yes")]);
        assert_eq!(said, "TUS_DOWNLOAD is \"yes\", but it must be on or off");
    }

    #[test]
    fn origins_are_accepted_as_browsers_write_them() {
        for origin in [
            "https://app.example",
            "https://app.example:8443",
            "http://app.example:443",
            "https://127.0.0.1",
            "http://[::1]",
            "http://[::1]:3000",
            "capacitor://localhost",
        ] {
            load(&format!("cors = [\"{origin}\"]"), &[]).unwrap();
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        for (file, expected) in [
            ("[webhooks]\nsecrets = \"whsec_hush\"", "server.toml: `webhooks.secrets` must be a list of texts"),
            ("[webhooks]\nsecrets = [\"whsec_hush\"", "server.toml: line 2, column "),
            ("[webhooks]\nsecrets = [\"whsec_hush\"]\nurl = 5", "server.toml: `webhooks.url` must be a text"),
            (
                "[webhooks]\nsecrets = [\"whsec_hush\"]\nurl = \"http://a\"",
                "a secret must be `whsec_` followed by at least",
            ),
            (
                "[webhooks]\nsecrets = [\"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"]\nurl = \"ftp://a:hush@b\"",
                "`webhooks.url` must be an http or https URL",
            ),
            ("store = \"s3://key:hush@bucket\"", "`store` must not contain credentials"),
            ("store = \"s3://bucket/a?sig=hush\"", "`store` must not contain credentials"),
            ("store = \"s3://bucket/a#hush\"", "`store` must not contain credentials"),
            ("store = \"s3://key:hush\"", "`store` must not contain credentials"),
            ("store = \"ftp://a/hush\"", "`store` must begin with s3://, gs:// or az://, or be memory:"),
            ("store = \"hush:a\"", "`store` must begin with s3://"),
            ("store = [\"hush\"]", "server.toml: `store` must be a text"),
            ("tls.key = [\"hush\"]", "server.toml: `tls.key` must be a text"),
            ("tls.key = \"/nowhere\"\ntls.cert = \"hush\"", "the file of `tls.cert` cannot be read: No such file"),
            (
                "webhooks.url = \"http://a\"\nwebhooks.secrets_file = \"whsec_hush\"",
                "the file of `webhooks.secrets_file` cannot be read: No such file",
            ),
        ] {
            let said = error(file, &[]);
            assert!(said.contains(expected) && !said.contains("hush"), "{file}: {said}");
        }
    }

    #[test]
    fn webhooks_that_go_nowhere_are_refused() {
        for file in [
            "[webhooks]\nhooks = [\"authorize\"]",
            "[webhooks]\nheaders = [\"authorization\"]",
            "[webhooks]\nsecrets = [\"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"]",
            "[webhooks]\nsecrets_file = \"/nowhere\"",
        ] {
            assert!(error(file, &[]).starts_with("`webhooks.url` is not set, but "), "{file}");
        }
        assert!(error("[webhooks]\nhooks = [\"finish\"]", &[]).contains("has \"finish\""));
    }

    #[test]
    fn times_that_break_the_server_are_refused() {
        for key in ["body_timeout", "download_timeout", "checkpoint_interval", "sweep_interval", "webhooks.timeout"] {
            assert_eq!(error(&format!("{key} = 0"), &[]), format!("`{key}` is 0, but it must be at least 0.1 seconds"));
        }
        let expected = "server.toml: `grace` is 315360001, but it must be a number of seconds, 0 to 315360000";
        assert_eq!(error("grace = 315360001", &[]), expected);
        assert!(load("grace = 315360000", &[]).is_ok());
        assert_eq!(
            error("busy_timeout = 2073601", &[]),
            "`busy_timeout` is 2073601, but it must be at most 2073600 seconds"
        );
        let expected = "`bucket.request_timeout` is 0.5, but it must be at least 1 seconds";
        assert_eq!(error("bucket.request_timeout = 0.5", &[]), expected);
        assert_eq!(error("max_connections = 0", &[]), "`max_connections` is 0, but it must be 1 to 1000000");
        assert_eq!(error("dir = \"\"", &[]), "`dir` is empty, but uploads need a directory");
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        for (file, expected) in [
            (
                "addr = \"127.0.0.1:8081\"",
                "`addr` is \"127.0.0.1:8081\" and `monitor_addr` is \"127.0.0.1:8081\", but each needs a port of its own",
            ),
            (
                "addr = \"0.0.0.0:9\"\nmonitor_addr = \"127.0.0.1:9\"",
                "`addr` is \"0.0.0.0:9\" and `monitor_addr` is \"127.0.0.1:9\", but each needs a port of its own",
            ),
            (
                "min_append_size = 9\nmax_append_size = 5",
                "`min_append_size` is 9, but it must be at most `max_append_size`, which is 5",
            ),
            ("max_append_size = 0", "`max_append_size` is 0, but it must be at least 1"),
            ("max_metadata = 0", "`max_metadata` is 0, but it must be at least 1"),
            (
                "max_parts = 0",
                "`max_parts` is 0, but it must be at least 1; to turn concatenation off, add it to `disabled_extensions`",
            ),
            (
                "download_inline = [\"image/png\", \"html\"]",
                "`download_inline` has \"html\", but a media type is a type and a subtype, as in image/png",
            ),
            (
                "download_inline = [\"image/*\"]",
                "`download_inline` has \"image/*\", but a media type is a type and a subtype, as in image/png",
            ),
            ("bucket.part_size = 1", "`bucket.part_size` is 1, but it must be at least 5242880"),
            ("bucket.window = 1", "`bucket.window` is 1, but it must be at least 2"),
            ("bucket.memory = 1", "`bucket.memory` is 1, but it must be at least 8388608"),
        ] {
            assert_eq!(error(file, &[]), expected);
        }
        for file in [
            "addr = \"127.0.0.1:0\"\nmonitor_addr = \"127.0.0.1:0\"",
            "addr = \"127.0.0.1:9\"\nmonitor_addr = \"127.0.0.2:9\"",
            "addr = \"127.0.0.1:9\"\nmonitor_addr = \"\"",
            "min_append_size = 5\nmax_append_size = 5",
            "max_metadata = 1\nmax_parts = 1\nmax_append_size = 1",
            "download_inline = [\"image/svg+xml\", \"application/vnd.ms-excel\"]",
            "bucket.part_size = 5_242_880\nbucket.window = 2\nbucket.memory = 8_388_608",
            "disabled_extensions = [\"concatenation\"]",
        ] {
            load(file, &[]).unwrap();
        }
    }

    #[test]
    fn misspelled_variables_are_doubtful() {
        let expected = Some("unknown variable TUS_WEBHOOK_URL; did you mean TUS_WEBHOOKS_URL?".to_owned());
        assert_eq!(layers::doubt("TUS_WEBHOOK_URL"), expected);
        assert!(layers::doubt("TUS_WEBHOOK_XYZ").unwrap().starts_with("unknown variable TUS_WEBHOOK_XYZ"));
        for name in ["TUS_ADDR", "TUS_CONFIG", "TUS_SERVICE_HOST", "TUS_PORT", "PATH", "TUS_"] {
            assert_eq!(layers::doubt(name), None, "{name}");
        }
    }

    /// Each setting of the table is a field, and each field a setting.
    #[test]
    fn every_setting_can_be_set() {
        use super::table::{Kind, SETTINGS};
        let value = |kind| match kind {
            Kind::Text | Kind::SecretText => "\"x\"",
            Kind::Integer | Kind::Seconds => "7",
            Kind::Switch => "true",
            Kind::List | Kind::SecretList => "[\"x\"]",
        };
        let text: String =
            SETTINGS.iter().map(|setting| format!("{} = {}\n", setting.key, value(setting.kind))).collect();
        Settings::from_layers(Some((Path::new("all.toml"), &text)), |_| Err(VarError::NotPresent)).unwrap();
    }

    /// The example has each setting with its default, commented out.
    #[test]
    fn the_example_file_shows_every_default() {
        let example = include_str!("../../server.toml");
        let set = |line: &str| match line.strip_prefix("# ") {
            Some(rest) if rest.starts_with('[') => rest.to_owned(),
            Some(rest)
                if rest
                    .split_once(" = ")
                    .is_some_and(|(key, _)| key.chars().all(|c| c == '_' || c.is_ascii_lowercase())) =>
            {
                rest.to_owned()
            }
            _ => line.to_owned(),
        };
        let all: String = example.lines().map(|line| set(line) + "\n").collect();
        let table: toml::Table = all.parse().unwrap();
        let mut defaults = layers::defaults().unwrap();
        for setting in super::table::SETTINGS {
            let shown = layers::get(&table, setting.key);
            assert!(shown.is_some(), "{} is missing", setting.key);
            if !setting.default.is_empty() {
                assert_eq!(shown, layers::get(&defaults, setting.key), "{}", setting.key);
            }
        }
        layers::add_file(&mut defaults, Path::new("server.toml"), &all).unwrap();
        // As it is, it changes nothing.
        assert!(example.parse::<toml::Table>().unwrap().is_empty());
    }
}
