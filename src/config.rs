//! The configuration of `run`: what was typed (`SettingsFile`), then what it means ([`Settings`]).
//!
//! One TOML file, with environment variables over it: `KMSWATCH_SOURCE__QUEUE_URL` is `queue_url` of
//! `[source]`, `KMSWATCH_SINK__0__TOPIC_ARN` that of the first `[[sink]]`. The environment comes in as
//! a list, so that tests need not touch the process.
//!
//! Invariant: every mistake names its place, or its variable, and what to write.

mod typed;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;

use crate::alert::redact::Redaction;
use crate::keys::supply::{Resource, SupplyLine};
use crate::kms::Place;
use crate::kms::pace::DEFAULT_PER_SECOND;
use crate::pipeline::plan::Limits;
use crate::rule::Level;
use crate::rule::diagnostic::nearest;
use crate::sink::sns::default_quota;
use crate::time::Span;
pub use typed::LogFormat;
use typed::{KeysRefreshFile, SettingsFile, SinkFile, SourceFile};

/// An example that explains every setting.
pub const EXAMPLE: &str = include_str!("config/example.toml");

/// Where records come from.
#[derive(Clone, Debug)]
pub enum SourceSettings {
    /// A queue.
    Sqs {
        /// Its URL.
        queue_url: String,
        /// Where it is, when the environment does not say.
        aws: AwsSettings,
        /// Receives at the same time.
        pollers: u16,
        /// Longest wait of one receive.
        wait: Duration,
        /// How long a message is claimed at a time.
        visibility: Duration,
    },
    /// A watched directory.
    Directory {
        /// What is watched.
        path: PathBuf,
        /// Between two looks.
        scan: Duration,
    },
}

/// Where AWS is, when the environment does not say.
#[derive(Clone, Debug, Default)]
pub struct AwsSettings {
    /// Region.
    pub region: Option<String>,
    /// Another endpoint, like that of an emulator.
    pub endpoint_url: Option<String>,
}

/// Where alerts go.
#[derive(Clone, Debug)]
pub struct SinkSettings {
    /// What it is.
    pub kind: SinkKind,
    /// Less grave alerts are not sent there.
    pub min_level: Level,
}

/// The kinds of sink.
#[derive(Clone, Debug)]
pub enum SinkKind {
    /// A topic.
    Sns {
        /// Its ARN.
        topic_arn: String,
        /// Where it is.
        aws: AwsSettings,
        /// At most so many messages a second.
        per_second: NonZeroU32,
    },
    /// Standard output.
    Terminal,
    /// A file of JSON lines.
    File {
        /// The file.
        path: PathBuf,
    },
}

/// Which keys KMS is asked about while the service runs, and how.
#[derive(Clone, Debug)]
pub struct KeysRefreshSettings {
    /// From the end of one round to the next.
    pub every: Duration,
    /// Accounts and Regions.
    pub places: Vec<Place>,
    /// Requests a second to each.
    pub per_second: NonZeroU32,
    /// Another endpoint, like that of an emulator.
    pub endpoint_url: Option<String>,
}

/// What the configuration means.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where records come from.
    pub source: SourceSettings,
    /// Where alerts go, at least one.
    pub sinks: Vec<SinkSettings>,
    /// Where state is kept.
    pub state_dir: PathBuf,
    /// Rules instead of the shipped ones.
    pub rules_dir: Option<PathBuf>,
    /// Key inventory.
    pub keys_file: Option<PathBuf>,
    /// What KMS said of its keys, read at the start.
    pub snapshot_file: Option<PathBuf>,
    /// Asking KMS again and again; not at all without it.
    pub keys_refresh: Option<KeysRefreshSettings>,
    /// Time between two looks at whether rules or inventory changed; none: only when asked to.
    pub reload: Duration,
    /// What kmswatch lives by, source and sinks included.
    pub supply_line: SupplyLine,
    /// What alerts keep back.
    pub redaction: Redaction,
    /// How logs are written.
    pub log_format: LogFormat,
    /// Filter of logs, like `info` or `kmswatch=debug`.
    pub log_level: String,
    /// Where health and metrics are told; nowhere when `off`.
    pub admin: Option<SocketAddr>,
    /// What is held at most.
    pub limits: Limits,
    /// Deliveries in one commit.
    pub max_batch: usize,
    /// Alerts in the outbox at which nothing more is received.
    pub max_outbox: u64,
    /// How long alerts are still sent after a stop.
    pub flush: Duration,
}

