//! `kmswatch run`: the service. Builds the adapters that the configuration names and drives them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_smithy_http_client::{Builder, tls};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::reload::{Watched, watch};
use super::{Exit, Usage, refresh, say};
use crate::alert::Alert;
use crate::config::{AwsSettings, EXAMPLE, Settings, SinkKind, SourceSettings};
use crate::pipeline::backoff::Backoff;
use crate::pipeline::drive::{DriveSettings, Ended, Parts, drive};
use crate::pipeline::health::Health;
use crate::pipeline::plan::Plan;
use crate::pipeline::plan::reload::Reload;
use crate::report::replay::account;
use crate::rule::Level;
use crate::sink::file::FileSink;
use crate::sink::sns::SnsSink;
use crate::sink::terminal::TerminalSink;
use crate::sink::{Sink, SinkError};
use crate::source::directory::{DirectorySettings, DirectorySource};
use crate::source::sqs::{SqsSettings, SqsSource};
use crate::source::{Source, SourceError};
use crate::store::StateStore;
use crate::store::redb::RedbStore;
use crate::telemetry::Gauge;
use crate::time::{Clock, EventTime};
use crate::{telemetry, web};

/// A connection stands within this.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// An answer of SNS comes within this.
const SNS_WITHIN: Duration = Duration::from_secs(15);
/// An answer of SQS comes within this after the wait that was asked for.
const SQS_OVER_WAIT: Duration = Duration::from_secs(10);
/// The queue answers within this at the start, or whoever started the process is told why.
const REACH_WITHIN: Duration = Duration::from_secs(60);
/// A sink answers within this, its own retries included.
const DELIVER_WITHIN: Duration = Duration::from_secs(60);

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Configuration; `--print-config` shows an example
    #[arg(long, value_name = "FILE", env = "KMSWATCH_CONFIG", required_unless_present = "print_config")]
    config: Option<PathBuf>,
    /// Read what is there, send the alerts, and end
    #[arg(long)]
    once: bool,
    /// Print an example configuration and end
    #[arg(long)]
    print_config: bool,
}

/// The system's clock: the one place that asks for the time.
pub(super) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> EventTime {
        EventTime::from_millis(jiff::Timestamp::now().as_millisecond())
    }
}

/// The sinks there are.
enum AnySink {
    Sns(SnsSink),
    Terminal(TerminalSink),
    File(FileSink),
}

impl Sink for AnySink {
    fn name(&self) -> &str {
        match self {
            Self::Sns(sink) => sink.name(),
            Self::Terminal(sink) => sink.name(),
            Self::File(sink) => sink.name(),
        }
    }

    async fn deliver(&self, alert: &Alert) -> Result<(), SinkError> {
        match self {
            Self::Sns(sink) => sink.deliver(alert).await,
            Self::Terminal(sink) => sink.deliver(alert).await,
            Self::File(sink) => sink.deliver(alert).await,
        }
    }
}

/// Runs it.
///
/// # Errors
/// When configuration, rules, state or source cannot be used.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    if args.print_config {
        std::io::stdout().write_all(EXAMPLE.as_bytes())?;
        return Ok(Exit::Clean);
    }
    let path = args.config.clone().unwrap_or_default();
    let settings = read_settings(&path)?;
    telemetry::start_logs(settings.log_format, &settings.log_level).map_err(Usage)?;
    let (rules, inventory) = watched(&settings).read()?;
    let (rules, inventory) = (Arc::new(rules), Arc::new(inventory));
    let store = Arc::new(RedbStore::open(&settings.state_dir.join("state.redb"))?);
    tracing::info!(rules = rules.rules.len(), domains = inventory.domains.len(), "rules and key domains");
    let mut plan = Plan::new(rules, inventory, settings.limits, settings.redaction);
    let orphans = plan.restore(&store.restore()?)?;
    if let Some(path) = &settings.snapshot_file {
        let keys = refresh::take_snapshot_file(path, &mut plan, store.as_ref())?;
        tracing::info!(keys, snapshot = %path.display(), "what KMS said of its keys");
    }
    if orphans > 0 {
        tracing::warn!(groups = orphans, "state of rules that are gone or count something else now is dropped");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(serve(settings, args.once, plan, store))?;
    // Threads that still block (a sink's disk, say) are not waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    say(account(&ended.accounting).trim_end());
    let counts = ended.accounting;
    say(&format!(
        "incidents: {} opened; alerts: {} queued, {} still pending",
        counts.opened, counts.alerts, ended.pending
    ));
    match ended.failure {
        Some(reason) => anyhow::bail!("{reason}"),
        None if args.once && ended.pending > 0 => {
            anyhow::bail!("{} alerts were not delivered and stay in the outbox; the next run sends them", ended.pending)
        }
        None => Ok(Exit::Clean),
    }
}

