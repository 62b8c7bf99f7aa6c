//! The world: what happens next is chosen by chance, from the seed alone.
//!
//! Checked at every step: nothing is deleted from the queue whose effects are not durable. Checked at
//! the end: every record is accounted for, every message is deleted or dead, every pager heard of every
//! incident that had to be told, with the right evidence, once, opening first, and ended.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::Summary;
use super::disk::Disk;
use super::oracle::{self, Told};
use super::pager::{self, Pager};
use super::process::{Process, rules};
use super::queue::{self, Deleted, Queue, number_of};
use super::stream::{self, Event, LATENESS_SECS, Sent, at};
use crate::alert::{Alert, Status};
use crate::pipeline::plan::conduct::{Action, Input};
use crate::rule::RuleSet;
use crate::store::StateStore as _;
use crate::time::EventTime;

/// Deliveries that a process may hold.
const MAX_HELD: usize = 8;
/// Steps with faults; after them everything works, so that the world comes to an end.
const FAULTY_STEPS: u32 = 1500;
/// A world that has not ended by then never does.
const MAX_STEPS: u32 = 40_000;
/// Steps told when something does not hold.
const TOLD_STEPS: usize = 25;

/// One world.
pub struct World {
    rng: fastrand::Rng,
    now: EventTime,
    queue: Queue,
    disk: Disk,
    pagers: Vec<Pager>,
    process: Option<Process>,
    rules: Option<Arc<RuleSet>>,
    events: Vec<Event>,
    coming: Vec<Sent>,
    /// Of each message in the queue, the time of its earliest record.
    earliest: Vec<i64>,
    poison: BTreeSet<usize>,
    /// Messages whose effects are durable.
    durable: BTreeSet<usize>,
    /// Chance of a crash at any action, in parts of 256.
    crashes: u8,
    /// Chance of trouble with the disk at a commit, in parts of 256.
    disk_trouble: u8,
    summary: Summary,
    steps: VecDeque<String>,
}