/// What is wrong with a configuration: one line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

impl Settings {
    /// Reads a configuration; `path` is for messages, `environment` lies over the file.
    ///
    /// # Errors
    /// Every mistake that can be told at once.
    pub fn parse(path: &str, text: &str, environment: &[(String, String)]) -> Result<Self, ConfigError> {
        let file = toml::from_str::<SettingsFile>(text);
        let overrides: Vec<_> = environment.iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
        if overrides.is_empty() {
            let file = file.map_err(|error| ConfigError(vec![placed(path, text, &error)]))?;
            return validate(path, text, file);
        }
        // The file alone may lack what the environment gives, so only its syntax is judged alone.
        let mut table = text.parse::<toml::Table>().map_err(|error| ConfigError(vec![placed(path, text, &error)]))?;
        for (name, value) in overrides {
            set(&mut table, name, value)?;
        }
        let merged = toml::to_string(&table).map_err(|error| ConfigError(vec![error.to_string()]))?;
        let place = format!("{path} with the environment");
        let file = toml::from_str(&merged).map_err(|error| ConfigError(vec![placed(&place, &merged, &error)]))?;
        validate(&place, &merged, file)
    }
}

const PREFIX: &str = "KMSWATCH_";
/// More often would take quotas of KMS from those who need them.
const MIN_REFRESH: Span = Span::from_secs(300);
const MAX_REFRESH: Span = Span::from_secs(30 * 86_400);

fn set(table: &mut toml::Table, name: &str, value: &str) -> Result<(), ConfigError> {
    let fail = |what: &str| ConfigError(vec![format!("{name}: {what}")]);
    let path = name.strip_prefix(PREFIX).unwrap_or(name).to_lowercase();
    let segments: Vec<&str> = path.split("__").collect();
    let (last, parents) = segments.split_last().ok_or_else(|| fail("names no setting"))?;
    let mut at = table;
    let mut parents = parents.iter().peekable();
    while let Some(segment) = parents.next() {
        let next = at.entry((*segment).to_owned()).or_insert_with(|| toml::Table::new().into());
        at = match next {
            toml::Value::Table(table) => table,
            toml::Value::Array(items) => {
                let index: usize = parents
                    .next()
                    .and_then(|index| index.parse().ok())
                    .ok_or_else(|| fail("needs a number after the name of a list"))?;
                items
                    .get_mut(index)
                    .and_then(toml::Value::as_table_mut)
                    .ok_or_else(|| fail("there is no such entry in the list"))?
            }
            _ => return Err(fail("goes into a value that is no table")),
        };
    }
    let typed =
        toml::from_str::<toml::Table>(&format!("value = {value}")).ok().and_then(|mut table| table.remove("value"));
    let typed = typed.filter(|value| matches!(value, toml::Value::Integer(_) | toml::Value::Boolean(_)));
    at.insert((*last).to_owned(), typed.unwrap_or_else(|| value.into()));
    Ok(())
}

fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    (line, before.len() - before.rfind('\n').map_or(0, |at| at + 1) + 1)
}

fn placed(path: &str, text: &str, error: &toml::de::Error) -> String {
    let (line, column) = error.span().map_or((1, 1), |span| line_column(text, span.start));
    let message = error.message().trim();
    // serde lists what it knows between backticks: `unknown field `x`, expected one of `a`, `b``.
    let mut names = message.split('`').skip(1).step_by(2);
    let hint = names.next().filter(|_| message.starts_with("unknown field")).and_then(|name| nearest(name, names));
    match hint {
        Some(near) => format!("{path}:{line}:{column}: {message}; did you mean `{near}`?"),
        None => format!("{path}:{line}:{column}: {message}"),
    }
}

/// Judges values; notes every mistake.
struct Judge<'t> {
    path: &'t str,
    text: &'t str,
    mistakes: Vec<String>,
}

