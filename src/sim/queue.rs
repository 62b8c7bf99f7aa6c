//! A standard queue as SQS is at its worst: in no order, more than once, deletes lost or late
//! (aws-facts 4).
//!
//! Invariant: a message leaves it only by a delete, or to the dead-letter queue when it was parked
//! often enough.

use crate::source::{Delivery, Receipt};
use crate::time::EventTime;

/// A message that was parked so often is moved to the dead-letter queue.
const MAX_PARKED: u32 = 3;
/// How long a received message is hidden.
pub const VISIBILITY_MILLIS: i64 = 120_000;

/// How a queue misbehaves, in parts of 256.
#[derive(Clone, Copy, Debug, Default)]
pub struct Misbehaviour {
    /// A received message stays visible for others.
    pub twice: u8,
    /// A delete says it failed.
    pub refused: u8,
    /// A delete says it worked, and did not.
    pub lost: u8,
    /// A receive fails.
    pub deaf: u8,
}

#[derive(Clone, Debug)]
struct Message {
    body: Vec<u8>,
    sent_at: EventTime,
    visible_at: EventTime,
    receives: u32,
    parked: u32,
    deleted: bool,
    dead: bool,
}

/// A queue with its dead-letter queue.
#[derive(Debug, Default)]
pub struct Queue {
    messages: Vec<Message>,
    /// How it misbehaves.
    pub misbehaviour: Misbehaviour,
    /// Times that it did.
    pub faults: u64,
    /// Times that a message was received.
    pub receives: u64,
}

/// What became of a delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// It says so.
    Done,
    /// It says that it could not.
    Refused,
}

impl Queue {
    /// An empty one.
    #[must_use]
    pub fn new(misbehaviour: Misbehaviour) -> Self {
        Self { misbehaviour, ..Self::default() }
    }

    /// Takes a message; returns its number.
    pub fn send(&mut self, body: Vec<u8>, now: EventTime) -> usize {
        self.messages.push(Message {
            body,
            sent_at: now,
            visible_at: now,
            receives: 0,
            parked: 0,
            deleted: false,
            dead: false,
        });
        self.messages.len() - 1
    }

    /// Gives some visible messages, in any order; nothing when it does not answer.
    pub fn receive(&mut self, now: EventTime, max: usize, rng: &mut fastrand::Rng) -> Option<Vec<Delivery>> {
        if rng.u8(..) < self.misbehaviour.deaf {
            self.faults += 1;
            return None;
        }
        let mut visible: Vec<usize> = (0..self.messages.len()).filter(|number| self.is_visible(*number, now)).collect();
        rng.shuffle(&mut visible);
        visible.truncate(max);
        let mut given = Vec::new();
        for number in visible {
            let twice = rng.u8(..) < self.misbehaviour.twice;
            self.faults += u64::from(twice);
            let Some(message) = self.messages.get_mut(number) else { continue };
            message.receives += 1;
            self.receives += 1;
            if !twice {
                message.visible_at = EventTime::from_millis(now.as_millis() + VISIBILITY_MILLIS);
            }
            given.push(Delivery {
                body: message.body.clone(),
                receipt: Receipt(format!("{number}#{}", message.receives)),
                label: format!("message-{number}"),
                sent_at: Some(message.sent_at),
                receive_count: message.receives,
            });
        }
        Some(given)
    }

    fn is_visible(&self, number: usize, now: EventTime) -> bool {
        let fits = |message: &Message| !message.deleted && !message.dead && message.visible_at <= now;
        self.messages.get(number).is_some_and(fits)
    }

    /// Deletes by receipt.
    pub fn delete(&mut self, receipt: &Receipt, rng: &mut fastrand::Rng) -> Deleted {
        let (refused, lost) = (self.misbehaviour.refused, self.misbehaviour.lost);
        if rng.u8(..) < refused {
            self.faults += 1;
            return Deleted::Refused;
        }
        if rng.u8(..) < lost {
            self.faults += 1;
            return Deleted::Done;
        }
        if let Some(message) = number_of(receipt).and_then(|number| self.messages.get_mut(number)) {
            message.deleted = true;
        }
        Deleted::Done
    }

    /// Leaves a message to the dead-letter path.
    pub fn park(&mut self, receipt: &Receipt, now: EventTime) {
        let Some(message) = number_of(receipt).and_then(|number| self.messages.get_mut(number)) else { return };
        message.parked += 1;
        message.visible_at = EventTime::from_millis(now.as_millis() + 1000);
        message.dead |= message.parked >= MAX_PARKED;
    }

    /// Numbers of the messages that are neither deleted nor dead.
    pub fn left(&self) -> impl Iterator<Item = usize> {
        let left = |(number, message): (usize, &Message)| (!message.deleted && !message.dead).then_some(number);
        self.messages.iter().enumerate().filter_map(left)
    }

    /// Numbers of those in the dead-letter queue.
    pub fn dead(&self) -> impl Iterator<Item = usize> {
        self.messages.iter().enumerate().filter(|(_, message)| message.dead).map(|(number, _)| number)
    }

    /// When the next hidden message can be seen again.
    #[must_use]
    pub fn next_visible(&self) -> Option<EventTime> {
        self.messages.iter().filter(|message| !message.deleted && !message.dead).map(|message| message.visible_at).min()
    }

    /// Messages taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether none was ever sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

/// The message that a receipt is of.
#[must_use]
pub fn number_of(receipt: &Receipt) -> Option<usize> {
    receipt.0.split('#').next()?.parse().ok()
}
