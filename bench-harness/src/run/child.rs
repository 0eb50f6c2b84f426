//! A run in a process of its own: a clean allocator, its own kernel counters, and a crash or a hang that takes nothing
//! else down.
//!
//! The parent starts its own executable as `kvlab cell` and writes an [`Order`] to its standard input; the child
//! runs the cell and leaves a [`Reply`] in a file. The child has a process group of its own, so that of Ctrl-C it hears
//! what the parent passes on and nothing else, and it dies with the parent.

use std::fs;
use std::io::{IsTerminal, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use workloads::toml_file;

use super::cell::{self, CellContext, CellRecord};
use super::plan::{Ground, Run, Workload};
use crate::calibrate::trust::Trust;
use crate::error::{Exit, Failure, Result};
use crate::registry::{EngineSpec, Opener, Registry};
use crate::report::result::write_whole;
use crate::sys::ack::AckLog;
use crate::sys::cgroup::{Group, Place};
use crate::sys::interrupt::Interrupt;

/// The hidden command of the child.
pub const COMMAND: &str = "cell";
/// How often the parent looks whether the child is done.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a child may take beyond what its phases are allowed, and how often that is multiplied.
const HANG_MARGIN: Duration = Duration::from_secs(300);
const HANG_FACTOR: f64 = 4.0;
/// How long an interrupted child may take to write what it has.
const STOP_MARGIN: Duration = Duration::from_secs(120);

/// What a child is to do.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Order {
    /// What tells the cell from every other one.
    pub id: String,
    /// The repetition it belongs to.
    pub block: u32,
    /// The workload as the text of a file, every default and amount written out.
    pub workload: String,
    /// The engine.
    pub engine: EngineSpec,
    /// Which way to the disk, and who does the upkeep.
    pub ground: Ground,
    /// Where databases are made.
    #[serde(with = "path_bytes")]
    pub data_dir: PathBuf,
    /// Whether to leave the database behind.
    pub keep: bool,
    /// Whether progress lines are wanted.
    pub draw: bool,
    /// What calibration found the counters worth; `None`: not calibrated.
    #[serde(default)]
    pub trust: Option<Trust>,
    /// Where the reply goes.
    #[serde(with = "path_bytes")]
    pub reply: PathBuf,
    /// The parent: a child whose parent is another one was orphaned before it began.
    pub parent: u32,
}

/// A path as the bytes it is made of: not every name is UTF-8, and JSON knows nothing else.
mod path_bytes {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        path.as_os_str().as_bytes().serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        Ok(OsString::from_vec(Vec::deserialize(from)?).into())
    }
}

/// What a child leaves.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub enum Reply {
    /// The cell ran, well or not.
    Ran(Box<CellRecord>),
    /// It could not begin.
    Refused {
        /// The exit code that it asks for.
        exit: Exit,
        /// Why.
        message: String,
    },
}

impl Order {
    /// The order for one cell.
    ///
    /// # Errors
    /// A workload that cannot be written as a file: a seed of 2^63 or more.
    pub fn workload_text(workload: &Workload) -> Result<String> {
        toml_file::to_text(&workload.spec).map_err(|error| {
            Failure::usage(format!("workload {} cannot be handed to a process: {error}", workload.name))
        })
    }

    /// Does the order, in the child.
    ///
    /// # Errors
    /// The reply cannot be written; anything else is in the reply.
    pub fn run(&self, registry: &Registry) -> Result<()> {
        // Nobody would wait for the numbers of a run whose parent is gone, and its data would stay for ever.
        let tied = set_parent_process_death_signal(Some(Signal::KILL));
        let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
        if tied.is_err() || parent != Some(self.parent) {
            return Err(Failure::failed("`kvlab cell` is for `kvlab run` to call"));
        }
        let reply = match self.cell(registry) {
            Ok(record) => Reply::Ran(Box::new(record)),
            Err(failure) => Reply::Refused { exit: failure.exit, message: failure.message },
        };
        let text = serde_json::to_string(&reply)
            .map_err(|error| Failure::failed(format!("cannot write the reply as JSON: {error}")))?;
        write_whole(&self.reply, &text)
    }

