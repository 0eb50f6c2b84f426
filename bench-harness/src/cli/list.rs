//! `kvlab list`: what there is to run.

use serde_json::json;
use workloads::ready;

use crate::claims;
use crate::error::{Exit, Result};
use crate::output::Output;
use crate::registry::Registry;
use crate::report::claims::listed;
use crate::report::table::wrap;

/// Shows engines with their options, the ready workloads, and the claims.
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
    out.text("\nclaims, by `kvlab claims`")?;
    let claims = claims::all();
    for claim in &claims {
        for line in wrap(&format!("  {}", listed(claim)), 6) {
            out.text(line)?;
        }
    }
    let engines: Vec<_> = registry
        .entries()
        .map(|(name, entry)| json!({ "name": name, "about": entry.about(), "options": entry.options() }))
        .collect();
    let workloads: Vec<_> = ready::all().iter().map(|ready| json!(ready.spec())).collect();
    let claims: Vec<_> = claims
        .iter()
        .map(|claim| json!({ "id": claim.id, "claim": claim.claim, "seeds": claim.seeds, "prior": claim.prior }))
        .collect();
    out.json(&json!({ "engines": engines, "workloads": workloads, "claims": claims }))?;
    Ok(None)
}
