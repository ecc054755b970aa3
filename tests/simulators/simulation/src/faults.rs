//! The faults of a simulator, switched on from the command line, over its control API and from tests. Each simulator has its
//! own enum of faults.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::hash::Hash;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The faults of a simulator, or of several that are joined.
pub trait Fault: Copy + Eq + Hash + Debug + Send + 'static {
    /// Every fault with its name on the command line.
    fn all() -> Vec<(Self, &'static str)>;

    /// Its name on the command line.
    ///
    /// # Panics
    /// If [`Self::all`] does not contain the fault.
    fn name(self) -> &'static str {
        let named = Self::all().into_iter().find(|(fault, _)| *fault == self);
        named.map(|(_, name)| name).expect("every fault has a name")
    }
}

/// The help of a command-line option whose values are [`PlannedFault`]s.
pub fn help<F: Fault>() -> String {
    format!(
        "Let something go wrong: {}. As FAULT=3 the next three times, as FAULT=20% at that share of all occasions, as \
         FAULT=5s for that time. Can be given several times.",
        names::<F>()
    )
}

fn names<F: Fault>() -> String {
    let names: Vec<_> = F::all().into_iter().map(|(_, name)| name).collect();
    names.join(", ")
}

/// When a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum When {
    /// At the next occasions, this many times.
    Next(u32),
    /// At this share of all occasions, from 0 to 1.
    Share(f64),
    /// At every occasion during this time.
    For(Duration),
}

/// A fault and when it strikes, as the command line names it: `bot-500=3`, `bot-500=20%`, `bot-500=5s`, `bot-500` (once).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlannedFault<F> {
    /// The fault.
    pub fault: F,
    /// When it strikes.
    pub when: When,
}

impl<F: Fault> fmt::Display for PlannedFault<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = self.fault.name();
        match self.when {
            When::Next(times) => write!(f, "{fault}={times}"),
            When::Share(share) => write!(f, "{fault}={}%", share * 100.0),
            When::For(time) => write!(f, "{fault}={}s", time.as_secs_f64()),
        }
    }
}

impl<F: Fault> FromStr for PlannedFault<F> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, when) = text.split_once('=').unwrap_or((text, "1"));
        let fault = F::all().into_iter().find(|(_, known)| *known == name).map(|(fault, _)| fault);
        let fault = fault.ok_or_else(|| format!("no such fault; there are {}", names::<F>()))?;
        let bad =
            || "a fault strikes a number of times (3), at a share of all occasions (20%) or for a time (5s)".to_owned();
        let when = if let Some(percent) = when.strip_suffix('%') {
            let percent: f64 = percent.parse().map_err(|_| bad())?;
            When::Share((0.0..=100.0).contains(&percent).then_some(percent / 100.0).ok_or_else(bad)?)
        } else if let Some(seconds) = when.strip_suffix('s') {
            let seconds = seconds.parse().map_err(|_| bad())?;
            When::For(Duration::try_from_secs_f64(seconds).map_err(|_| bad())?)
        } else {
            When::Next(when.parse().map_err(|_| bad())?)
        };
        Ok(Self { fault, when })
    }
}

/// The faults that are switched on.
#[derive(Debug)]
pub struct Faults<F> {
    active: Mutex<HashMap<F, Active>>,
}

impl<F> Default for Faults<F> {
    fn default() -> Self {
        Self { active: Mutex::default() }
    }
}

#[derive(Debug)]
struct Active {
    when: When,
    since: Instant,
    struck: u64,
}

impl<F: Copy + Eq + Hash> Faults<F> {
    /// Switches a fault on, from now.
    pub fn set(&self, fault: F, when: When) {
        let mut active = self.active();
        let struck = active.get(&fault).map_or(0, |active| active.struck);
        active.insert(fault, Active { when, since: Instant::now(), struck });
    }

    /// Switches all faults off.
    pub fn clear(&self) {
        for active in self.active().values_mut() {
            active.when = When::Next(0);
        }
    }

    /// Whether a fault can still strike.
    pub fn is_on(&self, fault: F) -> bool {
        self.active().get(&fault).is_some_and(|active| match active.when {
            When::Next(left) => left > 0,
            When::Share(share) => share > 0.0,
            When::For(time) => active.since.elapsed() < time,
        })
    }

    /// Whether a fault strikes at this occasion.
    pub fn strikes(&self, fault: F) -> bool {
        let mut all = self.active();
        let Some(active) = all.get_mut(&fault) else { return false };
        let strikes = match &mut active.when {
            When::Next(0) => false,
            When::Next(left) => {
                *left -= 1;
                true
            }
            When::Share(share) => fastrand::f64() < *share,
            When::For(time) => active.since.elapsed() < *time,
        };
        active.struck += u64::from(strikes);
        strikes
    }

    /// How often each fault has struck, in no particular order.
    pub fn struck(&self) -> Vec<(F, u64)> {
        self.active().iter().map(|(fault, active)| (*fault, active.struck)).collect()
    }

    fn active(&self) -> MutexGuard<'_, HashMap<F, Active>> {
        self.active.lock().expect("no holder panics")
    }
}
