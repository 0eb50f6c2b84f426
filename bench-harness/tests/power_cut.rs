//! Power cuts on a real kernel: what was acknowledged at `disk` is on the disk, not only with the kernel.
//!
//! The binary runs write-heavy on a file system of its own, ext4 in an image file behind a loop device, with its ack log
//! outside. At random moments it is stopped, the image is copied with the ack log, and it goes on. The copy holds what the
//! kernel had written to the device by then, as after a power cut, and nothing of what it still had in memory. It is
//! mounted, which replays the journal of ext4, and `kvlab verify --acks` wants every acknowledged write.
//!
//! A copy counts only if the device wrote nothing while it was made, so each is the disk of one moment. So no cut falls
//! into the middle of a sync: the simulated disk of the package `tests` cuts there.
//!
//! Takes root, `mkfs.ext4` and a loop device; without them it says SKIPPED. `KVLAB_TESTS=quick|ci|long` cuts 2, 50 or
//! 300 times per engine. The image lies below `KVLAB_TEST_DIR`, or where cargo keeps the files of tests.

mod loop_fs;
mod share;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use loop_fs::Loop;
use rustix::process::{Pid, Signal, kill_process};
use share::{Dice, by_share, tell};

/// Smoke scale takes a tenth of it; two logs and a tree that is written anew fit.
const IMAGE_BYTES: u64 = 192 << 20;
/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The binary, without calibration.
fn kvlab() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvlab"));
    command.env("KVLAB_CALIBRATE", "never");
    command
}

/// A run on a disk whose power can be cut.
struct Victim {
    disk: Loop,
    /// Outside of the disk: acks and copies.
    outside: tempfile::TempDir,
    engine: &'static str,
    run: String,
    child: Child,
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("it was made by: kvlab {}", self.run);
        }
    }
}

/// What a cut left: the image of the disk and the acks of the same moment.
struct Cut {
    image: PathBuf,
    acks: PathBuf,
}

impl Cut {
    /// Operations acknowledged by then, over all clients and phases.
    fn acknowledged(&self) -> u64 {
        let bytes = fs::read(&self.acks).unwrap();
        // A run that only begins has made the file and not filled it yet.
        let word =
            |at: usize| bytes.get(at..at + 8).map_or(0, |word| u64::from_le_bytes(word.try_into().unwrap()));
        let words_at = usize::try_from(word(16)).unwrap();
        if words_at == 0 { 0 } else { (words_at..bytes.len()).step_by(8).map(word).sum() }
    }
}

fn base() -> PathBuf {
    std::env::var_os("KVLAB_TEST_DIR").unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into()).into()
}

impl Victim {
    /// Starts a run on a fresh disk, or says why there is none.
    fn start(engine: &'static str, durability: &str, seed: u64) -> Result<Victim, String> {
        let disk = Loop::make(&base(), &format!("cut-{engine}-{durability}-{seed}"), IMAGE_BYTES)?;
        let outside = tempfile::tempdir_in(base()).map_err(|error| error.to_string())?;
        let (threads, data) = (1 + seed % 4, disk.mount.join("data"));
        let memory = if seed.is_multiple_of(2) { "1MiB" } else { "8MiB" };
        let run = format!(
            "run write-heavy --engine {engine} --durability {durability} --scale smoke --seed {seed} --threads {threads} \
             --memory {memory} --background 1 --dir {} --keep --ack-log acks --out out",
            data.display()
        );
        let mut command = kvlab();
        command.current_dir(outside.path()).args(run.split_whitespace());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Ok(Victim { disk, outside, engine, run, child })
    }

