//! The content of the bucket.

use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    ops::{Bound, Range},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use object_store::{
    Attributes, Error, GetOptions, GetRange, ObjectMeta, PutMode, PutPayload, PutResult, Result, UpdateVersion,
    path::Path,
};
use tokio::time::Instant;

use crate::{Dialect, Rules, answered};

/// The most names in one page of a list.
pub(crate) const PAGE: usize = 1000;

#[derive(Default)]
pub(crate) struct Objects {
    objects: BTreeMap<String, Object>,
    multiparts: BTreeMap<String, Multipart>,
    /// The last number in use.
    numbers: u64,
}

#[derive(Clone)]
struct Object {
    bytes: Bytes,
    generation: u64,
    attributes: Attributes,
    written: Instant,
    modified: SystemTime,
}

struct Multipart {
    key: String,
    parts: BTreeMap<usize, Bytes>,
    attributes: Attributes,
}

/// An object that was read.
pub(crate) struct Read {
    pub(crate) meta: ObjectMeta,
    pub(crate) attributes: Attributes,
    pub(crate) bytes: Bytes,
    pub(crate) range: Range<u64>,
}

/// The same bytes always have the same digest.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

impl Object {
    fn tag(&self, rules: &Rules) -> String {
        if rules.generations { format!("\"{}\"", self.generation) } else { digest(&self.bytes) }
    }

    fn version(&self, rules: &Rules) -> Option<String> {
        rules.generations.then(|| self.generation.to_string())
    }

    fn meta(&self, key: &str, rules: &Rules) -> ObjectMeta {
        ObjectMeta {
            location: Path::parse(key).unwrap_or_else(|_| Path::from(key)),
            last_modified: self.modified.into(),
            size: self.bytes.len() as u64,
            e_tag: Some(self.tag(rules)),
            version: self.version(rules),
        }
    }
}

impl Objects {
    pub(crate) fn keys(&self, prefix: &str) -> Vec<String> {
        let keys = self.objects.range(prefix.to_owned()..).map(|(key, _)| key.clone());
        keys.take_while(|key| key.starts_with(prefix)).collect()
    }

    pub(crate) fn bytes(&self, key: &str) -> Option<&Bytes> {
        self.objects.get(key).map(|object| &object.bytes)
    }

    pub(crate) fn age(&mut self, by: Duration) {
        self.objects.values_mut().for_each(|object| object.modified -= by);
    }

    /// Whether an object was written too recently.
    pub(crate) fn is_too_soon(&self, rules: &Rules, key: &str) -> bool {
        let written = self.objects.get(key).map(|object| object.written);
        matches!((written, rules.write_interval), (Some(last), Some(interval)) if last.elapsed() < interval)
    }

    pub(crate) fn multiparts(&self) -> usize {
        self.multiparts.len()
    }

