//! Fetching ahead: the packages that a plan unpacks come while other steps run.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::event::Event;
use crate::deb::fetch::Prefetch;
use crate::plan::Plan;
use crate::work::World;

/// Fetched at once: more would only crowd a mirror, fewer wait for its answers.
const CONNECTIONS: usize = 5;

/// Packages that come in the background, in the order of the plan; dropped, it ends.
pub(super) struct Ahead {
    prefetch: Prefetch,
    packages: usize,
    bytes: u64,
}

impl Ahead {
    /// Begins to fetch what steps of `plan` will ask for; none where that is nothing.
    pub(super) fn begin(plan: &Plan, world: &World) -> Option<Ahead> {
        if world.fetcher.offline() {
            return None;
        }
        let files = plan.to_fetch(world).into_iter().filter_map(|step| plan.graph.layer(step)?.file());
        let debs: Vec<_> = files.map(|(deb, mirrors)| (deb.clone(), mirrors.to_vec())).collect();
        let bytes = debs.iter().map(|(deb, _)| deb.size).sum();
        let packages = debs.len();
        (packages > 0).then(|| Ahead { prefetch: world.fetcher.prefetch(debs, CONNECTIONS), packages, bytes })
    }

    /// Tells how far it is until all has come, or until nobody holds the other end of `ended` any more.
    pub(super) fn watch(&self, ended: &Receiver<()>, events: &Sender<Event>) {
        const STEP: Duration = Duration::from_millis(200);
        let mut last = (0, 0);
        loop {
            let over = ended.recv_timeout(STEP) == Err(RecvTimeoutError::Disconnected);
            let left = self.prefetch.left();
            let (packages, bytes) = (self.packages.saturating_sub(left), self.prefetch.bytes());
            if last != (packages, bytes) {
                last = (packages, bytes);
                let of = (self.packages, self.bytes);
                // Nobody listens any more only when the process is about to end.
                let _ = events.send(Event::Fetching { packages, bytes: bytes.min(self.bytes), of });
            }
            if over || left == 0 {
                return;
            }
        }
    }
}
