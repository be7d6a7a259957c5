//! One table out of defaults, file and environment.

use std::{env::VarError, path::Path};

use anyhow::{Context, anyhow, bail};
use toml::{Table, Value};

use super::{
    LONGEST,
    table::{Kind, SETTINGS, Setting},
};

/// Names that are less alike than this are not proposed.
const ALIKE: f64 = 0.8;

/// The same for variables, of which others set some: `TUS_PORT` is one of Kubernetes'.
const ALIKE_VARIABLE: f64 = 0.9;

const PREFIX: &str = "TUS_";

impl Kind {
    /// What a value in the file must be.
    fn expected(self) -> &'static str {
        match self {
            Self::Text | Self::SecretText => "a text",
            Self::Integer => "an integer, 0 or more",
            Self::Seconds => "a number of seconds, 0 to 315360000",
            Self::Switch => "true or false",
            Self::List | Self::SecretList => "a list of texts",
        }
    }

    fn accepts(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Text | Self::SecretText, Value::String(_)) | (Self::Switch, Value::Boolean(_)) => true,
            (Self::Integer, Value::Integer(number)) => *number >= 0,
            (Self::Seconds, Value::Integer(number)) => (0.0..=LONGEST).contains(&(*number as f64)),
            (Self::Seconds, Value::Float(number)) => (0.0..=LONGEST).contains(number),
            (Self::List | Self::SecretList, Value::Array(items)) => items.iter().all(Value::is_str),
            _ => false,
        }
    }

    /// The value that a variable has.
    fn read(self, text: &str) -> Option<Value> {
        let value = match self {
            Self::Text | Self::SecretText => Value::String(text.to_owned()),
            Self::Integer => Value::Integer(text.parse().ok()?),
            Self::Seconds => Value::Float(text.parse().ok()?),
            Self::Switch => match text {
                "on" | "true" => Value::Boolean(true),
                "off" | "false" => Value::Boolean(false),
                _ => return None,
            },
            Self::List | Self::SecretList => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Value::Array(items.map(Value::from).collect())
            }
        };
        self.accepts(&value).then_some(value)
    }
}

/// The file's text.
pub(super) fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}

/// All defaults.
pub(super) fn defaults() -> anyhow::Result<Table> {
    let lines = SETTINGS.iter().map(|setting| match setting.default {
        // Its table is there all the same.
        "" => setting.key.split_once('.').map_or(String::new(), |(table, _)| format!("[{table}]\n")),
        default => format!("{} = {default}\n", setting.key),
    });
    let mut merged = Table::new();
    for line in lines {
        let table: Table = line.parse()?;
        for (key, value) in table {
            merge(&mut merged, key, value);
        }
    }
    Ok(merged)
}

/// Adds what the file says.
pub(super) fn add_file(merged: &mut Table, path: &Path, text: &str) -> anyhow::Result<()> {
    let name = path.display();
    let table: Table = text.parse().map_err(|error| anyhow!("{name}: {}", syntax(text, &error)))?;
    check(&table, "").with_context(|| name.to_string())?;
    for (key, value) in table {
        merge(merged, key, value);
    }
    Ok(())
}

/// What is wrong with a text, and where. The line itself is not shown: it may contain a secret.
fn syntax(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    let place = before.map(|before| {
        let line = before.split('\n').count();
        let column = before.rsplit('\n').next().map_or(0, |start| start.chars().count()) + 1;
        format!("line {line}, column {column}: ")
    });
    let line = before.and_then(|before| text.lines().nth(before.matches('\n').count()));
    let hint = if line.is_some_and(is_unquoted) { "; texts need quotes" } else { "" };
    format!("{}{}{hint}", place.unwrap_or_default(), error.message())
}

/// Whether the value in a line that is wrong looks like a text without quotes.
fn is_unquoted(line: &str) -> bool {
    let value = line.split_once('=').map_or("", |(_, value)| value.trim_start());
    let is_quoted = value.starts_with(['"', '\'', '[', '{']);
    !is_quoted && (value.starts_with(|c: char| !c.is_ascii_digit()) || value.contains([':', '/']))
}

