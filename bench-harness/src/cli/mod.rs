//! The commands: what `kvlab` takes (`args.rs`) and what each does.

pub mod advise;
pub mod args;
pub mod claims;
pub mod compare;
pub mod list;
pub mod model;
pub mod run;

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::calibrate::{self, Calibration, When};
use crate::error::{Exit, Failure, Result};
use crate::output::{Output, complain};
use crate::registry::Registry;
use crate::sys::interrupt::Interrupt;
use crate::tool::{keys, transfer, verify};
use args::{Cli, Command};

/// Runs the program with the engines of `registry`: parses the command line, does what it says, and gives the exit
/// code. 0; 1 a run failed; 2 usage or bad file; 3 a check failed; 4 damage found; 130 interrupted.
pub fn main_with(registry: Registry) -> ExitCode {
    // Runs get a process each, of this same program, so that they have the same engines.
    let program = std::env::current_exe().ok();
    ExitCode::from(run_as(&registry, program, std::env::args_os(), Box::new(std::io::stdout().lock())))
}

/// The same with a command line (program name first) and standard output given by the caller; every run happens in this
/// process.
pub fn run_with(
    registry: &Registry,
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    stdout: Box<dyn Write>,
) -> u8 {
    run_as(registry, None, args, stdout)
}

fn run_as(
    registry: &Registry,
    program: Option<PathBuf>,
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    stdout: Box<dyn Write>,
) -> u8 {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return unparsed(&error, stdout),
    };
    match dispatch(registry, program, cli, stdout) {
        Ok(None) => 0,
        Ok(Some(exit)) => exit.code(),
        Err(failure) => {
            complain(&failure);
            failure.exit.code()
        }
    }
}

fn dispatch(
    registry: &Registry,
    program: Option<PathBuf>,
    cli: Cli,
    stdout: Box<dyn Write>,
) -> Result<Option<Exit>> {
    let mut out = Output::new(stdout, cli.json);
    let done = match cli.command {
        None => run::main_job(registry, program, &cli.run, &mut out),
        Some(Command::Run(args)) => run::run(registry, program, &args, &mut out),
        Some(Command::Cell) => run::cell(registry),
        Some(Command::Claims(args)) => claims::claims(registry, program, &args, &mut out),
        Some(Command::List) => list::list(registry, &mut out),
        Some(Command::Compare { before, after }) => compare::compare(&before, &after, &mut out),
        Some(Command::Report { dir }) => compare::report(&dir, &mut out),
        Some(Command::Advise(args)) => advise::advise(&args, &mut out),
        Some(Command::Model(args)) => model::model(registry, program, &args, &mut out),
        Some(command) => tools(registry, command, &mut out),
    };
    out.flush()?;
    done
}

/// The commands that work on one directory.
fn tools(registry: &Registry, command: Command, out: &mut Output) -> Result<Option<Exit>> {
    match command {
        Command::Verify { target, acks } => verify::verify(registry, &target.into(), acks.as_deref(), out),
        Command::Get { target, key, hex } => keys::get(registry, &target.into(), &key, hex, out),
        Command::Put { target, key, value, hex, durability } => {
            keys::put(registry, &target.into(), (&key, &value), hex, durability)
        }
        Command::Delete { target, key, hex, durability } => {
            keys::delete(registry, &target.into(), &key, hex, durability)
        }
        Command::Scan { target, request, hex } => {
            keys::scan(registry, &target.into(), &request.into(), hex, out)
        }
        Command::Dump { target, hex } => transfer::dump(registry, &target.into(), hex, out),
        Command::Load { target, file } => transfer::load(registry, &target.into(), &file, out),
        Command::Run(_)
        | Command::Claims(_)
        | Command::Cell
        | Command::List
        | Command::Advise(_)
        | Command::Model(_)
        | Command::Compare { .. }
        | Command::Report { .. } => Ok(None),
    }
}

/// [`calibrate::calibrate`], with a line on the terminal while it lasts.
fn calibrated(dir: &Path, when: When, interrupt: &Interrupt) -> Result<Option<Calibration>> {
    let line = indicatif::ProgressBar::hidden();
    if std::io::stderr().is_terminal() {
        line.set_draw_target(indicatif::ProgressDrawTarget::stderr());
    }
    line.set_style(indicatif::ProgressStyle::with_template("{msg}").unwrap_or_else(|_| line.style()));
    line.set_message("calibrating the counters and the device, about 6 s, once a day");
    line.tick();
    let found = calibrate::calibrate(dir, when, interrupt);
    line.finish_and_clear();
    found
}

/// Help and version go to standard output and are no failure; everything else is one line.
fn unparsed(error: &clap::Error, mut stdout: Box<dyn Write>) -> u8 {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // A reader that went away has seen what it wanted.
        let _ = write!(stdout, "{}", error.render());
        return 0;
    }
    let text = error.render().to_string();
    // The names of missing arguments and the possible values stand on lines of their own behind the first.
    let lines = text.lines().take_while(|line| !line.trim().is_empty()).map(str::trim);
    let first = lines.collect::<Vec<_>>().join(" ");
    let tip = text.lines().find_map(|line| line.trim().strip_prefix("tip: "));
    let first = first.strip_prefix("error: ").unwrap_or(&first);
    let tip = tip.map_or_else(|| "`kvlab --help` shows what there is".to_owned(), str::to_owned);
    complain(Failure::usage(format!("{first}; {tip}")));
    Exit::Usage.code()
}
