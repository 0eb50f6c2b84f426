//! Writes the inputs that fuzzing begins with: `fuzz_seeds TARGET FOLDER`.

use std::path::PathBuf;
use std::process::ExitCode;

use tests::fuzz::TARGETS;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, folder] = arguments.as_slice() else {
        eprintln!("usage: fuzz_seeds TARGET FOLDER");
        return ExitCode::from(2);
    };
    let Some(target) = TARGETS.iter().find(|target| target.name == name) else {
        let known: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("no target `{name}`; there are {}", known.join(", "));
        return ExitCode::from(2);
    };
    for (n, bytes) in (target.seeds)().iter().enumerate() {
        let path = PathBuf::from(folder).join(format!("seed{n:03}"));
        if let Err(error) = std::fs::write(&path, bytes) {
            eprintln!("cannot write {}: {error}", path.display());
            return ExitCode::from(1);
        }
    }
    ExitCode::SUCCESS
}
