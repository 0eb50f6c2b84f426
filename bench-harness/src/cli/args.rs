//! What the command line takes. The comments here are the help texts.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use kv_api::{Background, Durability, IoMode};

use crate::calibrate::When;
use crate::run::Overrides;
use crate::tool::keys::ScanRequest;
use crate::tool::open::Target;

/// A laboratory for storage engines: the same work on each of them, and every byte accounted for.
///
/// Alone it runs the main job: the B+tree and the LSM tree, a read-heavy and a write-heavy workload, a table here
/// and a page with charts in the --out directory.
#[derive(Debug, Parser)]
#[command(name = "kvlab", version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do; nothing means the main job.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to run the main job.
    #[command(flatten)]
    pub run: RunOptions,
    /// Print results as JSON, one value per line.
    #[arg(long, global = true)]
    pub json: bool,
}

const EXAMPLES: &str = "Examples:
  kvlab                                     the main job, under two minutes
  kvlab --scale smoke                       the same in a few seconds
  kvlab run ycsb-a --engine btree,lsm       one ready workload
  kvlab run my.toml --memory 64MiB --seed 7 your own, see `kvlab list`
  kvlab list                                engines, options and workloads

Exit codes: 0; 1 a run failed; 2 usage or bad file; 3 a check failed; 4 damage
found; 130 interrupted.";

const RUN_EXAMPLES: &str = "Examples:
  kvlab run read-heavy --dry-run
  kvlab run ycsb-a ycsb-b --engine btree,btree:page_size=8KiB,lsm --threads 2
  kvlab run write-heavy --engine lsm --durability disk --ack-log acks --keep
  kvlab run ycsb-d --scale smoke --engine btree --record ycsb-d.trace";

const MODEL_EXAMPLES: &str = "Examples:
  kvlab model
  kvlab model --with-fit --out results-model
  kvlab model --from results-model";

const ADVISE_EXAMPLES: &str = "Examples:
  kvlab advise write-heavy
  kvlab advise ycsb-a --memory 256MiB --durability disk --threads 8
  kvlab advise my.toml --from kvlab-results --json";

