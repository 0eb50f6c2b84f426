//! Options of a peer: each tunable by name, with its unit, its default and the values it takes.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use kv_api::limits::Limits;
use kv_api::options::parse_size;
use kv_api::{Background, CommonOptions, Error, Result};

use crate::peer::Peer;

/// One option of a peer, a number or a size in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Tunable {
    /// Its name.
    pub name: &'static str,
    /// What it is, in which unit, and its default.
    pub about: &'static str,
    /// Its default for a memory budget in bytes.
    pub default: fn(u64) -> u64,
    /// Smallest and largest value.
    pub limits: (u64, u64),
}

/// Options of a peer. Sizes in bytes.
pub struct PeerOptions<P> {
    /// What every engine has.
    pub common: CommonOptions,
    own: BTreeMap<&'static str, u64>,
    peer: PhantomData<fn() -> P>,
}

impl<P> Clone for PeerOptions<P> {
    fn clone(&self) -> Self {
        PeerOptions { common: self.common.clone(), own: self.own.clone(), peer: PhantomData }
    }
}

impl<P: Peer> PeerOptions<P> {
    /// The best fair settings for `common`; the reasons stand in the adapter's file.
    pub fn new(common: CommonOptions) -> Self {
        PeerOptions { common, own: BTreeMap::new(), peer: PhantomData }
    }

    /// Sets the option `name`, one of [`Peer::TUNABLES`], from text; sizes as in `8KiB`.
    ///
    /// # Errors
    /// `InvalidOptions`, naming the option and what would do.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let Some(tunable) = P::TUNABLES.iter().find(|tunable| tunable.name == name) else {
            let known: Vec<&str> = P::TUNABLES.iter().map(|tunable| tunable.name).collect();
            let reason = format!("the {} engine has no such option; it has {}", P::NAME, known.join(", "));
            return Err(Error::invalid(name.to_owned(), reason));
        };
        let number = parse_size(name, value)?;
        let (least, most) = tunable.limits;
        if !(least..=most).contains(&number) {
            return Err(Error::invalid(tunable.name, format!("{number} is not from {least} to {most}")));
        }
        self.own.insert(tunable.name, number);
        Ok(())
    }

    /// The value in force of the option `name`; 0 for a name that the peer does not have.
    pub fn get(&self, name: &str) -> u64 {
        let Some(tunable) = P::TUNABLES.iter().find(|tunable| tunable.name == name) else { return 0 };
        let fair = (tunable.default)(self.common.memory_budget);
        self.own.get(name).copied().unwrap_or_else(|| fair.clamp(tunable.limits.0, tunable.limits.1))
    }

    /// The value in force of the option `name`, for those who count in `usize`.
    pub fn get_usize(&self, name: &str) -> usize {
        usize::try_from(self.get(name)).unwrap_or(usize::MAX)
    }

    /// Every option with its value in force.
    pub fn settings(&self) -> impl Iterator<Item = (String, String)> {
        P::TUNABLES.iter().map(|tunable| (tunable.name.to_owned(), self.get(tunable.name).to_string()))
    }

    /// Threads for upkeep. A peer cannot do it on the caller, so `inline` is one thread.
    pub fn threads(&self) -> usize {
        match self.common.background {
            Background::Threads(count) => count.max(1),
            Background::Inline => 1,
        }
    }

    /// The largest key, value and batch.
    pub fn limits(&self) -> Limits {
        Limits::for_budget(self.common.memory_budget, P::KEY_BYTES_MAX)
    }
}