/// What of the settings may change while it runs.
pub(super) fn watched(settings: &Settings) -> Watched {
    Watched {
        rules_dir: settings.rules_dir.clone(),
        keys_file: settings.keys_file.clone(),
        supply_line: settings.supply_line.clone(),
    }
}

pub(super) fn read_settings(path: &Path) -> anyhow::Result<Settings> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Usage(format!("{}: {error}; `kmswatch run --print-config` shows an example", path.display()))
    })?;
    let environment: Vec<_> = std::env::vars().filter(|(name, _)| name != "KMSWATCH_CONFIG").collect();
    Ok(Settings::parse(&path.display().to_string(), &text, &environment).map_err(|error| Usage(error.to_string()))?)
}

async fn serve(settings: Settings, once: bool, plan: Plan, store: Arc<RedbStore>) -> anyhow::Result<Ended> {
    let stop = CancellationToken::new();
    stop_on_signals(&stop)?;
    let health = Arc::new(Health::default());
    if let Some(listen) = settings.admin.filter(|_| !once) {
        let metrics = telemetry::start_metrics().map_err(anyhow::Error::msg)?;
        let serving = web::serve(listen, health.clone(), metrics, stop.clone());
        tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%listen, %error, "health and metrics cannot be served");
            }
        });
    }
    let mut sinks = Vec::new();
    for sink in &settings.sinks {
        let built = match &sink.kind {
            SinkKind::Terminal => AnySink::Terminal(TerminalSink),
            SinkKind::File { path } => AnySink::File(FileSink::new(path.clone())),
            SinkKind::Sns { topic_arn, aws, per_second } => {
                let client = aws_sdk_sns::Client::new(&sdk_config(aws, SNS_WITHIN).await);
                AnySink::Sns(SnsSink::new(client, topic_arn.clone(), *per_second))
            }
        };
        sinks.push((built, sink.min_level));
    }
    let pollers = match &settings.source {
        SourceSettings::Sqs { pollers, .. } => *pollers,
        SourceSettings::Directory { .. } => 1,
    };
    let driving = DriveSettings {
        pollers,
        max_batch: settings.max_batch,
        tick: Duration::from_secs(2),
        flush: if once { Duration::from_secs(600) } else { settings.flush },
        max_outbox: settings.max_outbox,
        deliver_within: DELIVER_WITHIN,
        dead_letters: settings.state_dir.join("dead-letters.jsonl"),
    };
    let watches = !once && (settings.rules_dir.is_some() || settings.keys_file.is_some());
    let refreshes = settings.keys_refresh.clone().filter(|_| !once);
    let reloads = (watches || refreshes.is_some()).then(|| {
        let (asked, reloads) = tokio::sync::mpsc::channel(1);
        if watches {
            tokio::spawn(watch(watched(&settings), settings.reload, asked.clone(), stop.clone()));
        }
        if let Some(refreshes) = refreshes {
            tokio::spawn(refresh::start(refreshes, asked, stop.clone()));
        }
        reloads
    });
    Gauge::Rules.set(plan.rules() as u64);
    let with = With { sinks, plan, store, health, driving, stop, reloads };
    match settings.source {
        SourceSettings::Directory { path, scan } => {
            let source = DirectorySource::open(DirectorySettings {
                path,
                ledger: settings.state_dir.join("files-done.jsonl"),
                scan,
                max_file_bytes: settings.limits.envelope.max_bytes as u64,
                once,
            });
            Ok(with.drive(source?).await)
        }
        SourceSettings::Sqs { queue_url, aws, wait, visibility, .. } => {
            let once_after_empty = once.then_some(3);
            let wait = if once { Duration::from_secs(1) } else { wait };
            let client = aws_sdk_sqs::Client::new(&sdk_config(&aws, wait + SQS_OVER_WAIT).await);
            let source = SqsSource::new(
                client,
                SqsSettings { queue_url: queue_url.clone(), wait, visibility, once_after_empty },
            );
            if !reach(&source, &queue_url, &with.stop).await? {
                return Ok(Ended { pending: with.store.pending_len().unwrap_or(0), ..Ended::default() });
            }
            Ok(with.drive(source).await)
        }
    }
}

