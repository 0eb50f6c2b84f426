//! Listeners: who is told what an engine does.

use std::sync::{Arc, Mutex};

use kv_api::{Event, EventListener};

use crate::sync::lock;

/// The listeners of one engine, in the order in which they came.
#[derive(Default)]
pub struct Listeners {
    all: Mutex<Vec<Arc<dyn EventListener>>>,
}

impl Listeners {
    /// Adds one; it hears what happens from now on.
    pub fn subscribe(&self, listener: Arc<dyn EventListener>) {
        lock(&self.all).push(listener);
    }

    /// Tells all of them. The lock is free meanwhile, so a listener may call its engine; callers hold no lock either.
    pub fn tell(&self, event: &Event) {
        let listeners = lock(&self.all).clone();
        listeners.iter().for_each(|listener| listener.on_event(event));
    }
}

impl std::fmt::Debug for Listeners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Listeners({})", lock(&self.all).len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds another listener from inside an event, as an engine's user might.
    struct Greedy(Arc<Listeners>, Mutex<u64>);

    impl EventListener for Greedy {
        fn on_event(&self, _event: &Event) {
            *lock(&self.1) += 1;
            let other = Greedy(Arc::clone(&self.0), Mutex::default());
            self.0.subscribe(Arc::new(other));
        }
    }

    #[test]
    fn a_listener_may_subscribe_while_it_is_told() {
        let listeners = Arc::new(Listeners::default());
        let greedy = Arc::new(Greedy(Arc::clone(&listeners), Mutex::default()));
        listeners.subscribe(Arc::clone(&greedy) as Arc<dyn EventListener>);
        listeners.tell(&Event::Stall { name: "test", wall_ns: 1 });
        assert_eq!((*lock(&greedy.1), lock(&listeners.all).len()), (1, 2));
        lock(&listeners.all).clear();
    }
}
