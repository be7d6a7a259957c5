//! The records of a directory.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::anyhow;

use super::tusd::{Directory, Refused, Source};

/// The records that there are.
pub(super) struct Found {
    /// Those that can be imported.
    pub(super) names: Vec<PathBuf>,
    /// Those that cannot, and directories that cannot be read.
    pub(super) refused: Vec<Refused>,
}

impl Found {
    pub(super) fn of(directory: &Directory) -> anyhow::Result<Self> {
        let (mut found, mut claims) = (Vec::new(), BTreeMap::<_, usize>::new());
        let (records, mut refused) = directory.files("info")?;
        for name in records {
            match directory.source(&name) {
                Ok(Source { record, .. }) => {
                    *claims.entry(record.data.clone()).or_default() += 1;
                    let is_own = record.data == Path::new(record.id.as_str());
                    found.push((name, is_own, record.data));
                }
                Err(error) => {
                    // Its file is not that of another upload for that.
                    let data = directory.record(&name).map_or_else(|_| name.with_extension(""), |record| record.data);
                    *claims.entry(data).or_default() += 1;
                    refused.push((name, error));
                }
            }
        }
        let mut names = Vec::new();
        for (name, is_own, data) in found {
            match is_own || claims.get(&data) == Some(&1) {
                true => names.push(name),
                false => refused.push((name, anyhow!("another upload uses its file {data:?} as well"))),
            }
        }
        Ok(Self { names, refused })
    }
}
