//! A disk that keeps only what was synced: the content of a file or a directory at its last sync, and any of the
//! changes since then, complete or torn, in any order.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use super::trace::{Call, Event};

/// The unit that a disk writes atomically: part of a write is on the disk, or not, in multiples of it.
const SECTOR: u64 = 512;

/// A file system.
#[derive(Debug, Default)]
pub(super) struct Disk {
    nodes: Vec<Node>,
    /// Names as the process sees them, and as they are after the worst power cut.
    names: Names,
    durable: Names,
    /// Changes of names that are not durable yet.
    renamings: Vec<Pending<Naming>>,
    opened: HashMap<u32, Opened>,
    /// Calls that have begun, and for a sync, the changes that it makes durable.
    running: HashMap<usize, Running>,
    changes: usize,
}

type Names = BTreeMap<PathBuf, usize>;

/// A file or a directory.
#[derive(Debug, Default)]
struct Node {
    is_directory: bool,
    /// What the process sees.
    bytes: Vec<u8>,
    durable: Vec<u8>,
    changes: Vec<Pending<Change>>,
}

#[derive(Debug)]
struct Opened {
    node: usize,
    path: PathBuf,
    cursor: u64,
}

/// A change that is not durable. Changes are numbered in their order.
#[derive(Debug)]
struct Pending<T> {
    number: usize,
    /// The call that makes it.
    call: usize,
    change: T,
}

#[derive(Debug, Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Cut(u64),
}

#[derive(Debug)]
struct Naming {
    path: PathBuf,
    /// The node that has this name from now on, if any.
    node: Option<usize>,
}

#[derive(Debug)]
enum Running {
    Change,
    Open(Call),
    /// The sync of a file or a directory; it covers changes up to this number whose calls had ended.
    Sync {
        node: usize,
        path: PathBuf,
        covered: Vec<usize>,
    },
}

/// Which unsynced changes survive a power cut.
#[derive(Debug, Clone, Copy)]
pub(super) enum Spared {
    Nothing,
    Everything,
    /// Any of them, complete or torn.
    Some,
    /// The earliest ones, the last of them torn.
    First,
}

impl Spared {
    pub(super) const ALL: [Self; 4] = [Self::Nothing, Self::Everything, Self::Some, Self::First];
}

/// The state after a power cut: directories without bytes, and files.
pub(super) type Found = BTreeMap<PathBuf, Option<Vec<u8>>>;

impl Disk {
    pub(super) fn apply(&mut self, event: &Event) {
        match event {
            Event::Begin(number, call) => self.begin(*number, call),
            Event::End(number) => self.end(*number),
            Event::Gone => {
                self.opened.clear();
                self.running.clear();
            }
        }
    }

    fn begin(&mut self, number: usize, call: &Call) {
        let running = match call {
            Call::Open { .. } => Running::Open(call.clone()),
            Call::Close { fd } => {
                self.opened.remove(fd);
                return;
            }
            Call::Send { .. } | Call::Print { .. } => return,
            Call::Seek { fd, to } => {
                self.opened.get_mut(fd).unwrap().cursor = *to;
                return;
            }
            Call::Write { fd, at, bytes } => {
                let opened = self.opened.get_mut(fd).unwrap();
                let start = at.unwrap_or(opened.cursor);
                if at.is_none() {
                    opened.cursor += bytes.len() as u64;
                }
                let node = opened.node;
                self.change(number, node, Change::Write(start, bytes.clone()))
            }
            Call::Cut { fd, length } => self.change(number, self.opened[fd].node, Change::Cut(*length)),
            Call::Copy { from, to, length } => {
                let source = self.opened.get_mut(from).unwrap();
                let range = source.cursor as usize..(source.cursor + length) as usize;
                source.cursor += length;
                let bytes = self.nodes[source.node].bytes[range].to_vec();
                self.begin(number, &Call::Write { fd: *to, at: None, bytes });
                return;
            }
            Call::Sync { fd } => self.begin_sync(*fd),
            Call::MakeDirectory { path } => {
                let node = self.new_node(true);
                self.name(number, path, Some(node))
            }
            Call::Unlink { path } => self.name(number, path, None),
        };
        self.running.insert(number, running);
    }

