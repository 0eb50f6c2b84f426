//! Names of engines and how each is opened under equal common options: the only file that names the engines.
//!
//! An [`EngineSpec`] is what `--engine` takes: `btree`, `lsm:memtable=1MiB`, `btree:page_size=8KiB:fill=90`.
//! Several are separated by commas, and an engine may appear more than once with different options.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use kv_api::{Cause, CommonOptions, Kv, MemoryEngine};
use kv_btree::{BTreeEngine, BTreeOptions};
use kv_io::layout::{IDENTITY_FILE, IDENTITY_NEW_FILE, known_files};
use kv_io::{Env, Identity, RealVfs};
use kv_lsm::{LsmEngine, LsmOptions};

use crate::error::{Failure, Result};
use crate::units::nearest;

/// Settings by name, as given on the command line.
pub type Settings = [(String, String)];

/// Opens one directory.
pub type Opener = Box<dyn Fn(&Path) -> kv_api::Result<Arc<dyn Kv>> + Send + Sync>;

/// Checks the options, and gives what opens a directory with them.
type Prepare = Box<dyn Fn(&CommonOptions, &Settings) -> kv_api::Result<Opener> + Send + Sync>;

/// One engine of a registry.
pub struct Entry {
    about: &'static str,
    options: &'static [(&'static str, &'static str)],
    prepare: Prepare,
}

impl Entry {
    /// One line that says what the engine is.
    pub fn about(&self) -> &'static str {
        self.about
    }

    /// The names of its options, and what each is.
    pub fn options(&self) -> &'static [(&'static str, &'static str)] {
        self.options
    }
}

/// Engines by name.
#[derive(Default)]
pub struct Registry {
    entries: BTreeMap<&'static str, Entry>,
}

/// One engine with its options, as the command line names it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EngineSpec {
    /// The name in the registry.
    pub name: String,
    /// Its options by name, in the order given.
    pub settings: Vec<(String, String)>,
    /// What tells it from every other engine of the run: the text it was given as.
    pub label: String,
}

impl Registry {
    /// A registry without engines.
    pub fn empty() -> Registry {
        Registry::default()
    }

    /// The engines of the laboratory.
    pub fn standard() -> Registry {
        let mut registry = Registry::empty();
        registry.add_with("btree", "a copy-on-write B+tree", BTreeOptions::NAMES, |common, settings| {
            let mut options = BTreeOptions { common: common.clone(), ..BTreeOptions::default() };
            settings.iter().try_for_each(|(name, value)| options.set(name, value))?;
            Ok(Box::new(move |dir| Ok(Arc::new(BTreeEngine::open(dir, options.clone())?))))
        });
        registry.add_with("lsm", "a leveled LSM tree", LsmOptions::NAMES, |common, settings| {
            let mut options = LsmOptions { common: common.clone(), ..LsmOptions::default() };
            settings.iter().try_for_each(|(name, value)| options.set(name, value))?;
            Ok(Box::new(move |dir| Ok(Arc::new(LsmEngine::open(dir, options.clone())?))))
        });
        registry.add("memory", "a sorted map in memory: the oracle, without files", |_, _| {
            Ok(Arc::new(MemoryEngine::new()) as Arc<dyn Kv>)
        });
        registry.add_peers();
        registry
    }

    /// Adds the engines made by others that are compiled in.
    #[cfg(any(feature = "peers", feature = "rocksdb"))]
    fn add_peers(&mut self) {
        macro_rules! add {
            ($peer:ty) => {
                self.add_peer::<$peer>()
            };
        }
        kv_peers::for_every_peer!(add);
    }

    #[cfg(not(any(feature = "peers", feature = "rocksdb")))]
    fn add_peers(&mut self) {}

    #[cfg(any(feature = "peers", feature = "rocksdb"))]
    fn add_peer<P: kv_peers::peer::Peer>(&mut self) {
        let options = P::TUNABLES.iter().map(|tunable| (tunable.name, tunable.about)).collect::<Vec<_>>();
        // A registry is made once in a process.
        let options: &'static [_] = options.leak();
        self.add_with(P::NAME, P::ABOUT, options, |common, settings| {
            let mut options = kv_peers::PeerOptions::<P>::new(common.clone());
            settings.iter().try_for_each(|(name, value)| options.set(name, value))?;
            Ok(Box::new(move |dir| Ok(Arc::new(kv_peers::PeerEngine::open(dir, options.clone())?))))
        });
    }