const CLAIMS_EXAMPLES: &str = "Examples:
  kvlab claims                              all of them, 20 minutes
  kvlab claims C03 C10 --scale lab --out verdicts
  kvlab claims --from verdicts/claims.json  the verdicts again, nothing is run";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run workloads on engines.
    Run(Box<RunArgs>),
    /// Settle claims about B+trees and LSM trees: run what decides each, and say where it is true.
    Claims(ClaimsArgs),
    /// Show engines, their options, the ready workloads, and the claims.
    #[command(after_help = "Example:\n  kvlab list --json")]
    List,
    /// Set two results against each other: ratios with intervals where the runs were equal.
    #[command(after_help = "Example:\n  kvlab compare results-before results-after")]
    Compare {
        /// A directory that `run --out` wrote.
        before: PathBuf,
        /// Another one.
        after: PathBuf,
    },
    /// Print the summary of a result again and write its page anew.
    #[command(after_help = "Example:\n  kvlab report kvlab-results")]
    Report {
        /// A directory that `run --out` wrote.
        #[arg(default_value = "kvlab-results")]
        dir: PathBuf,
    },
    /// Rank engine settings for a workload by theory: how fast each can be at most, what binds it, and what would change
    /// the choice. Runs nothing but the calibration of the device.
    Advise(Box<AdviseArgs>),
    /// Judge the cost model: run three configurations that its constants do not come from, a few minutes each, and print
    /// every error, misses too; exit code 3 if one is too large.
    Model(Box<ModelArgs>),
    /// Read a whole database and check every invariant; with --acks, every acknowledged write too.
    #[command(
        after_help = "Examples:\n  kvlab verify db\n  kvlab verify kvlab-data/write-heavy-lsm --acks acks"
    )]
    Verify {
        /// What to check.
        #[command(flatten)]
        target: TargetArgs,
        /// The file that `run --ack-log` wrote.
        #[arg(long, value_name = "FILE")]
        acks: Option<PathBuf>,
    },
    /// Print the value of a key; exit code 1 if there is none.
    #[command(after_help = "Example:\n  kvlab get db apple")]
    Get {
        /// Where.
        #[command(flatten)]
        target: TargetArgs,
        /// The key: printable ASCII, or \xHH, \t, \n, \r and \\.
        key: String,
        /// Keys and values in hex.
        #[arg(long)]
        hex: bool,
    },
    /// Set a key.
    #[command(after_help = "Example:\n  kvlab put db apple red --create btree")]
    Put {
        /// Where.
        #[command(flatten)]
        target: WriteArgs,
        /// The key: printable ASCII, or \xHH, \t, \n, \r and \\.
        key: String,
        /// The value, written likewise.
        value: String,
        /// Keys and values in hex.
        #[arg(long)]
        hex: bool,
        /// What the write survives: memory, os or disk.
        #[arg(long, value_name = "LEVEL", default_value = "disk")]
        durability: Durability,
    },
    /// Remove a key; it need not exist.
    #[command(after_help = "Example:\n  kvlab delete db apple")]
    Delete {
        /// Where.
        #[command(flatten)]
        target: TargetArgs,
        /// The key: printable ASCII, or \xHH, \t, \n, \r and \\.
        key: String,
        /// The key in hex.
        #[arg(long)]
        hex: bool,
        /// What the delete survives: memory, os or disk.
        #[arg(long, value_name = "LEVEL", default_value = "disk")]
        durability: Durability,
    },
    /// Print entries in key order, one per line: key, tab, value.
    #[command(after_help = "Example:\n  kvlab scan db --prefix user --reverse --limit 10")]
    Scan {
        /// Where.
        #[command(flatten)]
        target: TargetArgs,
        /// Which entries.
        #[command(flatten)]
        request: ScanArgs,
        /// Keys and values in hex.
        #[arg(long)]
        hex: bool,
    },
    /// Print a whole database as lines that `load` reads back.
    #[command(after_help = "Example:\n  kvlab dump db | kvlab load copy - --create lsm")]
    Dump {
        /// Where.
        #[command(flatten)]
        target: TargetArgs,
        /// Keys and values in hex.
        #[arg(long)]
        hex: bool,
    },
    /// Run one cell for `kvlab run`: reads its order from standard input.
    #[command(hide = true)]
    Cell,
    /// Put every entry of a dump.
    #[command(after_help = "Example:\n  kvlab load copy dump.txt --create lsm")]
    Load {
        /// Where.
        #[command(flatten)]
        target: WriteArgs,
        /// What `dump` wrote; `-` is standard input.
        file: PathBuf,
    },
}

/// Arguments of `advise`.
#[derive(Debug, Args)]
#[command(after_help = ADVISE_EXAMPLES)]
pub struct AdviseArgs {
    /// A workload file, or the name of a ready workload.
    #[arg(value_name = "FILE|NAME")]
    pub workload: String,
    /// Memory budget of each engine, such as 32MiB [default: as the workload says].
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, allow_negative_numbers = true)]
    pub memory: Option<u64>,
    /// What an acknowledged write survives: memory, os or disk [default: as the workload says].
    #[arg(long, value_name = "LEVEL")]
    pub durability: Option<Durability>,
    /// Client threads [default: as the workload says].
    #[arg(
        long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256),
        allow_negative_numbers = true
    )]
    pub threads: Option<u32>,
    /// Another size: smoke (seconds), lab (minutes), full (hours) [default: as the workload says].
    #[arg(long, value_name = "SIZE")]
    pub scale: Option<String>,
    /// The measured phase, by its name [default: the first].
    #[arg(long, value_name = "NAME")]
    pub phase: Option<String>,
    /// Cores of the machine that is to serve it [default: those of this one].
    #[arg(
        long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096),
        allow_negative_numbers = true
    )]
    pub cores: Option<u32>,
    /// A result of `run --out`: the processor's costs, the nearest measured phase and the device come from it.
    #[arg(long, value_name = "DIR")]
    pub from: Option<PathBuf>,
    /// Where the data would lie: its device is calibrated.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
    /// When to calibrate: daily, now or never; without, the device binds nothing.
    #[arg(long, value_name = "WHEN", default_value = "daily", env = "KVLAB_CALIBRATE")]
    pub calibrate: When,
}