    fn acks(&self) -> PathBuf {
        self.outside.path().join("acks")
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// What the disk holds now. The run goes on afterwards.
    fn cut(&self, number: u64) -> Cut {
        self.signal(Signal::STOP);
        let path = |name: &str| self.outside.path().join(format!("{name}-{number}"));
        let cut = Cut { image: path("image"), acks: path("acks") };
        let started = Instant::now();
        loop {
            assert!(started.elapsed() < PATIENCE, "the device never comes to rest");
            let before = written(&self.disk.mount);
            let copied =
                Command::new("cp").arg("--sparse=always").args([&self.disk.image, &cut.image]).status();
            assert!(copied.unwrap().success());
            fs::copy(self.acks(), &cut.acks).unwrap();
            if before.is_some() && before == written(&self.disk.mount) {
                break;
            }
        }
        self.signal(Signal::CONT);
        cut
    }

    /// Mounts the image of one cut and checks it against the acks of the same or of another one.
    fn verify(&self, cut: Cut, acks: &Path) -> Output {
        let mount = self.outside.path().join("mount");
        let copy =
            Loop::mount(cut.image, mount).unwrap_or_else(|why| panic!("the file system is lost: {why}"));
        let db = copy.mount.join("data").join(format!("write-heavy-{}", self.engine));
        kvlab().arg("verify").arg(db).arg("--acks").arg(acks).output().unwrap()
    }
}

/// Writes that the loop device under `mount` has done; `None` while some are on their way.
fn written(mount: &Path) -> Option<u64> {
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let mount = mount.to_str().unwrap();
    let line = mounts.lines().find(|line| line.split(' ').nth(1) == Some(mount)).expect("it is mounted");
    let device = line.split(' ').next().and_then(|device| device.strip_prefix("/dev/")).expect("a device");
    let stat = fs::read_to_string(format!("/sys/block/{device}/stat")).unwrap();
    let field = |n: usize| stat.split_whitespace().nth(n).and_then(|word| word.parse::<u64>().ok()).unwrap();
    (field(8) == 0).then(|| field(4) + field(6))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Waits until operations were acknowledged and the database exists. False if the run ended before.
fn wait_for_acks(victim: &mut Victim) -> bool {
    let started = Instant::now();
    let acks = Cut { image: PathBuf::new(), acks: victim.acks() };
    loop {
        assert!(started.elapsed() < PATIENCE, "the run is stuck: kvlab {}", victim.run);
        if acks.acks.exists() && acks.acknowledged() > 0 {
            return true;
        }
        if victim.has_ended() {
            return false;
        }
        sleep(Duration::from_millis(1));
    }
}

/// False, and said so, if this machine lets nobody mount an image. Asked once: what fails after that is a failure.
fn can_mount() -> bool {
    static CAN: OnceLock<Result<(), String>> = OnceLock::new();
    let can = CAN.get_or_init(|| Loop::make(&base(), "cut-probe", IMAGE_BYTES).map(drop));
    if let Err(why) = can {
        tell(&format!("SKIPPED: power_cut: no file system can be mounted through a loop device: {why}"));
    }
    can.is_ok()
}

fn start(engine: &'static str, durability: &str, seed: u64) -> Victim {
    Victim::start(engine, durability, seed).unwrap_or_else(|why| panic!("seed {seed}: no disk: {why}"))
}

/// Cuts runs at random moments until there are enough cuts.
fn cut_runs(engine: &'static str) {
    if !can_mount() {
        return;
    }
    let wanted = by_share(2, 50, 300);
    let (mut cuts, mut seed, mut acknowledged) = (0, 0, 0);
    while cuts < wanted {
        seed += 1;
        let mut dice = Dice::new(engine, seed);
        let mut victim = start(engine, "disk", seed);
        // A dozen of each run at most, so that there are other settings, too.
        for _ in 0..12 {
            sleep(Duration::from_micros(1_000 + dice.below(120_000)));
            if cuts == wanted || !wait_for_acks(&mut victim) || victim.has_ended() {
                break;
            }
            let cut = victim.cut(cuts);
            let acks = cut.acks.clone();
            acknowledged += cut.acknowledged();
            let output = victim.verify(cut, &acks);
            assert_eq!(output.status.code(), Some(0), "cut {cuts}, seed {seed}: {}", said(&output));
            cuts += 1;
        }
        assert!(seed < 20 * wanted, "the runs end before they can be cut");
    }
    tell(&format!(
        "{engine}, power_cut: {cuts} cuts of {seed} runs, {acknowledged} acknowledged operations checked, 0 lost"
    ));
}

#[test]
fn btree() {
    cut_runs("btree");
}

#[test]
fn lsm() {
    cut_runs("lsm");
}

/// The test itself: what was acknowledged after a cut is not in its image, and `verify` must say so.
#[test]
fn an_image_from_before_the_acks_is_found_out() {
    if !can_mount() {
        return;
    }
    let mut victim = start("btree", "disk", 1);
    assert!(wait_for_acks(&mut victim));
    let old = victim.cut(0);
    let before = old.acknowledged();
    let started = Instant::now();
    let later = loop {
        assert!(started.elapsed() < PATIENCE, "nothing more was acknowledged");
        sleep(Duration::from_millis(20));
        let later = victim.cut(1);
        if later.acknowledged() > before + 2000 {
            break later;
        }
    };
    let output = victim.verify(old, &later.acks);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("was acknowledged"), "{}", said(&output));
}

/// The test itself again: a cut takes what was never synced. At `os`, where nothing is, acknowledged writes are gone.
#[test]
fn a_cut_takes_what_was_not_synced() {
    if !can_mount() {
        return;
    }
    // A run may end before it can be cut: at `os` it does not wait for the disk.
    let outcome = (3..13).find_map(|seed| {
        let mut victim = start("lsm", "os", seed);
        (0..20).find_map(|number| {
            if !wait_for_acks(&mut victim) || victim.has_ended() {
                return None;
            }
            let cut = victim.cut(number);
            let acks = cut.acks.clone();
            let output = victim.verify(cut, &acks);
            sleep(Duration::from_millis(15));
            (output.status.code() != Some(0)).then(|| said(&output))
        })
    });
    let said = outcome.expect("no cut ever took anything: these are no power cuts");
    assert!(said.contains("was acknowledged") || said.contains("there is no database"), "{said}");
}