    fn cell(&self, registry: &Registry) -> Result<CellRecord> {
        let spec = toml_file::parse("the order", &self.workload)
            .map_err(|error| Failure::usage(error.to_string()))?;
        let workload = Workload { name: Workload::name_of(&spec), text: self.workload.clone(), spec };
        let opener = registry.prepare(&self.engine, &self.ground.common(&workload.spec))?;
        let interrupt = Interrupt::install()?;
        let context = CellContext {
            data_dir: &self.data_dir,
            interrupt: &interrupt,
            draw: self.draw,
            keep: self.keep,
            acks: None,
            record: None,
            trust: self.trust,
            own_process: true,
        };
        context.run(self.id.clone(), self.block, &workload, &self.engine, &opener)
    }

    /// Has the order done by a child of `program`, and waits for it. A child that crashes or hangs gives a record that
    /// says so.
    ///
    /// # Errors
    /// The child cannot be started, or refused.
    pub fn hand_out(
        &self,
        program: &Path,
        workload: &Workload,
        group: Option<&Group>,
        interrupt: &Interrupt,
    ) -> Result<CellRecord> {
        let text = serde_json::to_string(self)
            .map_err(|error| Failure::failed(format!("cannot write the order as JSON: {error}")))?;
        let mut child = Command::new(program)
            .arg(COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|error| Failure::io("start", program, &error))?;
        // It does nothing before it has its order, so all its memory is the group's.
        if let Some(Err(failure)) = group.map(|group| group.add(child.id())) {
            let _ = child.kill();
            let _ = child.wait();
            return Err(failure);
        }
        // A child that died before it read everything is found out below.
        let _ = child.stdin.take().map(|mut stdin| stdin.write_all(text.as_bytes()));
        let ended = wait(&mut child, time_allowed(workload), interrupt)
            .map_err(|error| Failure::io("wait for a run of", program, &error))?;
        let reply = fs::read(&self.reply).ok().and_then(|text| serde_json::from_slice::<Reply>(&text).ok());
        let _ = fs::remove_file(&self.reply);
        let cgroup = group.map(Group::record);
        match reply {
            Some(Reply::Ran(record)) => Ok(CellRecord { own_process: true, cgroup, ..*record }),
            Some(Reply::Refused { exit, message }) => Err(Failure { exit, message }),
            None => {
                let left = cell::dir_of(&self.data_dir, workload, &self.engine);
                let evidence = if left.exists() {
                    format!("; its database is left in {}", left.display())
                } else {
                    String::new()
                };
                let why = ended.why() + &evidence;
                let record = CellRecord::lost(self.id.clone(), self.block, workload, &self.engine, why);
                Ok(CellRecord { interrupted: interrupt.is_set(), cgroup, ..record })
            }
        }
    }
}

/// Runs the cells of a plan, each in a child or, without a program to start, in this process.
pub struct Runner<'a> {
    /// What to start; `None`: this process does it.
    pub program: Option<&'a Path>,
    /// What all cells share.
    pub ground: Ground,
    /// Where databases are made.
    pub data_dir: &'a Path,
    /// Where children leave their replies.
    pub reply_dir: &'a Path,
    /// Whether to leave the databases behind.
    pub keep: bool,
    /// Where acknowledged operations are noted, if they are.
    pub acks: Option<&'a AckLog>,
    /// The trace into which this process writes down what clients ask, if it does.
    pub record: Option<&'a Path>,
    /// Where groups with a memory limit can be made, and the limit in bytes, if children are to have one.
    pub limit: Option<(&'a Place, u64)>,
    /// What calibration found the counters worth; `None`: not calibrated.
    pub trust: Option<Trust>,
    /// Set by the user.
    pub interrupt: &'a Interrupt,
}

