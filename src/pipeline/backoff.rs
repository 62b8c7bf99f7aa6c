//! Pauses between tries: doubling, capped, with jitter from outside.

use std::time::Duration;

/// The pauses of one thing that is tried again.
#[derive(Clone, Debug)]
pub struct Backoff {
    next: Duration,
    first: Duration,
    cap: Duration,
}

impl Backoff {
    /// Pauses from `first`, doubling up to `cap`.
    #[must_use]
    pub const fn new(first: Duration, cap: Duration) -> Self {
        Self { next: first, first, cap }
    }

    /// The next pause: between half of it and the whole. `jitter` is between 0 and 1.
    pub fn pause(&mut self, jitter: f64) -> Duration {
        let whole = self.next.min(self.cap);
        self.next = whole.saturating_mul(2);
        whole.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }

    /// It worked: the next failure begins anew.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_the_cap_and_begin_anew() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let whole: Vec<_> = (0..6).map(|_| backoff.pause(1.0).as_millis()).collect();
        assert_eq!(whole, [100, 200, 400, 800, 1000, 1000]);
        backoff.reset();
        assert_eq!(backoff.pause(0.0).as_millis(), 50);
    }
}