/// A sentence about an unknown variable that looks like a setting.
pub(super) fn doubt(variable: &str) -> Option<String> {
    let key = variable.strip_prefix(PREFIX)?;
    if variable == "TUS_CONFIG" || SETTINGS.iter().any(|setting| setting.variable() == variable) {
        return None;
    }
    let alike = |setting: &Setting| strsim::jaro_winkler(&setting.variable()[PREFIX.len()..], key);
    let nearest = SETTINGS.iter().max_by(|a, b| alike(a).total_cmp(&alike(b)))?;
    if alike(nearest) > ALIKE_VARIABLE {
        return Some(format!("unknown variable {variable}; did you mean {}?", nearest.variable()));
    }
    key.starts_with("WEBHOOK").then(|| format!("unknown variable {variable}"))
}

/// Adds what the environment says. An empty variable is an empty text or list; for other kinds, it is as if it were not set.
pub(super) fn add_variables(
    merged: &mut Table,
    variable: impl Fn(&str) -> Result<String, VarError>,
) -> anyhow::Result<()> {
    for setting in SETTINGS {
        let name = setting.variable();
        let text = match variable(&name) {
            Ok(text) if text.is_empty() && !setting.kind.can_be_empty() => continue,
            Ok(text) => text,
            Err(VarError::NotPresent) => continue,
            Err(VarError::NotUnicode(_)) => bail!("{name} is not valid UTF-8"),
        };
        let expected = if setting.kind == Kind::Switch { "on or off" } else { setting.kind.expected() };
        let value = setting.kind.read(&text).ok_or_else(|| match setting.kind.is_secret() {
            true => anyhow!("{name} must be {expected}"),
            false => anyhow!("{name} is {text:?}, but it must be {expected}"),
        })?;
        match setting.key.split_once('.') {
            Some((table, key)) => {
                merge(merged, table.to_owned(), Value::Table(Table::from_iter([(key.to_owned(), value)])))
            }
            None => merge(merged, setting.key.to_owned(), value),
        }
    }
    Ok(())
}

/// The value of a key.
#[cfg(test)]
pub(super) fn get<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        Some((inner, key)) => table.get(inner)?.as_table()?.get(key),
        None => table.get(key),
    }
}

fn merge(merged: &mut Table, key: String, value: Value) {
    match (merged.get_mut(&key), value) {
        (Some(Value::Table(known)), Value::Table(more)) => known.extend(more),
        (_, value) => drop(merged.insert(key, value)),
    }
}

/// Whether there are settings in a table of this name.
fn is_table(name: &str) -> bool {
    SETTINGS.iter().any(|setting| setting.key.split_once('.').is_some_and(|(table, _)| table == name))
}

/// Refuses unknown settings, and what a setting cannot be.
fn check(table: &Table, prefix: &str) -> anyhow::Result<()> {
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        match (SETTINGS.iter().find(|setting| setting.key == key), value) {
            (Some(setting), value) => check_value(setting, value)?,
            (None, Value::Table(inner)) if is_table(&key) || (prefix.is_empty() && !inner.is_empty()) => {
                check(inner, &format!("{key}."))?;
            }
            (None, _) if is_table(&key) => bail!("`{key}` is a table, with keys of its own"),
            (None, _) => return Err(unknown(&key)),
        }
    }
    Ok(())
}

fn check_value(setting: &Setting, value: &Value) -> anyhow::Result<()> {
    let Setting { key, kind, .. } = setting;
    if let Value::Table(inner) = value
        && let Some(name) = inner.keys().next()
    {
        return Err(unknown(&format!("{key}.{name}")));
    }
    if !kind.accepts(value) && kind.is_secret() {
        bail!("`{key}` must be {}", kind.expected());
    }
    if !kind.accepts(value) {
        bail!("`{key}` is {value}, but it must be {}", kind.expected());
    }
    Ok(())
}

fn unknown(key: &str) -> anyhow::Error {
    // Perhaps only its table is missing.
    let likeness = |known: &'static str| match known.rsplit_once('.') {
        Some((_, name)) if name == key => 1.0,
        _ => strsim::jaro_winkler(known, key),
    };
    let alike = SETTINGS.iter().map(|setting| (likeness(setting.key), setting.key));
    match alike.max_by(|(a, _), (b, _)| a.total_cmp(b)) {
        Some((likeness, known)) if likeness > ALIKE => anyhow!("unknown setting `{key}`; did you mean `{known}`?"),
        _ => anyhow!("unknown setting `{key}`"),
    }
}
