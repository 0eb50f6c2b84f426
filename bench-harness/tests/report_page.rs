//! The page in a browser: every section is there, nothing is asked of the network, nothing is complained about, and it
//! fits the screen of a telephone. Skipped, with a word, where there is no Chromium.

mod binary;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where browsers are, by name.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// Tells how wide the page is, and how wide the screen.
const PROBE: &str = "<script>document.documentElement.dataset.wide = document.documentElement.scrollWidth;\
                     document.documentElement.dataset.screen = window.innerWidth;</script>";

fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let all = std::env::split_paths(&path).flat_map(|dir| BROWSERS.map(|name| dir.join(name)));
    all.into_iter().find(|program| program.is_file())
}

/// Past the test runner, which shows nothing of a test that passes.
fn skipped(what: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: no {} here: {what}", BROWSERS.join(", "));
}

/// A page made from a small run of two engines, three times each.
fn page(dir: &Path) -> String {
    let output = binary::run(
        dir,
        &["run", "balanced", "--engine", "btree,lsm", "--scale", "smoke", "--repeats", "3", "--out", "out"],
    );
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 3)), "{stderr}");
    fs::read_to_string(dir.join("out/report.html")).unwrap()
}

/// What the browser made of a page: its document, what it said, and the log of its network.
struct Seen {
    dom: String,
    said: String,
    net: String,
}

fn open(program: &Path, dir: &Path, page: &str, width: u32) -> Seen {
    let file = dir.join("page.html");
    fs::write(&file, page).unwrap();
    let net = dir.join("net.json");
    let profile = tempfile::tempdir_in(dir).unwrap();
    let output = Command::new(program)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"])
        .args(["--disable-background-networking", "--disable-component-update", "--hide-scrollbars"])
        .args(["--enable-logging=stderr", "--v=0", "--dump-dom"])
        .arg(format!("--window-size={width},900"))
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--log-net-log={}", net.display()))
        .arg(format!("file://{}", file.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Seen {
        dom: String::from_utf8_lossy(&output.stdout).into_owned(),
        said: String::from_utf8_lossy(&output.stderr).into_owned(),
        net: fs::read_to_string(&net).unwrap_or_default(),
    }
}

/// Addresses on a network that the page asked for. Browsers ask their makers for this and that of their own accord,
/// which the log marks as coming from no page; each of its events is a line.
fn requests(net: &str) -> Vec<&str> {
    let of_page =
        |line: &&str| line.contains("\"initiator\":\"") && !line.contains("\"initiator\":\"not an origin\"");
    let urls =
        net.lines().filter(of_page).filter_map(|line| line.split("\"url\":\"").nth(1)?.split('"').next());
    urls.filter(|url| url.starts_with("http") || url.starts_with("ws")).collect()
}

fn number(dom: &str, name: &str) -> u32 {
    let value = dom.split(&format!("data-{name}=\"")).nth(1).and_then(|rest| rest.split('"').next());
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no data-{name}"))
}

#[test]
fn the_page_has_every_section_and_asks_nobody_for_anything() {
    let Some(program) = browser() else {
        skipped("the page was not opened");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let page = page(dir.path());
    let seen = open(&program, dir.path(), &page, 1280);
    for part in [
        "Scorecard",
        "baseline",
        "Predicted and measured",
        "Where did my byte go",
        "Who read from files",
        "Amplification",
        "Latency",
        "Throughput",
        "Memory by owner",
        "Read, update, space (RUM)",
        "Overheads and shape",
        "Checks",
        "Environment",
        "Repeat it",
        "kvlab run balanced",
        "data:application/json;base64,",
    ] {
        assert!(seen.dom.contains(part), "no `{part}` on the page");
    }
    assert!(!seen.said.contains("CONSOLE"), "{}", seen.said);
    assert_eq!(requests(&seen.net), Vec::<&str>::new());
    assert!(!page.contains("<script"), "the page is a document, not a program");

    // The same checks on a page that does what it must not, or they would pass on anything.
    let bad = page.replacen(
        "<body>",
        "<body><img src=\"http://127.0.0.1:9/x.png\"><script>console.error('seen')</script>",
        1,
    );
    let seen = open(&program, dir.path(), &bad, 1280);
    assert!(seen.said.contains("CONSOLE") && !requests(&seen.net).is_empty(), "{}", seen.said);
}

#[test]
fn the_page_is_no_wider_than_a_small_screen() {
    let Some(program) = browser() else {
        skipped("the width of the page was not measured");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    // Headless windows are at least 500 wide, a frame is as narrow as one likes.
    let page = page(dir.path()).replacen("</body>", &format!("{PROBE}</body>"), 1);
    let frame = page.replace('&', "&amp;").replace('"', "&quot;");
    let outer = format!(
        "<!DOCTYPE html><body style=\"margin:0\"><iframe id=f width=400 height=900 style=\"border:0\" srcdoc=\"{frame}\"></iframe>\
         <script>f.onload = () => {{ const d = f.contentDocument.documentElement.dataset; \
         document.documentElement.dataset.wide = d.wide; document.documentElement.dataset.screen = d.screen; }}</script>"
    );
    let seen = open(&program, dir.path(), &outer, 800);
    let (wide, screen) = (number(&seen.dom, "wide"), number(&seen.dom, "screen"));
    assert_eq!(screen, 400);
    assert!(wide <= screen, "the page is {wide} wide on a screen of {screen}");
}

#[test]
fn there_is_no_page_without_a_result() {
    let dir = tempfile::tempdir().unwrap();
    let output = binary::run(dir.path(), &["report", "nowhere"]);
    binary::assert_fails(&output, 2, "nowhere has no result.json");
    assert!(!dir.path().join("nowhere").exists());
}