impl World {
    /// The world of a seed. Each has its own mixture of faults, so that some are alone in some worlds.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (events, sent) = stream::stream(&mut rng);
        let chance = |rng: &mut fastrand::Rng| if rng.bool() { 0 } else { rng.u8(1..90) };
        let misbehaviour = queue::Misbehaviour {
            twice: chance(&mut rng),
            refused: chance(&mut rng),
            lost: chance(&mut rng),
            deaf: chance(&mut rng),
        };
        let pagers = (0..rng.usize(1..3)).map(|_| Pager {
            misbehaviour: pager::Misbehaviour { down: chance(&mut rng), forgetful: chance(&mut rng) },
            ..Pager::default()
        });
        let pagers = pagers.collect();
        let (crashes, disk_trouble) = (chance(&mut rng) / 2, chance(&mut rng));
        Self {
            now: at(0),
            queue: Queue::new(misbehaviour),
            disk: Disk::default(),
            pagers,
            process: None,
            rules: None,
            summary: Summary { seeds: 1, records: events.len() as u64, ..Summary::default() },
            events,
            coming: sent,
            earliest: Vec::new(),
            poison: BTreeSet::new(),
            durable: BTreeSet::new(),
            crashes,
            disk_trouble,
            steps: VecDeque::new(),
            rng,
        }
    }

    /// What happened last.
    #[must_use]
    pub fn last_steps(&self) -> Vec<String> {
        self.steps.iter().cloned().collect()
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if self.steps.len() == TOLD_STEPS {
            self.steps.pop_front();
        }
        let step = format!("{} {}", self.now, what());
        self.steps.push_back(step);
    }

    /// Lives until nothing more happens, and looks whether all is as it must be.
    ///
    /// # Errors
    /// What did not hold.
    pub fn live(&mut self) -> Result<Summary, String> {
        self.rules = Some(rules()?);
        self.start()?;
        for step in 0..MAX_STEPS {
            if step == FAULTY_STEPS {
                self.heal();
            }
            self.step()?;
            if self.is_over() {
                self.heal();
                self.settle()?;
                return self.judge();
            }
        }
        Err(format!("not over after {MAX_STEPS} steps: {} messages left", self.queue.left().count()))
    }

    fn start(&mut self) -> Result<(), String> {
        let rules = self.rules.clone().ok_or("no rules")?;
        self.process = Some(Process::start(&self.disk, &rules, self.pagers.len())?);
        Ok(())
    }

    fn heal(&mut self) {
        self.queue.misbehaviour = queue::Misbehaviour::default();
        self.pagers.iter_mut().for_each(|pager| pager.misbehaviour = pager::Misbehaviour::default());
        self.crashes = 0;
        self.disk_trouble = 0;
        self.disk.set_full(false);
        self.disk.fail_syncs(0);
    }

    /// Some message comes to the queue: any whose records are not so much later than one that is still
    /// under way that this one would be late.
    fn arrive(&mut self) {
        let under_way = self.queue.left().filter_map(|number| self.earliest.get(number).copied());
        let oldest = self.coming.iter().map(|sent| sent.earliest_secs).chain(under_way).min().unwrap_or_default();
        let may_come: Vec<usize> = self
            .coming
            .iter()
            .enumerate()
            .filter(|(_, sent)| sent.latest_secs <= oldest + LATENESS_SECS)
            .map(|(index, _)| index)
            .collect();
        let Some(index) = self.rng.choice(may_come) else { return };
        let sent = self.coming.swap_remove(index);
        let number = self.queue.send(sent.body, self.now);
        self.earliest.push(sent.earliest_secs);
        self.summary.messages += 1;
        if sent.is_poison {
            self.poison.insert(number);
        }
        self.note(|| format!("sent {number}, of {}", at(sent.latest_secs)));
    }

    /// One thing happens.
    fn step(&mut self) -> Result<(), String> {
        if self.rng.u8(..) < self.crashes {
            return self.crash();
        }
        match self.rng.u8(0..11) {
            10 => self.arrive(),
            0 => self.time_passes(),
            1 | 2 => self.receive(),
            3 => self.act()?,
            4 => self.act()?,
            5 => self.acknowledge()?,
            6 => self.deliver()?,
            7 => self.deliver()?,
            8 => {
                if let Some(process) = self.process.as_mut().filter(|process| process.inbox.is_empty()) {
                    process.inbox.push_back(Input::Tick);
                }
            }
            _ => {
                if let Some(process) = &mut self.process {
                    process.think(self.now);
                }
            }
        }
        if let Some(process) = &mut self.process {
            process.think(self.now);
            self.summary.peak_held = self.summary.peak_held.max(process.held() as u64);
        }
        Ok(())
    }

    fn crash(&mut self) -> Result<(), String> {
        self.note(|| "crash".to_owned());
        self.summary.crashes += 1;
        self.process = None;
        self.disk.crash(&mut self.rng);
        self.start()
    }

    /// A little, or to the next thing that is due when nothing else can happen.
    fn time_passes(&mut self) {
        let idle = self.process.as_ref().is_none_or(Process::is_idle);
        let mut to = EventTime::from_millis(self.now.as_millis() + self.rng.i64(0..20_000));
        if idle {
            to = self.queue.next_visible().map_or(to, |due| due.max(to));
        }
        self.now = to;
    }

    fn receive(&mut self) {
        let Some(process) = &mut self.process else { return };
        // A full process does not receive: that is the back-pressure.
        let room = MAX_HELD.saturating_sub(process.held());
        if room == 0 {
            return;
        }
        let max = self.rng.usize(1..=room.min(5));
        if let Some(batch) = self.queue.receive(self.now, max, &mut self.rng).filter(|batch| !batch.is_empty()) {
            let labels: Vec<_> = batch.iter().map(|delivery| delivery.receipt.0.clone()).collect();
            process.inbox.push_back(Input::Received(batch));
            self.note(|| format!("received {}", labels.join(" ")));
        }
    }

    /// Carries out what the conductor wants next.
    fn act(&mut self) -> Result<(), String> {
        let Some(process) = &mut self.process else { return Ok(()) };
        match process.actions.pop_front() {
            None => Ok(()),
            Some(Action::Commit) => self.commit(),
            Some(Action::Release(released)) => {
                process.acks.extend(released.ack);
                process.parks.extend(released.park.into_iter().map(|(receipt, _)| receipt));
                Ok(())
            }
        }
    }

    fn commit(&mut self) -> Result<(), String> {
        let trouble = self.rng.u8(..) < self.disk_trouble;
        if trouble {
            self.summary.faults += 1;
            if self.rng.bool() { self.disk.set_full(true) } else { self.disk.fail_syncs(self.rng.u32(1..4)) }
        }
        let Some(process) = &mut self.process else { return Ok(()) };
        let Some(commit) = process.conductor.in_hand() else {
            return Err("a commit is asked for and none is in hand".to_owned());
        };
        let outcome = process.store.commit(commit);
        self.disk.set_full(false);
        let input = match outcome {
            Ok(()) => {
                self.summary.commits += 1;
                Input::Committed
            }
            Err(_) => Input::NotCommitted,
        };
        let durable = matches!(input, Input::Committed);
        let actions = process.conductor.take(input, self.now).unwrap_or_default();
        if durable {
            // What is released now was in that commit; whatever was released before it was not.
            let released = actions.iter().filter_map(|action| match action {
                Action::Release(released) => Some(&released.ack),
                Action::Commit => None,
            });
            self.durable.extend(released.flatten().filter_map(number_of));
        }
        process.actions.extend(actions);
        let waiting = process.store.pending_len().unwrap_or(0);
        self.summary.peak_outbox = self.summary.peak_outbox.max(waiting);
        self.note(|| format!("commit: {}", if durable { "durable" } else { "failed" }));
        Ok(())
    }

    fn acknowledge(&mut self) -> Result<(), String> {
        let Some(process) = &mut self.process else { return Ok(()) };
        if let Some(receipt) = process.parks.pop_front() {
            self.queue.park(&receipt, self.now);
            self.note(|| format!("parked {}", receipt.0));
            return Ok(());
        }
        let Some(receipt) = process.acks.pop_front() else { return Ok(()) };
        let number = number_of(&receipt).ok_or("a receipt that nobody gave")?;
        if !self.durable.contains(&number) {
            return Err(format!("message {number} is acknowledged and its effects are not durable"));
        }
        if self.poison.contains(&number) {
            return Err(format!("message {number} cannot be read and is acknowledged"));
        }
        if self.queue.delete(&receipt, &mut self.rng) == Deleted::Refused
            && let Some(process) = &mut self.process
        {
            process.acks.push_back(receipt.clone());
        }
        self.note(|| format!("deleted {}", receipt.0));
        Ok(())
    }

    /// One pager takes its next alert.
    fn deliver(&mut self) -> Result<(), String> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let index = self.rng.usize(0..self.pagers.len());
        let after = process.after.get(index).copied().flatten();
        // A disk in trouble: the driver waits and asks again.
        let Ok(pending) = process.store.pending(after, 1) else { return Ok(()) };
        let (Some((seq, alert)), Some(pager)) = (pending.into_iter().next(), self.pagers.get_mut(index)) else {
            return Ok(());
        };
        let taken = pager.deliver(&alert, &mut self.rng);
        if taken {
            self.summary.delivered += 1;
            if let Some(mark) = process.after.get_mut(index) {
                *mark = Some(seq);
            }
            if let Some(all) = process.progress.advance(index, Some(seq)) {
                let _ = process.store.delivered(all);
            }
        }
        self.note(|| {
            format!(
                "pager {index}: {} {} {}",
                alert.rule.title,
                alert.status.as_str(),
                if taken { "taken" } else { "not taken" }
            )
        });
        Ok(())
    }

    fn is_over(&self) -> bool {
        let drained = |process: &Process| process.is_idle() && process.store.pending_len().is_ok_and(|left| left == 0);
        self.coming.is_empty() && self.queue.left().next().is_none() && self.process.as_ref().is_some_and(drained)
    }

    /// Days pass, and everything is told to its end.
    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..3 {
            self.now = EventTime::from_millis(self.now.as_millis() + 4 * 86_400_000);
            if let Some(process) = &mut self.process {
                process.inbox.push_back(Input::Tick);
            }
            for _ in 0..2000 {
                if let Some(process) = &mut self.process {
                    process.think(self.now);
                }
                self.act()?;
                self.acknowledge()?;
                self.deliver()?;
                if self.is_over() {
                    break;
                }
            }
        }
        if self.is_over() { Ok(()) } else { Err("alerts are left in the outbox and nothing takes them".to_owned()) }
    }

    fn judge(&mut self) -> Result<Summary, String> {
        let dead: BTreeSet<usize> = self.queue.dead().collect();
        if dead != self.poison {
            return Err(format!("in the dead-letter queue are {dead:?}, unreadable were {:?}", self.poison));
        }
        let process = self.process.as_ref().ok_or("no process")?;
        if !process.conductor.total().closes() {
            return Err(format!("the account does not close: {:?}", process.conductor.total()));
        }
        let expected = oracle::expected(&self.events);
        for (index, pager) in self.pagers.iter().enumerate() {
            let told = told(pager.last_words(), &self.poison)?;
            if told != expected {
                let missing: Vec<_> = expected.difference(&told).collect();
                let more: Vec<_> = told.difference(&expected).collect();
                return Err(format!("pager {index} was not told of {missing:?}, and was told of {more:?}"));
            }
            if let Some(alert) = pager.unannounced() {
                return Err(format!(
                    "pager {index} heard {} of {} before its opening",
                    alert.status.as_str(),
                    alert.id
                ));
            }
            if let Some((one, other)) = pager.contradiction() {
                return Err(format!("pager {index}: one id, two things: {one:?} and {other:?}"));
            }
        }
        self.summary.incidents = expected.len() as u64;
        self.summary.receives = self.queue.receives;
        self.summary.faults += self.queue.faults + self.pagers.iter().map(|pager| pager.faults).sum::<u64>();
        Ok(self.summary)
    }
}