impl Judge<'_> {
    fn mistake<T>(&mut self, at: &Spanned<T>, what: &str) {
        let (line, column) = line_column(self.text, at.span().start);
        self.mistakes.push(format!("{}:{line}:{column}: {what}", self.path));
    }

    fn within(&mut self, value: Option<&Spanned<u64>>, default: u64, least: u64, most: u64, name: &str) -> Duration {
        let secs = value.map_or(default, |value| *value.as_ref());
        if let Some(value) = value.filter(|_| !(least..=most).contains(&secs)) {
            self.mistake(value, &format!("`{name}` is between {least} and {most}"));
        }
        Duration::from_secs(secs)
    }

    fn source(&mut self, file: SourceFile) -> Option<SourceSettings> {
        let aws = AwsSettings { region: file.region, endpoint_url: file.endpoint_url };
        match file.kind.as_ref().as_str() {
            "sqs" => {
                let Some(queue_url) = file.queue_url else {
                    self.mistake(&file.kind, "a source of kind sqs needs `queue_url`");
                    return None;
                };
                if !queue_url.as_ref().starts_with("http") {
                    self.mistake(
                        &queue_url,
                        "`queue_url` is an address like https://sqs.eu-west-1.amazonaws.com/111122223333/kmswatch",
                    );
                }
                let wait = self.within(file.wait_secs.as_ref(), 20, 0, 20, "wait_secs");
                let visibility = self.within(file.visibility_secs.as_ref(), 120, 5, 43_200, "visibility_secs");
                let pollers = file.pollers.as_ref().map_or(8, |pollers| *pollers.as_ref());
                if let Some(given) = file.pollers.as_ref().filter(|_| !(1..=256).contains(&pollers)) {
                    self.mistake(given, "`pollers` is between 1 and 256");
                }
                Some(SourceSettings::Sqs { queue_url: queue_url.into_inner(), aws, pollers, wait, visibility })
            }
            "directory" => {
                let Some(path) = file.path else {
                    self.mistake(&file.kind, "a source of kind directory needs `path`");
                    return None;
                };
                Some(SourceSettings::Directory {
                    path,
                    scan: Duration::from_millis(file.scan_millis.unwrap_or(1000).max(10)),
                })
            }
            other => {
                self.mistake(&file.kind, &format!("no source is of kind '{other}'; write sqs or directory"));
                None
            }
        }
    }

    fn sink(&mut self, file: SinkFile) -> Option<SinkSettings> {
        let min_level = match &file.min_level {
            None => Level::Informational,
            Some(text) => text.as_ref().parse().unwrap_or_else(|message: String| {
                self.mistake(text, &message);
                Level::Informational
            }),
        };
        let kind = match file.kind.as_ref().as_str() {
            "terminal" => SinkKind::Terminal,
            "file" => match file.path {
                Some(path) => SinkKind::File { path },
                None => {
                    self.mistake(&file.kind, "a sink of kind file needs `path`");
                    return None;
                }
            },
            "sns" => {
                let Some(topic_arn) = file.topic_arn else {
                    self.mistake(&file.kind, "a sink of kind sns needs `topic_arn`");
                    return None;
                };
                let parts = crate::event::key::arn_parts(topic_arn.as_ref()).filter(|parts| parts.service == "sns");
                if parts.is_none() {
                    self.mistake(
                        &topic_arn,
                        "`topic_arn` is the ARN of a topic, like arn:aws:sns:eu-west-1:111122223333:kmswatch",
                    );
                }
                let region = file.region.or_else(|| parts.map(|parts| parts.region.to_owned()));
                let per_second =
                    file.messages_per_second.unwrap_or_else(|| default_quota(region.as_deref().unwrap_or("")));
                let aws = AwsSettings { region, endpoint_url: file.endpoint_url };
                SinkKind::Sns { topic_arn: topic_arn.into_inner(), aws, per_second }
            }
            other => {
                self.mistake(&file.kind, &format!("no sink is of kind '{other}'; write sns, file or terminal"));
                return None;
            }
        };
        Some(SinkSettings { kind, min_level })
    }

    fn keys_refresh(&mut self, file: KeysRefreshFile) -> Option<KeysRefreshSettings> {
        let every = file.every?;
        let span = Span::parse(every.as_ref());
        if span.is_none_or(|span| !(MIN_REFRESH..=MAX_REFRESH).contains(&span)) {
            self.mistake(&every, "`every` is a time between 5m and 30d, like 6h");
        }
        if file.regions.is_empty() {
            self.mistake(&every, "[keys_refresh] needs `regions`, like [\"eu-west-1\"]");
        }
        let profiles: Vec<_> = match file.profiles.is_empty() {
            true => vec![None],
            false => file.profiles.into_iter().map(Some).collect(),
        };
        let of = |profile: &Option<String>| {
            let regions = file.regions.iter().cloned();
            regions.map(|region| Place { profile: profile.clone(), region }).collect::<Vec<_>>()
        };
        Some(KeysRefreshSettings {
            every: Duration::from_millis(span?.as_millis()),
            places: profiles.iter().flat_map(of).collect(),
            per_second: file.per_second.unwrap_or(DEFAULT_PER_SECOND),
            endpoint_url: file.endpoint_url,
        })
    }

    /// What is named, and what the configuration names anyhow.
    fn supply_line(
        &mut self,
        named: &[Spanned<String>],
        source: Option<&SourceSettings>,
        sinks: &[SinkSettings],
    ) -> SupplyLine {
        let mut line = SupplyLine::default();
        for text in named {
            match Resource::parse(text.as_ref()) {
                Ok(resource) => line.extend([resource]),
                Err(error) => self.mistake(text, &error.to_string()),
            }
        }
        let queue = match source {
            Some(SourceSettings::Sqs { queue_url, .. }) => Some(queue_url.as_str()),
            _ => None,
        };
        let topics = sinks.iter().filter_map(|sink| match &sink.kind {
            SinkKind::Sns { topic_arn, .. } => Some(topic_arn.as_str()),
            _ => None,
        });
        // An emulator's addresses name no resource of AWS, and need not.
        line.extend(queue.into_iter().chain(topics).filter_map(|text| Resource::parse(text).ok()));
        line
    }
}