impl Runner<'_> {
    /// Runs one cell; `open` opens its engine where this process does it.
    ///
    /// # Errors
    /// The cell cannot begin.
    pub fn run(&self, id: String, run: &Run<'_>, open: &Opener) -> Result<CellRecord> {
        let draw = std::io::stderr().is_terminal();
        if let Some(program) = self.program {
            let group = self.limit.map(|(place, bytes)| place.group(bytes)).transpose()?;
            let order = self.order(id, run, draw)?;
            return order.hand_out(program, run.workload, group.as_ref(), self.interrupt);
        }
        let (data_dir, interrupt, keep, acks) = (self.data_dir, self.interrupt, self.keep, self.acks);
        let context = CellContext {
            data_dir,
            interrupt,
            draw,
            keep,
            acks,
            record: self.record,
            trust: self.trust,
            own_process: false,
        };
        context.run(id, run.block, run.workload, &run.engine, open)
    }

    fn order(&self, id: String, run: &Run<'_>, draw: bool) -> Result<Order> {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        Ok(Order {
            id,
            block: run.block,
            workload: Order::workload_text(run.workload)?,
            engine: run.engine.clone(),
            ground: self.ground,
            data_dir: absolute(self.data_dir),
            keep: self.keep,
            draw,
            trust: self.trust,
            reply: absolute(self.reply_dir).join(format!(".reply-{}", std::process::id())),
            parent: std::process::id(),
        })
    }
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Itself(ExitStatus),
    Hung(Duration),
}

impl Ended {
    fn why(self) -> String {
        match self {
            Ended::Hung(after) => {
                format!("it hung: killed after {:.0} s without an end", after.as_secs_f64())
            }
            Ended::Itself(status) => match status.signal() {
                Some(signal) => format!("its process crashed with signal {signal}{}", meaning(signal)),
                None => {
                    format!("its process ended with code {} and left no record", status.code().unwrap_or(-1))
                }
            },
        }
    }
}

/// What the usual signals of a crash mean.
fn meaning(signal: i32) -> &'static str {
    match signal {
        6 => " (abort: it gave up, or ran out of memory)",
        7 => " (bus error: a mapped file was cut, or the disk is full)",
        9 => " (killed: by somebody, or because memory ran out)",
        11 => " (invalid memory access)",
        _ => "",
    }
}

/// The longest a run may take before it counts as hung: four times what its phases are allowed, or are thought to need,
/// and five minutes.
fn time_allowed(workload: &Workload) -> Duration {
    let (rough, caps) = workload.seconds();
    HANG_MARGIN + Duration::from_secs_f64((HANG_FACTOR * caps.unwrap_or(rough * HANG_FACTOR)).min(1e9))
}

fn wait(child: &mut Child, allowed: Duration, interrupt: &Interrupt) -> std::io::Result<Ended> {
    let start = Instant::now();
    let mut deadline = allowed;
    let mut told = false;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Ended::Itself(status));
        }
        if interrupt.is_set() && !told {
            told = true;
            deadline = deadline.min(start.elapsed() + STOP_MARGIN);
            if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                // It may have ended in this moment.
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        if start.elapsed() > deadline {
            child.kill()?;
            child.wait()?;
            return Ok(Ended::Hung(start.elapsed()));
        }
        thread::sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Overrides;

    fn shell(script: &str) -> Child {
        Command::new("sh").arg("-c").arg(script).process_group(0).spawn().unwrap()
    }

    #[test]
    fn a_crash_a_hang_and_a_quiet_end_are_told_apart() {
        let long = Duration::from_secs(60);
        let none = Interrupt::default();
        let crash = wait(&mut shell("kill -SEGV $$"), long, &none).unwrap();
        assert!(crash.why().contains("signal 11 (invalid memory access)"), "{}", crash.why());
        let quiet = wait(&mut shell("exit 3"), long, &none).unwrap();
        assert!(quiet.why().contains("code 3"), "{}", quiet.why());
        let hung = wait(&mut shell("sleep 100"), Duration::from_millis(50), &none).unwrap();
        assert!(matches!(hung, Ended::Hung(_)) && hung.why().contains("hung"));
    }

    #[test]
    fn a_workload_survives_the_way_to_the_child() {
        let overrides = Overrides { scale: Some("smoke".to_owned()), ..Overrides::default() };
        for name in workloads::ready::names() {
            let workloads = Workload::find_all(name, &overrides).unwrap();
            for workload in workloads {
                let text = Order::workload_text(&workload).unwrap();
                assert_eq!(toml_file::parse(name, &text).unwrap(), workload.spec, "{name}");
                assert!(time_allowed(&workload) > HANG_MARGIN);
            }
        }
    }
}