    /// Whether the condition of a write is true.
    pub(crate) fn check(&self, rules: &Rules, key: &str, mode: &PutMode) -> Result<()> {
        let there = self.objects.get(key);
        match mode {
            _ if rules.ignores_conditions => Ok(()),
            PutMode::Create if there.is_some() => {
                Err(Error::AlreadyExists { path: key.to_owned(), source: "412 Precondition Failed".into() })
            }
            PutMode::Update(UpdateVersion { e_tag, version }) => {
                let same = there.is_some_and(|object| match rules.generations {
                    true => object.version(rules) == *version,
                    false => Some(object.tag(rules)) == *e_tag,
                });
                let changed = || Error::Precondition { path: key.to_owned(), source: "412 Precondition Failed".into() };
                same.then_some(()).ok_or_else(changed)
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn put(
        &mut self,
        rules: &Rules,
        key: &str,
        bytes: Bytes,
        mut attributes: Attributes,
    ) -> Result<PutResult> {
        if rules.forgets_metadata {
            attributes = Attributes::default();
        }
        self.numbers += 1;
        let object = Object {
            bytes,
            generation: self.numbers,
            attributes,
            written: Instant::now(),
            modified: SystemTime::now(),
        };
        let result = PutResult {
            e_tag: Some(object.tag(rules)),
            version: object.version(rules),
            extensions: Default::default(),
        };
        self.objects.insert(key.to_owned(), object);
        Ok(result)
    }

    pub(crate) fn read(&self, rules: &Rules, key: &str, options: &GetOptions) -> Result<Read> {
        let object = self.objects.get(key).ok_or_else(|| absent(key))?;
        let meta = object.meta(key, rules);
        options.check_preconditions(&meta)?;
        let length = object.bytes.len() as u64;
        let outside = || answered("416 Range Not Satisfiable: InvalidRange");
        let range = match &options.range {
            None => 0..length,
            Some(GetRange::Bounded(range)) if range.start < length && range.start < range.end => {
                range.start..range.end.min(length)
            }
            Some(GetRange::Offset(start)) if *start < length => *start..length,
            Some(GetRange::Suffix(last)) => length.saturating_sub(*last)..length,
            Some(_) => return Err(outside()),
        };
        let bytes = object.bytes.slice(range.start as usize..range.end as usize);
        Ok(Read { meta, attributes: object.attributes.clone(), bytes, range })
    }

    pub(crate) fn delete(&mut self, key: &str) {
        self.objects.remove(key);
    }

    /// A page of a list, and whether it is the last one.
    pub(crate) fn page(&self, rules: &Rules, prefix: &str, after: &str) -> (Vec<ObjectMeta>, bool) {
        let from = if after < prefix { Bound::Included(prefix) } else { Bound::Excluded(after) };
        let listed = self.objects.range::<str, _>((from, Bound::Unbounded));
        let mut listed = listed.take_while(|(key, _)| key.starts_with(prefix));
        let page = listed.by_ref().take(PAGE).map(|(key, object)| object.meta(key, rules)).collect();
        (page, listed.next().is_none())
    }

    pub(crate) fn begin(&mut self, key: &str, attributes: Attributes) -> String {
        self.numbers += 1;
        let id = format!("multipart-{}", self.numbers);
        self.multiparts.insert(id.clone(), Multipart { key: key.to_owned(), parts: BTreeMap::new(), attributes });
        id
    }

    pub(crate) fn forget_parts(&mut self) {
        self.multiparts.clear();
    }

    pub(crate) fn put_part(
        &mut self,
        rules: &Rules,
        (key, id, number): (&str, &str, usize),
        payload: PutPayload,
    ) -> Result<String> {
        if rules.dialect == Dialect::Azure && !self.multiparts.contains_key(id) {
            let attributes = Attributes::default();
            self.multiparts
                .insert(id.to_owned(), Multipart { key: key.to_owned(), parts: BTreeMap::new(), attributes });
        }
        let multipart = self.multiparts.get_mut(id).filter(|multipart| multipart.key == key);
        let bytes = Bytes::from(payload);
        let tag = digest(&bytes);
        multipart.ok_or_else(|| absent(id))?.parts.insert(number, bytes);
        Ok(tag)
    }

    /// Makes a part from a range of an object, which must have this tag if one is given.
    pub(crate) fn copy_part(
        &mut self,
        rules: &Rules,
        (from, range, etag): (&str, Range<u64>, Option<&str>),
        (key, id, number): (&str, &str, usize),
    ) -> Result<String> {
        let object = self.objects.get(from).ok_or_else(|| absent(from))?;
        if etag.is_some_and(|etag| etag != object.tag(rules)) {
            return Err(Error::Precondition { path: from.to_owned(), source: "412 Precondition Failed".into() });
        }
        if range.end > object.bytes.len() as u64 || range.is_empty() {
            return Err(answered("400 Bad Request: InvalidRange"));
        }
        let bytes = object.bytes.slice(range.start as usize..range.end as usize);
        self.put_part(rules, (key, id, number), bytes.into())
    }

    pub(crate) fn complete(&mut self, rules: &Rules, key: &str, id: &str, tags: &[String]) -> Result<PutResult> {
        let invalid = |why: &str| match rules.dialect {
            Dialect::Azure => answered("400 Bad Request: <Code>InvalidBlockList</Code>"),
            _ => answered(&format!("400 Bad Request: <Code>InvalidPart</Code>{why}")),
        };
        let multipart = self.multiparts.get(id).filter(|multipart| multipart.key == key);
        let multipart = multipart.ok_or_else(|| match rules.dialect {
            Dialect::S3 => absent(id),
            Dialect::Gcs => answered("404 Not Found: NoSuchUpload"),
            Dialect::Azure => invalid(""),
        })?;
        let mut bytes = Vec::new();
        for (number, tag) in tags.iter().enumerate() {
            let part = multipart.parts.get(&number).ok_or_else(|| invalid(": it is missing"))?;
            if digest(part) != *tag && !rules.ignores_part_tags {
                return Err(invalid(""));
            }
            let first = multipart.parts.get(&0).map_or(0, Bytes::len);
            let is_last = number + 1 == tags.len();
            if !is_last && (part.len() < rules.smallest_part || (rules.equal_parts && part.len() != first)) {
                return Err(answered("400 Bad Request: <Code>EntityTooSmall</Code>"));
            }
            if rules.equal_parts && part.len() > first {
                return Err(invalid(": it is larger than the first"));
            }
            bytes.extend_from_slice(part);
        }
        let forgets = rules.forgets_metadata_of_parts;
        let attributes = if forgets { Attributes::default() } else { multipart.attributes.clone() };
        self.multiparts.remove(id);
        self.put(rules, key, bytes.into(), attributes)
    }

    pub(crate) fn abort(&mut self, rules: &Rules, id: &str) -> Result<()> {
        if rules.dialect == Dialect::Azure {
            // They expire by themselves.
            return Ok(());
        }
        self.multiparts.remove(id).map(drop).ok_or_else(|| absent(id))
    }
}

fn absent(key: &str) -> Error {
    Error::NotFound { path: key.to_owned(), source: "404 Not Found".into() }
}