/// Arguments of `model`.
#[derive(Debug, Args)]
#[command(after_help = MODEL_EXAMPLES)]
pub struct ModelArgs {
    /// How to run them; buffered unless --io says otherwise.
    #[command(flatten)]
    pub options: RunOptions,
    /// Run the configuration that the constants come from as well: shown, not judged.
    #[arg(long)]
    pub with_fit: bool,
    /// Run nothing: judge what a run left in DIR, by the formulas as they are now.
    #[arg(long, value_name = "DIR", conflicts_with = "with_fit")]
    pub from: Option<PathBuf>,
}

/// A database to read.
#[derive(Debug, Args)]
pub struct TargetArgs {
    /// The directory; its engine is read from it.
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Memory budget, such as 32MiB.
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, allow_negative_numbers = true)]
    pub memory: Option<u64>,
}

/// A database to write.
#[derive(Debug, Args)]
pub struct WriteArgs {
    /// The database.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Make a database of this engine, with options by name, if there is none.
    #[arg(long, value_name = "ENGINE")]
    pub create: Option<String>,
}

/// Which entries a scan prints.
#[derive(Debug, Args)]
pub struct ScanArgs {
    /// The first key.
    #[arg(long, value_name = "KEY")]
    pub from: Option<String>,
    /// The first key left out.
    #[arg(long, value_name = "KEY")]
    pub to: Option<String>,
    /// Only keys that begin with this.
    #[arg(long, value_name = "KEY", conflicts_with_all = ["from", "to"])]
    pub prefix: Option<String>,
    /// From large keys to small ones.
    #[arg(long)]
    pub reverse: bool,
    /// How many entries at most.
    #[arg(long, value_name = "N", value_parser = parse_count, allow_negative_numbers = true)]
    pub limit: Option<u64>,
}

impl From<TargetArgs> for Target {
    fn from(args: TargetArgs) -> Target {
        Target { dir: args.dir, create: None, memory: args.memory }
    }
}

impl From<WriteArgs> for Target {
    fn from(args: WriteArgs) -> Target {
        Target { create: args.create, ..args.target.into() }
    }
}

impl From<ScanArgs> for ScanRequest {
    fn from(args: ScanArgs) -> ScanRequest {
        let ScanArgs { from, to, prefix, reverse, limit } = args;
        ScanRequest { from, to, prefix, reverse, limit }
    }
}

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(after_help = RUN_EXAMPLES)]
pub struct RunArgs {
    /// Workload files, or names of ready workloads.
    #[arg(required = true, value_name = "FILE|NAME")]
    pub workloads: Vec<String>,
    /// How to run them.
    #[command(flatten)]
    pub options: RunOptions,
    /// Note the last acknowledged operation of each client in FILE, which survives kill -9; for one workload on
    /// one engine. `kvlab verify DIR --acks FILE` checks it.
    #[arg(long, value_name = "FILE")]
    pub ack_log: Option<PathBuf>,
    /// Write every request down in FILE, a trace that a phase of kind replay sends to any engine; for one workload on
    /// one engine. The trace holds keys and lengths, no values.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
}

/// Arguments of `claims`.
#[derive(Debug, Args)]
#[command(after_help = CLAIMS_EXAMPLES)]
pub struct ClaimsArgs {
    /// Numbers of claims, such as C03 [default: all, see `kvlab list`].
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// How large: smoke (20 minutes for all) or lab (up to an hour each).
    #[arg(long, value_name = "SIZE", default_value = "smoke", value_parser = ["smoke", "lab"])]
    pub scale: String,
    /// Derive the verdicts again from a file that --out wrote, and run nothing.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["scale", "dry_run", "repeats"])]
    pub from: Option<PathBuf>,
    /// Which way data files reach the disk: direct or buffered [default: as the claim says].
    #[arg(long, value_name = "MODE")]
    pub io: Option<IoMode>,
    /// How often each run is repeated; three are needed for a verdict [default: as the claim says].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub repeats: Option<u32>,
    /// Where the file of verdicts and the report go; claims that are not run now keep what is there.
    #[arg(long, value_name = "DIR", default_value = "kvlab-results")]
    pub out: PathBuf,
    /// Where the databases are made; removed at the end.
    #[arg(long, value_name = "DIR", default_value = "kvlab-data")]
    pub dir: PathBuf,
    /// When to calibrate the counters of this machine and the device under --dir: daily, now or never.
    #[arg(long, value_name = "WHEN", default_value = "daily", env = "KVLAB_CALIBRATE")]
    pub calibrate: When,
    /// Say what would be run, and stop.
    #[arg(long)]
    pub dry_run: bool,
}

