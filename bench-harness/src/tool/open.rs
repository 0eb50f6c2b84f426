//! Opening a directory that a user names: the engine is read from it, or made there when that was asked for.

use std::path::PathBuf;
use std::sync::Arc;

use kv_api::{Background, CommonOptions, IoMode, Kv};

use crate::error::{Failure, Result};
use crate::registry::{EngineSpec, Registry, engine_of};

/// A directory and how to open it.
#[derive(Debug, Clone)]
pub struct Target {
    /// The directory.
    pub dir: PathBuf,
    /// The engine to create there, as `--engine` takes it, if there is no database.
    pub create: Option<String>,
    /// Memory budget in bytes.
    pub memory: Option<u64>,
}

/// What the directory is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reads: no file is changed.
    Read,
    /// Reads and writes.
    Write,
}

impl Target {
    /// Opens the directory with the engine that made it.
    ///
    /// # Errors
    /// There is no database and none is to be created, another one is there than is to be created, or the engine
    /// refuses.
    pub fn open(&self, registry: &Registry, access: Access) -> Result<Arc<dyn Kv>> {
        let found = engine_of(&self.dir)?;
        let (spec, create) = match (&found, &self.create) {
            (Some(found), None) => (EngineSpec::plain(found), false),
            (found, Some(wanted)) => {
                let spec = registry.parse_specs(wanted)?.swap_remove(0);
                if let Some(found) = found.as_ref().filter(|found| **found != spec.name) {
                    return Err(Failure::usage(format!(
                        "{} was made by engine `{found}`, not `{}`; leave --create away, or name another directory",
                        self.dir.display(),
                        spec.name
                    )));
                }
                (spec, found.is_none())
            }
            (None, None) => {
                return Err(Failure::usage(format!(
                    "there is no database in {}; check the path, or make one: kvlab put DIR KEY VALUE --create \
                     ENGINE",
                    self.dir.display()
                )));
            }
        };
        let defaults = CommonOptions::default();
        let common = CommonOptions {
            memory_budget: self.memory.unwrap_or(defaults.memory_budget),
            io: IoMode::Buffered,
            background: Background::Inline,
            read_only: access == Access::Read && !create,
            create,
            ..defaults
        };
        let open = registry.prepare(&spec, &common)?;
        if create {
            std::fs::create_dir_all(&self.dir).map_err(|error| {
                let failure = Failure::io("create the directory", &self.dir, &error);
                if self.dir.exists() { failure.of_argument() } else { failure }
            })?;
        }
        let db = open(&self.dir)?;
        if db.info().io.is_none() {
            return Err(Failure::usage(format!(
                "engine `{}` keeps nothing on disk, so a later command would not find it; name another engine",
                spec.name
            )));
        }
        Ok(db)
    }
}
