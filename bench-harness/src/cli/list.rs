//! `kvlab list`: what there is to run.

use serde_json::json;
use workloads::ready;

use crate::error::{Exit, Result};
use crate::output::Output;
use crate::registry::Registry;

/// Shows engines with their options, and the ready workloads.
///
/// # Errors
/// Standard output cannot be written.
pub fn list(registry: &Registry, out: &mut Output) -> Result<Option<Exit>> {
    out.text("engines")?;
    for (name, entry) in registry.entries() {
        out.text(format!("  {name:<12} {}", entry.about()))?;
        for (option, about) in entry.options() {
            out.text(format!("    {name}:{option:<24} {about}"))?;
        }
    }
    out.text("\nworkloads")?;
    for ready in ready::all() {
        let cells = ready.cells();
        let runs = if cells.len() > 1 { format!(" ({} runs)", cells.len()) } else { String::new() };
        out.text(format!("  {:<16} {}{runs}", ready.name, cells[0].purpose))?;
    }
    out.text("\nYour own: write a TOML file like workloads/files/reference.toml.")?;
    let engines: Vec<_> = registry
        .entries()
        .map(|(name, entry)| json!({ "name": name, "about": entry.about(), "options": entry.options() }))
        .collect();
    let workloads: Vec<_> = ready::all().iter().map(|ready| json!(ready.spec())).collect();
    out.json(&json!({ "engines": engines, "workloads": workloads }))?;
    Ok(None)
}
