//! The configuration as it is typed; what it means is judged one level up.

use std::num::NonZeroU32;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use crate::alert::redact::Redaction;

/// What was typed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SettingsFile {
    pub(super) source: SourceFile,
    #[serde(default)]
    pub(super) sink: Vec<SinkFile>,
    #[serde(default)]
    pub(super) state: StateFile,
    #[serde(default)]
    pub(super) rules: RulesFile,
    #[serde(default)]
    pub(super) keys: KeysFile,
    #[serde(default)]
    pub(super) keys_refresh: KeysRefreshFile,
    #[serde(default)]
    pub(super) supply_line: SupplyLineFile,
    #[serde(default)]
    pub(super) alerts: AlertsFile,
    #[serde(default)]
    pub(super) log: LogFile,
    #[serde(default)]
    pub(super) admin: AdminFile,
    #[serde(default)]
    pub(super) limits: LimitsFile,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceFile {
    pub(super) kind: Spanned<String>,
    pub(super) queue_url: Option<Spanned<String>>,
    pub(super) region: Option<String>,
    pub(super) endpoint_url: Option<String>,
    pub(super) pollers: Option<Spanned<u16>>,
    pub(super) wait_secs: Option<Spanned<u64>>,
    pub(super) visibility_secs: Option<Spanned<u64>>,
    pub(super) path: Option<PathBuf>,
    pub(super) scan_millis: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SinkFile {
    pub(super) kind: Spanned<String>,
    pub(super) topic_arn: Option<Spanned<String>>,
    pub(super) region: Option<String>,
    pub(super) endpoint_url: Option<String>,
    pub(super) messages_per_second: Option<NonZeroU32>,
    pub(super) path: Option<PathBuf>,
    pub(super) min_level: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StateFile {
    pub(super) dir: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RulesFile {
    pub(super) dir: Option<PathBuf>,
    pub(super) reload_secs: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeysFile {
    pub(super) file: Option<PathBuf>,
    pub(super) snapshot_file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeysRefreshFile {
    pub(super) every: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) regions: Vec<String>,
    #[serde(default)]
    pub(super) profiles: Vec<String>,
    pub(super) per_second: Option<NonZeroU32>,
    pub(super) endpoint_url: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SupplyLineFile {
    #[serde(default)]
    pub(super) resources: Vec<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AlertsFile {
    #[serde(default)]
    pub(super) redaction: Redaction,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogFile {
    #[serde(default)]
    pub(super) format: LogFormat,
    pub(super) level: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AdminFile {
    pub(super) listen: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsFile {
    pub(super) max_groups: Option<usize>,
    pub(super) max_entries: Option<usize>,
    pub(super) max_entries_per_group: Option<usize>,
    pub(super) max_body_bytes: Option<usize>,
    pub(super) max_batch: Option<usize>,
    pub(super) max_outbox: Option<u64>,
    pub(super) flush_secs: Option<u64>,
}