/// Options of every run.
#[derive(Debug, Args)]
pub struct RunOptions {
    /// Engines, with options by name: `btree,lsm:memtable=1MiB,btree:page_size=8KiB`.
    #[arg(long, value_name = "ENGINES")]
    pub engine: Option<String>,
    /// Memory budget of each engine, such as 32MiB [default: as the workload says].
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, allow_negative_numbers = true)]
    pub memory: Option<u64>,
    /// What an acknowledged write survives: memory, os or disk [default: as the workload says].
    #[arg(long, value_name = "LEVEL")]
    pub durability: Option<Durability>,
    /// Which way data files reach the disk: direct or buffered [default: buffered in the main job, whose random
    /// load would wait minutes for a disk; direct in `run`].
    #[arg(long, value_name = "MODE")]
    pub io: Option<IoMode>,
    /// Threads for flushes, compactions and checkpoints, or `inline` for none.
    #[arg(long, value_name = "N", default_value = "1", allow_negative_numbers = true)]
    pub background: Background,
    /// Client threads [default: as the workload says].
    #[arg(
        long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256),
        allow_negative_numbers = true
    )]
    pub threads: Option<u32>,
    /// Another size: smoke (seconds), lab (minutes), full (hours) [default: as the workload says].
    #[arg(long, value_name = "SIZE")]
    pub scale: Option<String>,
    /// Seed of all randomness [default: as the workload says].
    #[arg(long, value_name = "N", value_parser = parse_count, allow_negative_numbers = true)]
    pub seed: Option<u64>,
    /// How often each engine runs, in blocks that hold every engine once: from two on there are error bars
    /// [default: as the workload says].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub repeats: Option<u32>,
    /// The engines that the others are set against, as in --engine, with commas between [default: the first].
    #[arg(long, value_name = "ENGINES")]
    pub baseline: Option<String>,
    /// Bound each run's memory, page cache included, by a control group of so many bytes; needs the permission to make
    /// one.
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, allow_negative_numbers = true)]
    pub cgroup: Option<u64>,
    /// Sync the files and have the page cache forget them between phases.
    #[arg(long)]
    pub drop_caches: bool,
    /// Where the result file and the report go.
    #[arg(long, value_name = "DIR", default_value = "kvlab-results")]
    pub out: PathBuf,
    /// Where the databases are made; removed at the end.
    #[arg(long, value_name = "DIR", default_value = "kvlab-data")]
    pub dir: PathBuf,
    /// Leave the databases behind.
    #[arg(long)]
    pub keep: bool,
    /// Say what would be run, how large and how long, and stop.
    #[arg(long)]
    pub dry_run: bool,
    /// Skip what the result file in --out already has.
    #[arg(long)]
    pub resume: bool,
    /// When to calibrate the counters of this machine and the device under --dir: about 6 s and 64 MiB, kept for the
    /// rest of the day. Without it nothing is checked against the device.
    #[arg(long, value_name = "WHEN", default_value = "daily", env = "KVLAB_CALIBRATE")]
    pub calibrate: When,
}

impl RunOptions {
    /// What these options change in a workload.
    pub fn overrides(&self) -> Overrides {
        Overrides {
            memory: self.memory,
            durability: self.durability,
            threads: self.threads,
            seed: self.seed,
            scale: self.scale.clone(),
            repeats: self.repeats,
            drop_caches: self.drop_caches,
        }
    }
}

fn parse_bytes(text: &str) -> Result<u64, String> {
    workloads::units::parse_size(text)
}

fn parse_count(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("it is not a whole number from 0 to {}", u64::MAX))
}
