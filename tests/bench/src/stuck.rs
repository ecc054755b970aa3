//! One conversation is stuck, since the bot platform never answers it: what do the others notice?
//!
//! Three sets run side by side and have their events by turns, a few milliseconds apart: two in which all is well, and one
//! with the stuck conversation. Whatever else the machine does strikes all three alike, so that their p99 can be compared
//! although none of them is still for long; and the two without show what chance does.

use std::time::{Duration, Instant};

use contact_center::Conversation;
use serde::{Deserialize, Serialize};

use crate::statistics::percentile;
use crate::whole_path::{MANY, Player};

/// Events of each set, so that its p99 is made of a hundred.
const EVENTS: usize = 10_000;

/// Events a second of each: of all three, a quarter of what saturates.
const RATE: u32 = 70;

/// Longer than any caller waits.
const NEVER: Duration = Duration::from_secs(60);

/// How long the last events of the others may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often the blocks are drawn again: enough for two digits of the interval's ends.
const DRAWS: usize = 1000;

/// A number and the interval that holds its true value with 95 % confidence.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Estimate {
    /// The median of all draws.
    pub value: f64,
    /// Its ends.
    pub interval: [f64; 2],
}

/// What p99 of all other conversations becomes when one is stuck.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Stuck {
    /// With one stuck, as a multiple of without.
    pub ratio: Estimate,
    /// Without, as a multiple of without in another set: what chance alone does.
    pub by_chance: Estimate,
}

/// Latencies in milliseconds, by the second in which 8x8 sent the event.
type Seconds = Vec<Vec<f64>>;

/// Measures it.
///
/// # Panics
/// If an event of another conversation does not arrive, or nothing is stuck: then there is nothing to compare.
pub async fn measure() -> Stuck {
    let sets = [Set::start().await, Set::start().await, Set::start().await];
    let [without, again, with] = &sets;
    with.player.sandbox.bot.delay_responses(Some(with.left_out()), NEVER);
    let started = Instant::now();
    let mut pace = tokio::time::interval(Duration::from_secs(1) / (RATE * sets.len() as u32));
    for event in 0..EVENTS {
        for set in &sets {
            pace.tick().await;
            set.conversations[event % MANY].writes("agent", "confidential: a line");
        }
    }
    assert!(!with.player.sandbox.queues.events.is_empty(), "nothing is stuck");
    let [without, again, with] =
        [without.latencies(started).await, again.latencies(started).await, with.latencies(started).await];
    Stuck { ratio: ratio_of_p99(&with, &without), by_chance: ratio_of_p99(&again, &without) }
}

/// A set and its conversations, of which the first is left out in each, so that the same number is compared.
struct Set {
    player: Player,
    conversations: Vec<Conversation>,
}

impl Set {
    async fn start() -> Self {
        let player = Player::start().await;
        player.sandbox.journal.take();
        let conversations = player.open(MANY);
        Self { player, conversations }
    }

    fn left_out(&self) -> &str {
        self.conversations.first().expect("there are many").id()
    }

    /// Those of all conversations but the one that is left out, once all have arrived.
    async fn latencies(&self, started: Instant) -> Seconds {
        let expected = EVENTS - EVENTS.div_ceil(MANY);
        let deadline = Instant::now() + PATIENCE;
        let arrived = loop {
            let traces = self.player.sandbox.journal.traces().into_iter();
            let of_others = traces.filter(|trace| trace.conversation_id != self.left_out());
            let arrived: Vec<_> = of_others.filter_map(|trace| Some((trace.sent_at, trace.latency()?))).collect();
            if arrived.len() == expected {
                break arrived;
            }
            assert!(Instant::now() < deadline, "{} of {expected} events arrived", arrived.len());
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let mut seconds = Seconds::new();
        for (sent_at, latency) in arrived {
            let second = sent_at.duration_since(started).as_secs() as usize;
            seconds.resize(seconds.len().max(second + 1), Vec::new());
            seconds[second].push(latency.as_secs_f64() * 1000.0);
        }
        seconds
    }
}

/// The bootstrap over whole seconds: the same seconds are drawn for both sets, since what disturbs one disturbs the other.
fn ratio_of_p99(of: &Seconds, to: &Seconds) -> Estimate {
    let mut random = fastrand::Rng::with_seed(1);
    let seconds = of.len().min(to.len());
    let p99 = |set: &Seconds, drawn: &[usize]| {
        percentile(drawn.iter().filter_map(|second| set.get(*second)).flatten().copied().collect(), 0.99)
    };
    let ratios: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let drawn: Vec<usize> = (0..seconds).map(|_| random.usize(..seconds)).collect();
            p99(of, &drawn) / p99(to, &drawn)
        })
        .collect();
    let [low, value, high] = [0.025, 0.5, 0.975].map(|share| percentile(ratios.clone(), share));
    Estimate { value, interval: [low, high] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(factor: f64) -> Seconds {
        (0..100)
            .map(|second| (0..70).map(|event| factor * f64::from(1 + (second * 7 + event) % 100)).collect())
            .collect()
    }

    #[test]
    fn the_ratio_of_p99_is_found() {
        let same = ratio_of_p99(&seconds(1.0), &seconds(1.0));
        assert!(same.interval[0] <= 1.0 && same.interval[1] >= 1.0 && (0.99..1.01).contains(&same.value), "{same:?}");
        let slower = ratio_of_p99(&seconds(1.2), &seconds(1.0));
        assert!(slower.interval[0] > 1.1 && (1.19..1.21).contains(&slower.value), "{slower:?}");
    }
}
