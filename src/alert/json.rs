//! The alert as one line of JSON.

use super::Alert;

/// One line, without its end.
#[must_use]
pub fn line(alert: &Alert) -> String {
    // Strings and numbers in maps with string keys: nothing that JSON cannot hold.
    serde_json::to_string(alert).unwrap_or_default()
}

/// The same within `max_bytes`: evidence goes first, then what to do, then the event IDs but for
/// some. What was cut can be found by the incident's id.
#[must_use]
pub fn line_within(alert: &Alert, max_bytes: usize) -> String {
    let fits = |line: &String| line.len() <= max_bytes;
    let mut smaller = alert.clone();
    let cuts: [fn(&mut Alert); 4] = [
        |alert| alert.evidence.truncate(1),
        |alert| alert.evidence.clear(),
        |alert| alert.respond.clear(),
        |alert| {
            alert.event_ids_truncated |= alert.event_ids.len() > 10;
            alert.event_ids.truncate(10);
            alert.keys.truncate(5);
            alert.principals.truncate(5);
        },
    ];
    let whole = line(&smaller);
    if fits(&whole) {
        return whole;
    }
    for cut in cuts {
        cut(&mut smaller);
        let cut_line = line(&smaller);
        if fits(&cut_line) {
            return cut_line;
        }
    }
    // Only absurd texts are left: keep what identifies the incident.
    smaller.summary = smaller.summary.chars().take(256).collect();
    smaller.group.clear();
    smaller.keys.clear();
    smaller.principals.clear();
    line(&smaller)
}