    fn end(&mut self, number: usize) {
        match self.running.remove(&number) {
            Some(Running::Open(Call::Open { fd, path, create })) => {
                let node = match self.names.get(&path) {
                    Some(node) => *node,
                    None => {
                        let node = self.new_node(false);
                        // A directory that existed from the start, such as the root, is not created.
                        if create {
                            self.name(number, &path, Some(node));
                        }
                        node
                    }
                };
                self.opened.insert(fd, Opened { node, path, cursor: 0 });
            }
            Some(Running::Sync { node, path, covered }) => {
                let Node { durable, changes, .. } = &mut self.nodes[node];
                changes.retain(|pending| {
                    let is_covered = covered.contains(&pending.number);
                    if is_covered {
                        pending.change.apply(durable, |_| true);
                    }
                    !is_covered
                });
                self.renamings.retain(|pending| {
                    let is_covered = covered.contains(&pending.number) && pending.change.path.parent() == Some(&path);
                    if is_covered {
                        pending.change.apply(&mut self.durable);
                    }
                    !is_covered
                });
            }
            _ => {}
        }
    }

    fn begin_sync(&self, fd: u32) -> Running {
        let Opened { node, path, .. } = &self.opened[&fd];
        let changes = self.nodes[*node].changes.iter().map(|pending| (pending.number, pending.call));
        let namings = self.renamings.iter().map(|pending| (pending.number, pending.call));
        let ended = changes.chain(namings).filter(|(_, call)| !self.running.contains_key(call));
        Running::Sync { node: *node, path: path.clone(), covered: ended.map(|(number, _)| number).collect() }
    }

    fn change(&mut self, call: usize, node: usize, change: Change) -> Running {
        self.changes += 1;
        let node = &mut self.nodes[node];
        change.apply(&mut node.bytes, |_| true);
        node.changes.push(Pending { number: self.changes, call, change });
        Running::Change
    }

    fn name(&mut self, call: usize, path: &Path, node: Option<usize>) -> Running {
        self.changes += 1;
        let change = Naming { path: path.to_owned(), node };
        change.apply(&mut self.names);
        self.renamings.push(Pending { number: self.changes, call, change });
        Running::Change
    }

    fn new_node(&mut self, is_directory: bool) -> usize {
        self.nodes.push(Node { is_directory, ..Node::default() });
        self.nodes.len() - 1
    }

    /// The state if the power fails now.
    pub(super) fn cut(&self, spared: Spared, random: &mut fastrand::Rng) -> Found {
        let last = random.usize(0..=self.changes);
        let mut spares = |number: usize| match spared {
            Spared::Nothing => false,
            Spared::Everything => true,
            Spared::Some => random.bool(),
            Spared::First => number <= last,
        };
        let mut names = self.durable.clone();
        self.renamings.iter().filter(|naming| spares(naming.number)).for_each(|naming| naming.change.apply(&mut names));
        let mut files = HashMap::new();
        for node in names.values() {
            let mut bytes = self.nodes[*node].durable.clone();
            for pending in self.nodes[*node].changes.iter().filter(|pending| spares(pending.number)) {
                let torn = matches!(spared, Spared::Some) || matches!(spared, Spared::First) && pending.number == last;
                let mut sectors = fastrand::Rng::with_seed((last + pending.number) as u64);
                let torn = torn && sectors.bool();
                pending.change.apply(&mut bytes, |_| !torn || sectors.bool());
            }
            files.insert(*node, bytes);
        }
        let is_there = |path: &Path| {
            let above = path.ancestors().skip(1).take_while(|above| self.names.contains_key(*above));
            above.into_iter().all(|above| names.contains_key(above))
        };
        let there = names.iter().filter(|(path, _)| is_there(path));
        there
            .map(|(path, node)| (path.clone(), (!self.nodes[*node].is_directory).then(|| files[node].clone())))
            .collect()
    }
}

impl Change {
    /// Applies the sectors that `spares` lets survive.
    fn apply(&self, bytes: &mut Vec<u8>, mut spares: impl FnMut(u64) -> bool) {
        match self {
            Self::Cut(length) => {
                if spares(0) {
                    bytes.resize(*length as usize, 0);
                }
            }
            Self::Write(at, written) => {
                let end = at + written.len() as u64;
                let mut start = *at;
                while start < end {
                    let next = end.min((start / SECTOR + 1) * SECTOR);
                    if spares(start / SECTOR) {
                        bytes.resize(bytes.len().max(next as usize), 0);
                        let piece = &written[(start - at) as usize..(next - at) as usize];
                        bytes[start as usize..next as usize].copy_from_slice(piece);
                    }
                    start = next;
                }
            }
        }
    }
}

impl Naming {
    fn apply(&self, names: &mut Names) {
        match self.node {
            Some(node) => drop(names.insert(self.path.clone(), node)),
            None => drop(names.remove(&self.path)),
        }
    }
}