    /// Adds an engine without options of its own. A name that is there already is replaced.
    pub fn add(
        &mut self,
        name: &'static str,
        about: &'static str,
        open: impl Fn(&Path, &CommonOptions) -> kv_api::Result<Arc<dyn Kv>> + Send + Sync + Copy + 'static,
    ) -> &mut Registry {
        self.add_with(name, about, &[], move |common, _| {
            let common = common.clone();
            Ok(Box::new(move |dir: &Path| open(dir, &common)))
        })
    }

    /// Adds an engine with options. `prepare` refuses values that cannot be used, before any directory is
    /// touched, and gives what opens one; names outside `options` never reach it.
    pub fn add_with(
        &mut self,
        name: &'static str,
        about: &'static str,
        options: &'static [(&'static str, &'static str)],
        prepare: impl Fn(&CommonOptions, &Settings) -> kv_api::Result<Opener> + Send + Sync + 'static,
    ) -> &mut Registry {
        self.entries.insert(name, Entry { about, options, prepare: Box::new(prepare) });
        self
    }

    /// Every engine, by name.
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, &Entry)> {
        self.entries.iter().map(|(name, entry)| (*name, entry))
    }

    /// The engines that the main job compares: the two of the laboratory, or all there are without them.
    pub fn headline(&self) -> Vec<EngineSpec> {
        let of_the_lab: Vec<_> =
            ["btree", "lsm"].into_iter().filter(|n| self.entries.contains_key(n)).collect();
        let names = if of_the_lab.is_empty() { self.entries.keys().copied().collect() } else { of_the_lab };
        names.into_iter().map(EngineSpec::plain).collect()
    }

    /// Parses what `--engine` takes, and gives engines that appear more than once distinct labels.
    ///
    /// # Errors
    /// An unknown engine or option, with the nearest known one.
    pub fn parse_specs(&self, text: &str) -> Result<Vec<EngineSpec>> {
        let mut specs: Vec<EngineSpec> = Vec::new();
        for part in text.split(',').map(str::trim) {
            let mut spec = self.parse_spec(part)?;
            let twins =
                specs.iter().filter(|other| other.label.split('#').next() == Some(&spec.label)).count();
            if twins > 0 {
                spec.label = format!("{}#{}", spec.label, twins + 1);
            }
            specs.push(spec);
        }
        Ok(specs)
    }

    fn parse_spec(&self, text: &str) -> Result<EngineSpec> {
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default().trim();
        let entry = self.entry(name)?;
        let mut settings = Vec::new();
        for part in parts {
            let Some((option, value)) = part.split_once('=') else {
                return Err(Failure::usage(format!(
                    "engine `{text}`: `{part}` is not `option=value`; write it as `{name}:option=value`"
                )));
            };
            let option = option.trim();
            if !entry.options.iter().any(|(known, _)| *known == option) {
                let known: Vec<_> = entry.options.iter().map(|(known, _)| *known).collect();
                return Err(Failure::usage(unknown_option(name, option, &known)));
            }
            settings.push((option.to_owned(), value.trim().to_owned()));
        }
        Ok(EngineSpec { name: name.to_owned(), settings, label: text.to_owned() })
    }

    fn entry(&self, name: &str) -> Result<&Entry> {
        self.entries.get(name).ok_or_else(|| {
            let hint = match nearest(name, self.entries.keys().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => {
                    let known: Vec<_> = self.entries.keys().copied().collect();
                    format!("known engines: {}", known.join(", "))
                }
            };
            let join = if name.contains('=') { " (options of one engine are joined by `:`)" } else { "" };
            Failure::usage(format!("there is no engine `{name}`{join}; {hint}"))
        })
    }

    /// Checks the options of `spec` without touching a directory, and gives what opens one.
    ///
    /// # Errors
    /// An unknown engine, or an option with a value it cannot use.
    pub fn prepare(&self, spec: &EngineSpec, common: &CommonOptions) -> Result<Opener> {
        common.check()?;
        let opener = (self.entry(&spec.name)?.prepare)(common, &spec.settings);
        opener.map_err(|error| Failure::usage(error.to_string()).within(format!("engine `{}`", spec.label)))
    }
}

