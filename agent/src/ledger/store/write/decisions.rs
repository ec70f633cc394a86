//! What was decided on several calls, as one row.

use std::collections::BTreeMap;

use super::super::super::entry::Call;
use super::super::super::shape::KnownLimits;

/// The start of the latest of these calls, and the decisions on all of them, with the limits they
/// speak of. `None` where there are no decisions.
pub(super) fn together(calls: &[&Call]) -> Option<(i64, String)> {
    let mut text = String::with_capacity(16 << 10);
    let mut limits: Vec<&KnownLimits> = Vec::new();
    let mut last_at = None;
    for call in calls {
        let Some(own) = &call.steps.json else { continue };
        text.push(if last_at.is_none() { '{' } else { ',' });
        let mut id = [0; ulid::ULID_LEN];
        text.push('"');
        text.push_str(call.id.0.array_to_str(&mut id));
        text.push_str("\":");
        text.push_str(own.get());
        last_at = last_at.max(Some(call.at));
        for known in &call.steps.limits {
            if !limits.iter().any(|it| it.number == known.number) {
                limits.push(known);
            }
        }
    }
    let last_at = last_at?;
    if !limits.is_empty() {
        let by_number: BTreeMap<_, _> =
            limits.into_iter().map(|it| (it.number, &*it.value)).collect();
        // Strings and numbers always have a JSON form.
        if let Ok(kept) = serde_json::to_string(&by_number) {
            text.push_str(",\"limits\":");
            text.push_str(&kept);
        }
    }
    text.push('}');
    Some((last_at, text))
}
