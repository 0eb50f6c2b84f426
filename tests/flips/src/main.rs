//! Flips every byte of a small database, one at a time, one process each, and tells what the engine then did: opening,
//! a scan of everything and a get of each key.
//!
//! `cargo run --release --manifest-path tests/flips/Cargo.toml -- [--engines A,B] [--stride N] [--write]`
//!
//! `--write` puts the table between the markers of RELIABILITY.md, or into measured/reliability/flips.md if that has
//! none. It takes some ten minutes and never runs by itself.

mod engines;
mod largest;
mod process;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use engines::{COUNT, LAYOUTS, Layout, Outcome, Seen, entry};
use process::{End, apart};

#[global_allocator]
static ALLOCATOR: largest::Telling = largest::Telling;

/// Flips are dealt out to so many processes.
const WORKERS: usize = 2;
const MARKS: [&str; 2] = ["<!-- flips: begin -->", "<!-- flips: end -->"];

/// What became of a flip: the columns of the table, and the exit codes from 40 on.
const CLASSES: [&str; 7] =
    ["correct", "clean error", "reported dropped tail", "lost", "wrong", "panic", "abort, signal or hang"];
const PANIC: usize = 5;
const SIGNAL: usize = 6;
const CODE: i32 = 40;

/// How many flips ended how.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    classes: [u64; CLASSES.len()],
    largest: u64,
}

static PANICKED: AtomicBool = AtomicBool::new(false);

/// Of zeros in a row the first ones are flipped. Engines prepare files: fjall's journal begins with 64 MiB.
const ZEROS: usize = 512;

/// A file of the database, by its path below the directory.
struct File {
    name: PathBuf,
    /// What it holds, the zeros at its end left out.
    bytes: Vec<u8>,
    /// Which bytes are flipped: all but those behind [`ZEROS`] zeros in a row.
    places: Vec<usize>,
    /// Its length, zeros included.
    len: u64,
}

impl File {
    fn read(name: PathBuf, path: &Path) -> Outcome<File> {
        let mut bytes = fs::read(path)?;
        let len = bytes.len() as u64;
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        bytes.truncate(used + ZEROS);
        let mut zeros = 0;
        let places = (0..bytes.len()).filter(|at| {
            zeros = if bytes[*at] == 0 { zeros + 1 } else { 0 };
            zeros <= ZEROS
        });
        Ok(File { places: places.collect(), name, bytes, len })
    }

    fn write(&self, dir: &Path) -> Outcome<()> {
        let path = dir.join(&self.name);
        fs::create_dir_all(path.parent().unwrap_or(dir))?;
        fs::write(&path, &self.bytes)?;
        Ok(fs::OpenOptions::new().write(true).open(&path)?.set_len(self.len)?)
    }
}

/// Lock files hold nothing.
type Files = Vec<File>;

