//! Failures and concurrent changes.

use std::{collections::HashMap, fmt};

use super::Uploads;
use crate::Failure;

type Act = dyn FnOnce(&mut Uploads);

#[derive(Default)]
pub(super) struct Trouble {
    /// The steps that fail when they are taken next, by name.
    named: HashMap<&'static str, Failure>,
    /// The step of the next exchange that fails, by number.
    numbered: Option<(usize, Failure)>,
    meanwhile: HashMap<&'static str, Box<Act>>,
}

impl Trouble {
    pub(super) fn fail(&mut self, step: &'static str, failure: Failure) {
        self.named.insert(step, failure);
    }

    pub(super) fn fail_at(&mut self, number: usize, failure: Failure) {
        self.numbered = Some((number, failure));
    }

    pub(super) fn meanwhile(&mut self, step: &'static str, act: Box<Act>) {
        self.meanwhile.insert(step, act);
    }

    /// Whether something else just changed the uploads.
    pub(super) fn strikes(&mut self, step: &str, uploads: &mut Uploads) -> bool {
        self.meanwhile.remove(step).map(|act| act(uploads)).is_some()
    }

    /// Whether the step succeeds.
    pub(super) fn of(&mut self, step: &str, number: usize) -> Result<(), Failure> {
        let numbered = self.numbered.take_if(|(at, _)| *at == number).map(|(_, failure)| failure);
        self.named.remove(step).or(numbered).map_or(Ok(()), Err)
    }

    /// A number refers to one exchange only.
    pub(super) fn end(&mut self) {
        self.numbered = None;
    }
}

impl fmt::Debug for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meanwhile: Vec<_> = self.meanwhile.keys().collect();
        f.debug_tuple("Trouble").field(&self.named).field(&self.numbered).field(&meanwhile).finish()
    }
}