fn validate(path: &str, text: &str, file: SettingsFile) -> Result<Settings, ConfigError> {
    let mut judge = Judge { path, text, mistakes: Vec::new() };
    let source = judge.source(file.source);
    let mut sinks: Vec<_> = file.sink.into_iter().filter_map(|sink| judge.sink(sink)).collect();
    if sinks.is_empty() && judge.mistakes.is_empty() {
        sinks.push(SinkSettings { kind: SinkKind::Terminal, min_level: Level::Informational });
    }
    let admin = match &file.admin.listen {
        None => Some(SocketAddr::from(([127, 0, 0, 1], 9464))),
        Some(text) if text.as_ref() == "off" => None,
        Some(text) => match text.as_ref().parse() {
            Ok(address) => Some(address),
            Err(_) => {
                judge.mistake(text, "`listen` is an address and port like 127.0.0.1:9464, or off");
                None
            }
        },
    };
    let keys_refresh = judge.keys_refresh(file.keys_refresh);
    let supply_line = judge.supply_line(&file.supply_line.resources, source.as_ref(), &sinks);
    let mut limits = Limits::default();
    let given = file.limits;
    limits.engine.max_groups = given.max_groups.unwrap_or(limits.engine.max_groups).max(1);
    limits.engine.max_entries = given.max_entries.unwrap_or(limits.engine.max_entries).max(1);
    limits.engine.max_entries_per_group =
        given.max_entries_per_group.unwrap_or(limits.engine.max_entries_per_group).max(1);
    limits.envelope.max_bytes = given.max_body_bytes.unwrap_or(limits.envelope.max_bytes).max(1024);
    match source {
        Some(source) if judge.mistakes.is_empty() => Ok(Settings {
            source,
            sinks,
            state_dir: file.state.dir.unwrap_or_else(|| "kmswatch-state".into()),
            rules_dir: file.rules.dir,
            keys_file: file.keys.file,
            snapshot_file: file.keys.snapshot_file,
            keys_refresh,
            reload: Duration::from_secs(file.rules.reload_secs.unwrap_or(5)),
            supply_line,
            redaction: file.alerts.redaction,
            log_format: file.log.format,
            log_level: file.log.level.unwrap_or_else(|| "info".to_owned()),
            admin,
            limits,
            max_batch: given.max_batch.unwrap_or(500).max(1),
            max_outbox: given.max_outbox.unwrap_or(100_000).max(1),
            flush: Duration::from_secs(given.flush_secs.unwrap_or(10)),
        }),
        _ => Err(ConfigError(judge.mistakes)),
    }
}

#[cfg(test)]
mod tests;
