//! Many conversations at once, with the faults of [`ALL_FAULTS`].

use std::time::Duration;

use crate::Sandbox;
use contact_center::Conversation;
use simulation::faults::When;

use crate::deployment::{DELIVER_MESSAGE, RECEIVE_MESSAGE};
use crate::faults::Fault;
use crate::verdict::Verdict;

/// The load of a soak.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// The number of simultaneous conversations.
    pub conversations: usize,
    /// Events per conversation.
    pub events: usize,
    /// The time within which everything must be delivered.
    pub patience: Duration,
    /// Events per second; `None` sends all at once.
    pub rate: Option<u32>,
}

/// All faults of a soak. Each is frequent enough to strike within ten thousand events, and rare enough that the run makes
/// progress. `bot-422` is not included: after it, an event waits for an operator.
pub const ALL_FAULTS: [(Fault, f64); 18] = [
    (Fault::BotPlatform(bot_platform::Fault::Status500), 0.02),
    (Fault::BotPlatform(bot_platform::Fault::Status429), 0.01),
    (Fault::BotPlatform(bot_platform::Fault::Status401), 0.005),
    (Fault::BotPlatform(bot_platform::Fault::Hangs), 0.001),
    (Fault::BotPlatform(bot_platform::Fault::Drops), 0.01),
    (Fault::BotPlatform(bot_platform::Fault::TokenRevoked), 0.002),
    (Fault::ContactCenter(contact_center::Fault::Duplicate), 0.02),
    (Fault::ContactCenter(contact_center::Fault::Late), 0.01),
    (Fault::ContactCenter(contact_center::Fault::Reorder), 0.02),
    (Fault::ContactCenter(contact_center::Fault::Forged), 0.002),
    (Fault::ContactCenter(contact_center::Fault::KeysDown), 0.3),
    (Fault::ContactCenter(contact_center::Fault::KeysHang), 0.05),
    (Fault::ContactCenter(contact_center::Fault::KeysGone), 0.05),
    (Fault::Aws(aws::Fault::SecretsDown), 0.05),
    (Fault::Aws(aws::Fault::SecretsHang), 0.01),
    (Fault::Aws(aws::Fault::QueueDown), 0.02),
    (Fault::Aws(aws::Fault::Kill(RECEIVE_MESSAGE)), 0.005),
    (Fault::Aws(aws::Fault::Kill(DELIVER_MESSAGE)), 0.005),
];

/// Plays the load with the faults that are switched on, and waits until all of it is delivered.
pub async fn play(sandbox: &Sandbox, channel_id: &str, load: Load) -> Verdict {
    let conversations: Vec<Conversation> =
        (0..load.conversations).map(|_| sandbox.contact_center.open_conversation(channel_id)).collect();
    let mut pace = load.rate.map(|rate| tokio::time::interval(Duration::from_secs(1) / rate));
    for number in 0..load.events {
        for conversation in &conversations {
            if let Some(pace) = &mut pace {
                pace.tick().await;
            }
            match number {
                0 => conversation.queued(),
                1 => conversation.types("agent"),
                _ => conversation.writes("agent", "confidential: a line"),
            }
        }
    }
    sandbox.settle(load.patience).await;
    Verdict::on(sandbox).await
}

/// Switches all faults on.
pub fn switch_on_all_faults(sandbox: &Sandbox) {
    for (fault, share) in ALL_FAULTS {
        sandbox.fault(fault, When::Share(share));
    }
}