/// Opens a database of one of the laboratory's own engines over other files than those of this machine, such as a
/// simulated disk.
///
/// # Errors
/// Those of the engine; `InvalidOptions` for an engine that reaches files by itself.
pub fn open_over(env: Env, engine: &str, dir: &Path, common: CommonOptions) -> kv_api::Result<Arc<dyn Kv>> {
    Ok(match engine {
        "btree" => {
            Arc::new(BTreeEngine::open_with(env, dir, BTreeOptions { common, ..BTreeOptions::default() })?)
        }
        "lsm" => Arc::new(LsmEngine::open_with(env, dir, LsmOptions { common, ..LsmOptions::default() })?),
        _ => {
            return Err(kv_api::Error::invalid(
                "engine",
                format!("{engine} has no files but those of the machine"),
            ));
        }
    })
}

/// The name of the engine that made the database in `dir`, `None` if there is none.
///
/// # Errors
/// The identity file is there and cannot be read, or data files are there without one.
pub fn engine_of(dir: &Path) -> Result<Option<String>> {
    if !dir.is_dir() {
        return Ok(None);
    }
    #[cfg(any(feature = "peers", feature = "rocksdb"))]
    if let Some(peer) = kv_peers::home::engine_of(dir)? {
        return Ok(Some(peer));
    }
    let vfs = RealVfs::new();
    if let Some(identity) = Identity::load(&*vfs, dir)? {
        return Ok(Some(identity.engine));
    }
    let entries = vfs.list(dir, Cause::Identity)?;
    let is_unfinished = entries.iter().any(|entry| entry.name == IDENTITY_NEW_FILE);
    match known_files(&entries).first() {
        Some((kind, id)) if !is_unfinished => {
            let what = format!("{} is there without it; restore it from a backup", kind.name(*id));
            Err(kv_api::Error::corruption(dir.join(IDENTITY_FILE), 0, what).into())
        }
        _ => Ok(None),
    }
}

fn unknown_option(engine: &str, option: &str, known: &[&str]) -> String {
    let hint = match nearest(option, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "it has no options of its own".to_owned(),
        None => format!("it has: {}", known.join(", ")),
    };
    format!("engine `{engine}` has no option `{option}`; {hint}")
}

impl EngineSpec {
    /// The engine `name` as it comes.
    pub fn plain(name: &str) -> EngineSpec {
        EngineSpec { name: name.to_owned(), settings: Vec::new(), label: name.to_owned() }
    }

    /// The label as part of a file name.
    pub fn dir_name(&self) -> String {
        self.label.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry() -> Registry {
        let mut registry = Registry::empty();
        registry.add_with("btree", "", &[("page_size", "bytes"), ("fill", "percent")], |_, _| {
            Ok(Box::new(|_: &Path| Ok(Arc::new(MemoryEngine::new()) as Arc<dyn Kv>)))
        });
        registry.add("lsm", "", |_, _| Ok(Arc::new(MemoryEngine::new()) as Arc<dyn Kv>));
        registry
    }

    #[test]
    fn an_engine_may_appear_more_than_once() {
        let specs = registry().parse_specs("btree,lsm,btree:page_size=8KiB:fill=90,btree").unwrap();
        let labels: Vec<_> = specs.iter().map(|spec| spec.label.as_str()).collect();
        assert_eq!(labels, ["btree", "lsm", "btree:page_size=8KiB:fill=90", "btree#2"]);
        assert_eq!(specs[2].settings[1], ("fill".to_owned(), "90".to_owned()));
    }

    #[test]
    fn unknown_names_are_answered_with_the_nearest() {
        let message = |text: &str| registry().parse_specs(text).unwrap_err().to_string();
        assert!(message("btre").contains("did you mean `btree`"), "{}", message("btre"));
        assert!(message("btree:pagesize=1").contains("did you mean `page_size`"));
        assert!(message("lsm:x=1").contains("no options"));
        assert!(message("btree:page_size").contains("option=value"));
        assert!(message("btree:fill=1,page_size=2").contains("joined by `:`"));
    }
}
