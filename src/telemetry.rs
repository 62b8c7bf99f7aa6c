//! Logs and metrics. Metric names are here and nowhere else.

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::debug_fn;

use crate::alert::redact::printable;
use crate::config::LogFormat;
use crate::pipeline::plan::Accounting;

/// Counters, each only ever rising.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "their names and helps say it")]
pub enum Counter {
    RecordsReceived,
    RecordsApplied,
    RecordsDuplicate,
    RecordsFiltered,
    RecordsLate,
    RecordsParked,
    IncidentsOpened,
    GroupsEvicted,
    AlertsQueued,
    AlertsDelivered,
    AlertsDeadLettered,
    AlertsBelowLevel,
    DeliveriesAcknowledged,
    DeliveriesParked,
    RuleReloads,
    RuleReloadsRefused,
    ReceiveErrors,
    CommitErrors,
    AcknowledgeErrors,
    DeliveryErrors,
    KeysAsked,
    KeyRefreshErrors,
}

impl Counter {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::RecordsReceived,
        Self::RecordsApplied,
        Self::RecordsDuplicate,
        Self::RecordsFiltered,
        Self::RecordsLate,
        Self::RecordsParked,
        Self::IncidentsOpened,
        Self::GroupsEvicted,
        Self::AlertsQueued,
        Self::AlertsDelivered,
        Self::AlertsDeadLettered,
        Self::AlertsBelowLevel,
        Self::DeliveriesAcknowledged,
        Self::DeliveriesParked,
        Self::RuleReloads,
        Self::RuleReloadsRefused,
        Self::ReceiveErrors,
        Self::CommitErrors,
        Self::AcknowledgeErrors,
        Self::DeliveryErrors,
        Self::KeysAsked,
        Self::KeyRefreshErrors,
    ];

    /// Its name in the exposition, and what it counts.
    #[must_use]
    pub const fn describe(self) -> (&'static str, &'static str) {
        match self {
            Self::RecordsReceived => {
                ("kmswatch_records_received_total", "Records, and bodies of which none can be read")
            }
            Self::RecordsApplied => ("kmswatch_records_applied_total", "Records read against the rules"),
            Self::RecordsDuplicate => ("kmswatch_records_duplicate_total", "Records known already"),
            Self::RecordsFiltered => ("kmswatch_records_filtered_total", "Records that no rule is about"),
            Self::RecordsLate => ("kmswatch_records_late_total", "Records later than the allowed lateness"),
            Self::RecordsParked => ("kmswatch_records_parked_total", "Records that cannot be read"),
            Self::IncidentsOpened => ("kmswatch_incidents_opened_total", "Incidents opened"),
            Self::GroupsEvicted => ("kmswatch_groups_evicted_total", "Groups given up at a limit"),
            Self::AlertsQueued => ("kmswatch_alerts_queued_total", "Alerts put into the outbox"),
            Self::AlertsDelivered => ("kmswatch_alerts_delivered_total", "Alerts taken by a sink"),
            Self::AlertsDeadLettered => ("kmswatch_alerts_dead_lettered_total", "Alerts that a sink will never take"),
            Self::AlertsBelowLevel => ("kmswatch_alerts_below_level_total", "Alerts below a sink's level"),
            Self::DeliveriesAcknowledged => ("kmswatch_deliveries_acknowledged_total", "Deliveries acknowledged"),
            Self::DeliveriesParked => ("kmswatch_deliveries_parked_total", "Deliveries left to the dead-letter path"),
            Self::RuleReloads => ("kmswatch_rule_reloads_total", "Times that changed rules were taken"),
            Self::RuleReloadsRefused => {
                ("kmswatch_rule_reloads_refused_total", "Times that changed rules were refused")
            }
            Self::ReceiveErrors => ("kmswatch_receive_errors_total", "Receives that failed"),
            Self::CommitErrors => ("kmswatch_commit_errors_total", "Commits that failed"),
            Self::AcknowledgeErrors => ("kmswatch_acknowledge_errors_total", "Acknowledgements that failed"),
            Self::DeliveryErrors => ("kmswatch_delivery_errors_total", "Deliveries of alerts that failed"),
            Self::KeysAsked => ("kmswatch_keys_asked_total", "Keys that KMS was asked about"),
            Self::KeyRefreshErrors => {
                ("kmswatch_key_refresh_errors_total", "Times that KMS could not be asked about the keys of a Region")
            }
        }
    }

    /// Adds to it.
    pub fn add(self, count: u64) {
        metrics::counter!(self.describe().0).increment(count);
    }
}

/// Gauges, each set to what is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "their names and helps say it")]
pub enum Gauge {
    OutboxPending,
    Groups,
    Entries,
    Keys,
    KeysForgotten,
    Rules,
    KeyRefreshed,
}

impl Gauge {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::OutboxPending,
        Self::Groups,
        Self::Entries,
        Self::Keys,
        Self::KeysForgotten,
        Self::Rules,
        Self::KeyRefreshed,
    ];

    /// Its name in the exposition, and what it shows.
    #[must_use]
    pub const fn describe(self) -> (&'static str, &'static str) {
        match self {
            Self::OutboxPending => ("kmswatch_outbox_pending", "Alerts waiting for a sink"),
            Self::Groups => ("kmswatch_state_groups", "Groups of rules held in state"),
            Self::Entries => ("kmswatch_state_entries", "Matches held in state"),
            Self::Keys => ("kmswatch_state_keys", "Keys of which something is known"),
            Self::KeysForgotten => {
                ("kmswatch_state_keys_forgotten", "Keys, grants, users and aliases given up at a limit since the start")
            }
            Self::Rules => ("kmswatch_rules", "Rules in use"),
            Self::KeyRefreshed => (
                "kmswatch_key_refresh_timestamp_seconds",
                "When KMS was last asked about all keys of a Region; 0 if never",
            ),
        }
    }

    /// Sets it.
    pub fn set(self, value: u64) {
        // Gauges are floating point; beyond 2^53 nobody counts.
        #[allow(clippy::cast_precision_loss)]
        metrics::gauge!(self.describe().0).set(value as f64);
    }
}