/// Asks the queue about itself until it answers, for a while: a start must survive what a run does.
/// False when it is to stop before.
async fn reach(source: &SqsSource, queue_url: &str, stop: &CancellationToken) -> anyhow::Result<bool> {
    let began = tokio::time::Instant::now();
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    loop {
        let checked = tokio::select! {
            checked = source.check() => checked,
            () = stop.cancelled() => return Ok(false),
        };
        match checked {
            Err(SourceError::Retry(reason)) if began.elapsed() < REACH_WITHIN => {
                tracing::warn!(%reason, "the queue does not answer; trying again");
                tokio::select! {
                    () = tokio::time::sleep(backoff.pause(fastrand::f64())) => {}
                    () = stop.cancelled() => return Ok(false),
                }
            }
            checked => {
                let check = checked.with_context(|| format!("queue {queue_url}"))?;
                tracing::info!(waiting = check.waiting, "reading {queue_url}");
                if !check.has_dead_letter_queue {
                    tracing::error!("the queue has no dead-letter queue: what cannot be read will come again for ever");
                }
                return Ok(true);
            }
        }
    }
}

/// Everything but the source, whose type differs.
struct With {
    sinks: Vec<(AnySink, Level)>,
    plan: Plan,
    store: Arc<RedbStore>,
    health: Arc<Health>,
    driving: DriveSettings,
    stop: CancellationToken,
    reloads: Option<tokio::sync::mpsc::Receiver<Reload>>,
}

impl With {
    async fn drive<S: Source + 'static>(self, source: S) -> Ended {
        let parts = Parts {
            source: Arc::new(source),
            sinks: self.sinks,
            store: self.store,
            clock: Arc::new(SystemClock),
            health: self.health,
            reloads: self.reloads,
        };
        drive(parts, self.plan, self.driving, self.stop).await
    }
}

fn stop_on_signals(stop: &CancellationToken) -> anyhow::Result<()> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = signal(kind)?;
        let stop = stop.clone();
        tokio::spawn(async move {
            if signals.recv().await.is_some() {
                tracing::info!("stopping: finishing what is in hand");
                stop.cancel();
            }
        });
    }
    Ok(())
}

/// `within` bounds one try of one call: without a bound, a connection that was cut without a word
/// holds a poller or a sink for ever.
async fn sdk_config(aws: &AwsSettings, within: Duration) -> SdkConfig {
    sdk_loader(aws, within).load().await
}

pub(super) fn sdk_loader(aws: &AwsSettings, within: Duration) -> ConfigLoader {
    let http = Builder::new().tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring)).build_https();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .timeout_config(
            TimeoutConfig::builder().connect_timeout(CONNECT_WITHIN).operation_attempt_timeout(within).build(),
        )
        // A long poll says nothing for twenty seconds and is not stalled.
        .stalled_stream_protection(aws_config::stalled_stream_protection::StalledStreamProtectionConfig::disabled());
    if let Some(region) = &aws.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(endpoint) = &aws.endpoint_url {
        loader = loader.endpoint_url(endpoint);
    }
    loader
}
