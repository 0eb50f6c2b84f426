//! The commands: what `kvlab` takes (`args.rs`) and what each does.

pub mod args;
pub mod list;
pub mod run;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::error::{Exit, Failure, Result};
use crate::output::{Output, complain};
use crate::registry::Registry;
use args::{Cli, Command};

/// Runs the program with the engines of `registry`: parses the command line, does what it says, and gives the exit
/// code. 0; 1 a run failed; 2 usage or bad file; 3 a check failed; 4 damage found; 130 interrupted.
pub fn main_with(registry: Registry) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return unparsed(&error),
    };
    match dispatch(&registry, cli) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(exit)) => ExitCode::from(exit.code()),
        Err(failure) => {
            complain(&failure);
            ExitCode::from(failure.exit.code())
        }
    }
}

fn dispatch(registry: &Registry, cli: Cli) -> Result<Option<Exit>> {
    let mut out = Output::new(cli.json);
    let done = match cli.command {
        None => run::main_job(registry, &cli.run, &mut out),
        Some(Command::Run(args)) => run::run(registry, &args, &mut out),
        Some(Command::List) => list::list(registry, &mut out),
    };
    out.flush()?;
    done
}

/// Help and version go to standard output and are no failure; everything else is one line.
fn unparsed(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // A reader that went away has seen what it wanted.
        let _ = write!(std::io::stdout(), "{}", error.render());
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    let first = text.lines().next().unwrap_or("cannot read the command line");
    let tip = text.lines().find_map(|line| line.trim().strip_prefix("tip: "));
    let first = first.strip_prefix("error: ").unwrap_or(first);
    let tip = tip.map_or_else(|| "`kvlab --help` shows what there is".to_owned(), str::to_owned);
    complain(Failure::usage(format!("{first}; {tip}")));
    ExitCode::from(Exit::Usage.code())
}