/// Seconds from `eventTime` to the alert's delivery.
pub const END_TO_END_SECS: &str = "kmswatch_event_to_delivery_seconds";

/// Adds what became of a batch.
pub fn count(accounting: &Accounting) {
    for (counter, count) in [
        (Counter::RecordsReceived, accounting.received),
        (Counter::RecordsApplied, accounting.applied),
        (Counter::RecordsDuplicate, accounting.duplicate),
        (Counter::RecordsFiltered, accounting.filtered),
        (Counter::RecordsLate, accounting.late),
        (Counter::RecordsParked, accounting.parked),
        (Counter::IncidentsOpened, accounting.opened),
        (Counter::AlertsQueued, accounting.alerts),
        (Counter::GroupsEvicted, accounting.evicted),
    ] {
        if count > 0 {
            counter.add(count);
        }
    }
}

/// Matches that suppressions took away, by ticket; the inventory bounds how many tickets there are.
pub const SUPPRESSED: &str = "kmswatch_matches_suppressed_total";

/// Adds what suppressions took away.
pub fn count_suppressed(by_ticket: &std::collections::BTreeMap<String, u64>) {
    for (ticket, count) in by_ticket {
        metrics::counter!(SUPPRESSED, "ticket" => ticket.clone()).increment(*count);
    }
}

/// Starts metrics; the handle renders them.
///
/// # Errors
/// When another recorder is there already.
pub fn start_metrics() -> Result<PrometheusHandle, String> {
    let buckets = [0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0];
    let builder = PrometheusBuilder::new().set_buckets(&buckets).map_err(|error| error.to_string())?;
    let handle = builder.install_recorder().map_err(|error| error.to_string())?;
    for counter in Counter::ALL {
        let (name, help) = counter.describe();
        metrics::describe_counter!(name, help);
        // Present from the start, so that an alarm on it has something to look at.
        counter.add(0);
    }
    for gauge in Gauge::ALL {
        let (name, help) = gauge.describe();
        metrics::describe_gauge!(name, help);
        gauge.set(0);
    }
    metrics::describe_counter!(SUPPRESSED, "Matches that a suppression of the inventory took away");
    metrics::describe_histogram!(END_TO_END_SECS, "From the event's time to the alert's delivery");
    Ok(handle)
}

/// Standard error that may be closed: a log that nobody reads any more must not stop the service.
#[derive(Debug, Default)]
pub struct Stderr;

impl std::io::Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _ = std::io::stderr().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let _ = std::io::stderr().flush();
        Ok(())
    }
}

/// Fields of a line of text, each made printable: whoever can put a line end into a name or an error
/// of a service must not be able to write lines of his own. Lines of JSON escape by themselves.
fn printable_fields() -> impl for<'w> FormatFields<'w> + Send + Sync + 'static {
    let one = debug_fn(|out, field, value| {
        let text = printable(&format!("{value:?}"));
        if field.name() == "message" { write!(out, "{text}") } else { write!(out, "{}={text}", field.name()) }
    });
    one.delimited(" ")
}

/// Starts logs, to standard error.
///
/// # Errors
/// When the filter cannot be read.
pub fn start_logs(format: LogFormat, level: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(level).map_err(|error| format!("[log] level '{level}': {error}"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Stderr);
    let started = match format {
        LogFormat::Text => {
            let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
            builder.with_ansi(ansi).with_target(false).fmt_fields(printable_fields()).try_init()
        }
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::io::Write;
    use std::sync::{Arc, Mutex, PoisonError};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_writes_lines_of_his_own_into_the_log() {
        let forged = "gone\n2026-01-05T10:00:00Z  INFO all is well\u{1b}[2K\u{9b}31m\u{202e}";
        for format in [LogFormat::Text, LogFormat::Json] {
            let written = Written::default();
            let sink = written.clone();
            let builder = tracing_subscriber::fmt().with_ansi(false).with_writer(move || sink.clone());
            let log = || tracing::warn!(error = %forged, reason = forged, "receiving {forged}");
            match format {
                LogFormat::Text => {
                    let lines = builder.with_target(false).fmt_fields(printable_fields()).finish();
                    tracing::subscriber::with_default(lines, log);
                }
                LogFormat::Json => tracing::subscriber::with_default(builder.json().flatten_event(true).finish(), log),
            }
            let bytes = written.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let text = String::from_utf8(bytes).unwrap();
            assert!(text.ends_with('\n') && text.matches('\n').count() == 1 && !text.contains('\u{1b}'), "{text:?}");
            if matches!(format, LogFormat::Text) {
                assert!(!text.contains(['\u{9b}', '\u{202e}']) && text.contains("error=gone"), "{text:?}");
            }
        }
    }

    #[test]
    fn names_are_distinct_and_counters_end_as_they_should() {
        let names: BTreeSet<_> = Counter::ALL.iter().map(|counter| counter.describe().0).collect();
        assert_eq!(names.len(), Counter::ALL.len());
        assert!(names.iter().all(|name| name.ends_with("_total")));
    }
}
