//! Planting one bug in the engines, for the example `seeded_bugs`: `KVLAB_BUG` is read here alone.

/// Plants the bug that `KVLAB_BUG` names, before the first engine is opened.
///
/// # Panics
/// If there is no such bug, or if this build can have none: a run without it must not pass for one that missed it.
pub fn plant() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let Some(name) = std::env::var("KVLAB_BUG").ok().filter(|name| !name.is_empty()) else { return };
        plant_named(&name);
    });
}

#[cfg(feature = "seeded")]
fn plant_named(name: &str) {
    let bug = kv_io::seeded::Bug::named(name);
    kv_io::seeded::plant(Some(
        bug.unwrap_or_else(|| panic!("KVLAB_BUG is `{name}`, and there is no such bug")),
    ));
}

#[cfg(not(feature = "seeded"))]
fn plant_named(name: &str) {
    panic!("KVLAB_BUG is `{name}`: build with `--features seeded`, or unset it");
}
