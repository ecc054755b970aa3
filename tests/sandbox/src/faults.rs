//! The faults of the sandbox: those of all simulators, under the names of the command line.

use std::sync::Arc;

use simulation::faults::{Faults, When};

use crate::deployment::FUNCTIONS;

/// A fault of one of the simulators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A fault of 8x8.
    ContactCenter(contact_center::Fault),
    /// A fault of the bot platform.
    BotPlatform(bot_platform::Fault),
    /// A fault of AWS.
    Aws(aws::Fault),
}

impl From<contact_center::Fault> for Fault {
    fn from(fault: contact_center::Fault) -> Self {
        Self::ContactCenter(fault)
    }
}

impl From<bot_platform::Fault> for Fault {
    fn from(fault: bot_platform::Fault) -> Self {
        Self::BotPlatform(fault)
    }
}

impl From<aws::Fault> for Fault {
    fn from(fault: aws::Fault) -> Self {
        Self::Aws(fault)
    }
}

impl simulation::faults::Fault for Fault {
    fn all() -> Vec<(Self, &'static str)> {
        let mut all = named::<bot_platform::Fault>();
        all.extend(named::<contact_center::Fault>());
        all.extend([
            (aws::Fault::SecretsDown.into(), "secrets-down"),
            (aws::Fault::SecretsHang.into(), "secrets-hang"),
            (aws::Fault::QueueDown.into(), "queue-down"),
            (aws::Fault::TableDown.into(), "table-down"),
            (aws::Fault::TableHangs.into(), "table-hangs"),
        ]);
        all.extend(FUNCTIONS.iter().map(|function| (aws::Fault::Kill(function.name).into(), function.killed_by)));
        all
    }
}

fn named<F: simulation::faults::Fault + Into<Fault>>() -> Vec<(Fault, &'static str)> {
    F::all().into_iter().map(|(fault, name)| (fault.into(), name)).collect()
}

/// The faults that are switched on, in all simulators.
#[derive(Debug, Default)]
pub struct SandboxFaults {
    pub(crate) contact_center: Arc<Faults<contact_center::Fault>>,
    pub(crate) bot_platform: Arc<Faults<bot_platform::Fault>>,
    pub(crate) aws: Arc<Faults<aws::Fault>>,
}

impl SandboxFaults {
    /// Switches a fault on, from now.
    pub fn set(&self, fault: impl Into<Fault>, when: When) {
        match fault.into() {
            Fault::ContactCenter(fault) => self.contact_center.set(fault, when),
            Fault::BotPlatform(fault) => self.bot_platform.set(fault, when),
            Fault::Aws(fault) => self.aws.set(fault, when),
        }
    }

    /// Switches all faults off.
    pub fn clear(&self) {
        self.contact_center.clear();
        self.bot_platform.clear();
        self.aws.clear();
    }

    /// Whether a fault can still strike.
    pub fn is_on(&self, fault: impl Into<Fault>) -> bool {
        match fault.into() {
            Fault::ContactCenter(fault) => self.contact_center.is_on(fault),
            Fault::BotPlatform(fault) => self.bot_platform.is_on(fault),
            Fault::Aws(fault) => self.aws.is_on(fault),
        }
    }

    /// How often each fault has struck.
    pub fn struck(&self) -> Vec<(Fault, u64)> {
        fn of<F: Copy + Eq + std::hash::Hash + Into<Fault>>(faults: &Faults<F>) -> impl Iterator<Item = (Fault, u64)> {
            faults.struck().into_iter().map(|(fault, times)| (fault.into(), times))
        }
        let mut struck: Vec<_> = of(&self.bot_platform).chain(of(&self.contact_center)).chain(of(&self.aws)).collect();
        struck.sort_by_key(|(fault, _)| simulation::faults::Fault::name(*fault));
        struck
    }
}