/// The incidents that stand by their last words; each must have ended, and count what it lists.
fn told(last: BTreeMap<&str, &Alert>, poison: &BTreeSet<usize>) -> Result<BTreeSet<Told>, String> {
    let mut told = BTreeSet::new();
    let mut unreadable = BTreeSet::new();
    for (id, alert) in last.into_iter().filter(|(_, alert)| alert.merged_into.is_none()) {
        if alert.status != Status::Resolved {
            return Err(format!("{id} of {} has not ended", alert.rule.title));
        }
        if alert.rule.title == "unreadable" {
            unreadable.extend(alert.group.values().cloned());
            continue;
        }
        let ids: BTreeSet<String> = alert.event_ids.iter().cloned().collect();
        if alert.count != ids.len() as u64 || alert.event_ids.len() != ids.len() || alert.late {
            return Err(format!("{id} counts {} (late: {}) and lists {:?}", alert.count, alert.late, alert.event_ids));
        }
        let who = alert.principals.first().cloned().unwrap_or_default();
        if !told.insert((alert.rule.title.clone(), who, ids)) {
            return Err(format!("two incidents of {} are the same", alert.rule.title));
        }
    }
    let labels: BTreeSet<String> = poison.iter().map(|number| format!("message-{number}")).collect();
    if unreadable != labels {
        return Err(format!("told of as unreadable were {unreadable:?}, and that are {labels:?}"));
    }
    Ok(told)
}