fn files_below(root: &Path, dir: &Path, files: &mut Files) -> Outcome<()> {
    for found in fs::read_dir(dir)? {
        let path = found?.path();
        if path.is_dir() {
            files_below(root, &path, files)?;
        } else if path.file_name().is_some_and(|name| name != "lock.mdb") {
            files.push(File::read(path.strip_prefix(root)?.to_path_buf(), &path)?);
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(())
}

/// What a reader saw, against what there is. An error is a clean one unless something wrong was handed out before.
fn judge(seen: &Seen, outcome: &Outcome<()>) -> usize {
    let is_right = |key: &[u8], value: &[u8]| (0..COUNT).map(entry).any(|(k, v)| k == key && v == value);
    let ordered = seen.scanned.is_sorted_by(|a, b| a.0 < b.0);
    let scan_right = ordered && seen.scanned.iter().all(|(key, value)| is_right(key, value));
    let got_right =
        seen.got.iter().zip(0..).all(|(got, n)| got.as_deref().is_none_or(|got| got == entry(n).1));
    let all_there = seen.scanned.len() == COUNT as usize && seen.got.iter().all(Option::is_some);
    match () {
        () if PANICKED.load(Ordering::SeqCst) => PANIC,
        () if !scan_right || !got_right => 4,
        () if outcome.is_err() => 1,
        () if all_there => 0,
        () if seen.says_cut => 2,
        () => 3,
    }
}

/// Restores the files with one byte flipped, and reads all in a process of its own.
fn flip(layout: &Layout, files: &mut Files, scratch: &Path, file: usize, at: usize) -> Outcome<(usize, u64)> {
    if scratch.exists() {
        fs::remove_dir_all(scratch)?;
    }
    files[file].bytes[at] ^= 0xFF;
    let written: Outcome<Vec<()>> = files.iter().map(|file| file.write(scratch)).collect();
    files[file].bytes[at] ^= 0xFF;
    written?;
    let (end, largest) = apart(|| {
        std::panic::set_hook(Box::new(|_| PANICKED.store(true, Ordering::SeqCst)));
        let mut seen = Seen::default();
        let read = std::panic::AssertUnwindSafe(|| (layout.read)(scratch, &mut seen));
        let outcome = std::panic::catch_unwind(read).unwrap_or_else(|_| Err("panicked".into()));
        CODE + judge(&seen, &outcome) as i32
    });
    let class = match end {
        End::Code(code) => usize::try_from(code - CODE).unwrap_or(PANIC).min(PANIC),
        End::Signal(_) => SIGNAL,
    };
    Ok((class, largest))
}

/// Every `stride`-th byte whose turn is `worker`'s.
fn work(layout: &Layout, files: &mut Files, scratch: &Path, stride: usize, worker: usize) -> Outcome<Tally> {
    let mut tally = Tally::default();
    let places = files.iter().enumerate().flat_map(|(n, file)| file.places.iter().map(move |at| (n, *at)));
    let all: Vec<_> = places.collect();
    for (file, at) in all.into_iter().step_by(stride).skip(worker).step_by(WORKERS) {
        let (class, largest) = flip(layout, files, scratch, file, at)?;
        tally.classes[class] += 1;
        tally.largest = tally.largest.max(largest);
    }
    Ok(tally)
}

/// One row: makes the database, flips its bytes.
fn row(layout: &Layout, stride: usize) -> Outcome<String> {
    // Memory, where there is some: a disk would be worn for nothing.
    let place = Path::new("/dev/shm");
    let dir = if place.is_dir() { tempfile::tempdir_in(place)? } else { tempfile::tempdir()? };
    let made = dir.path().join("made");
    fs::create_dir(&made)?;
    let (end, _) = apart(|| i32::from((layout.make)(&made).is_err()));
    if end != End::Code(0) && !(layout.name.ends_with("-killed") && end == End::Signal(libc::SIGKILL)) {
        return Err(format!("{}: the database was not made: {end:?}", layout.name).into());
    }
    let mut files = Files::new();
    files_below(&made, &made, &mut files)?;
    let bytes: usize = files.iter().map(|file| file.places.len()).sum();
    let tally = deal(layout, &files, dir.path(), stride)?;
    let largest = match layout.name {
        "sqlite" | "lmdb" => "not seen (C)".to_owned(),
        _ => count(tally.largest),
    };
    let tried = if stride == 1 { String::new() } else { format!(", every {stride}th") };
    let classes: Vec<_> = tally.classes.iter().map(|n| count(*n)).collect();
    Ok(format!("| {}{tried} | {} | {} | {largest} |", layout.title, count(bytes as u64), classes.join(" | ")))
}

/// Lets each worker do its share and adds up.
fn deal(layout: &Layout, files: &Files, dir: &Path, stride: usize) -> Outcome<Tally> {
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let program = std::env::current_exe()?;
            let share = dir.join(format!("files{worker}"));
            files.iter().try_for_each(|file| file.write(&share))?;
            let mut command = std::process::Command::new(program);
            command.args(["work", layout.name, &stride.to_string(), &worker.to_string()]).arg(&share);
            command.arg(dir.join(format!("scratch{worker}"))).stdout(std::process::Stdio::piped());
            Ok(command.stderr(std::process::Stdio::null()).spawn()?)
        })
        .collect::<Outcome<_>>()?;
    let mut sum = Tally::default();
    for worker in workers {
        let output = worker.wait_with_output()?;
        let text = String::from_utf8(output.stdout)?;
        let numbers: Vec<u64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let [classes @ .., largest] = numbers.as_slice() else { return Err("a worker died".into()) };
        for (sum, n) in sum.classes.iter_mut().zip(classes) {
            *sum += n;
        }
        sum.largest = sum.largest.max(*largest);
    }
    Ok(sum)
}

/// A number with its thousands apart.
fn count(n: u64) -> String {
    let digits = n.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

/// Puts the table where it belongs; returns where that is.
fn write(table: &str) -> Outcome<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = root.join("RELIABILITY.md");
    let text = fs::read_to_string(&path).unwrap_or_default();
    let note = format!(
        "\nA process for each flip, under limits of 8 GiB and 10 s of processor time. Bytes: all that were \
         flipped, of zeros in a row the first {ZEROS}; {COUNT} keys of 8 bytes, values of 64. Lost: fewer entries or \
         older ones without an error. Wrong: other keys or values than were written.\n"
    );
    let table = &format!("{table}{note}");
    if let (Some(from), Some(to)) = (text.find(MARKS[0]), text.find(MARKS[1])) {
        let text = format!("{}\n{table}{}", &text[..from + MARKS[0].len()], &text[to..]);
        fs::write(&path, text)?;
        return Ok(path);
    }
    let path = root.join("measured/reliability/flips.md");
    fs::create_dir_all(path.parent().unwrap_or(&root))?;
    fs::write(&path, format!("{}\n{table}{}\n", MARKS[0], MARKS[1]))?;
    Ok(path)
}

fn run(arguments: &[String]) -> Outcome<()> {
    if let [work_word, name, stride, worker, share, scratch] = arguments
        && work_word == "work"
    {
        let layout = LAYOUTS.iter().find(|layout| layout.name == name).ok_or("no such database")?;
        let mut files = Files::new();
        files_below(Path::new(share), Path::new(share), &mut files)?;
        let tally = work(layout, &mut files, Path::new(scratch), stride.parse()?, worker.parse()?)?;
        tally.classes.iter().for_each(|n| print!("{n} "));
        println!("{}", tally.largest);
        return Ok(());
    }
    let after = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)
    };
    let stride: usize = after("--stride").map_or(Ok(1), |stride| stride.parse())?;
    let wanted = |layout: &&Layout| {
        after("--engines").is_none_or(|list| list.split(',').any(|name| name == layout.name))
    };
    let mut table = format!("| database | bytes | {} | largest request (bytes) |\n", CLASSES.join(" | "));
    table += &format!("|---|{}\n", "---:|".repeat(CLASSES.len() + 2));
    print!("{table}");
    for layout in LAYOUTS.iter().filter(wanted) {
        let row = row(layout, stride.max(1))?;
        println!("{row}");
        table += &row;
        table.push('\n');
    }
    if arguments.iter().any(|argument| argument == "--write") {
        println!("written to {}", write(&table)?.display());
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("flips: {error}");
            ExitCode::from(1)
        }
    }
}
