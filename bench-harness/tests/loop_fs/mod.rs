//! A file system in an image file, mounted through a loop device: a disk that belongs to one test. Takes root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};

/// A file system of its own, gone with its image when this is dropped.
#[derive(Debug)]
pub struct Loop {
    /// The image.
    pub image: PathBuf,
    /// Where it is mounted.
    pub mount: PathBuf,
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.mount).status();
        let _ = fs::remove_file(&self.image);
        let _ = fs::remove_dir(&self.mount);
    }
}

fn done(command: &mut Command) -> Result<(), String> {
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{command:?}: {}", said(&output))),
        Err(error) => Err(format!("{command:?}: {error}")),
    }
}

impl Loop {
    /// Makes and mounts an image of `bytes` below `dir`, or says why that cannot be.
    pub fn make(dir: &Path, name: &str, bytes: u64) -> Result<Loop, String> {
        // Tests of one process run side by side.
        static MADE: AtomicU64 = AtomicU64::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("{name}-{}-{number}", std::process::id());
        let image = dir.join(format!("{name}.img"));
        fs::File::create(&image).and_then(|file| file.set_len(bytes)).map_err(|error| error.to_string())?;
        // All of it now: what the kernel would write later by itself is no write of an engine.
        let now = "lazy_itable_init=0,lazy_journal_init=0";
        let made = done(Command::new("mkfs.ext4").args(["-q", "-F", "-E", now]).arg(&image));
        if made.is_err() {
            let _ = fs::remove_file(&image);
        }
        made.and_then(|()| Loop::mount(image, dir.join(name)))
    }

    /// Mounts an image that is there; the image is removed if that fails, too.
    pub fn mount(image: PathBuf, mount: PathBuf) -> Result<Loop, String> {
        fs::create_dir_all(&mount).map_err(|error| error.to_string())?;
        let made = Loop { image, mount };
        done(Command::new("mount").args(["-o", "loop"]).arg(&made.image).arg(&made.mount))?;
        Ok(made)
    }
}
