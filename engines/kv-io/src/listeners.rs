//! Listeners: who is told what an engine does.

use std::sync::Arc;

use kv_api::{Event, EventListener};

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::lock;

/// The listeners of one engine, in the order in which they came.
#[derive(Default)]
pub struct Listeners {
    all: Mutex<Vec<Arc<dyn EventListener>>>,
    /// What happened where a lock was held, until somebody without one tells it.
    kept: Mutex<Vec<Event>>,
    has_kept: AtomicBool,
}

impl Listeners {
    /// Adds one; it hears what happens from now on.
    pub fn subscribe(&self, listener: Arc<dyn EventListener>) {
        lock(&self.all).push(listener);
    }

    /// Keeps an event for [`Listeners::deliver`]: for a caller that holds a lock of its engine, which a listener may
    /// want.
    pub fn keep(&self, event: Event) {
        let mut kept = lock(&self.kept);
        kept.push(event);
        self.has_kept.store(true, Ordering::Release);
    }

    /// Tells what was kept. For a caller that holds no lock; costs one load if there is nothing.
    pub fn deliver(&self) {
        if self.has_kept.load(Ordering::Acquire) {
            let kept = {
                let mut kept = lock(&self.kept);
                self.has_kept.store(false, Ordering::Release);
                std::mem::take(&mut *kept)
            };
            kept.iter().for_each(|event| self.tell(event));
        }
    }

    /// Passes `outcome` on, after telling what was kept while it came about. For a caller that holds no lock.
    pub fn told<R>(&self, outcome: R) -> R {
        self.deliver();
        outcome
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
    fn what_is_kept_is_told_once_and_in_order() {
        struct Names(Mutex<Vec<&'static str>>);
        impl EventListener for Names {
            fn on_event(&self, event: &Event) {
                if let Event::Stall { name, .. } = event {
                    lock(&self.0).push(name);
                }
            }
        }
        let (listeners, names) = (Listeners::default(), Arc::new(Names(Mutex::default())));
        listeners.subscribe(Arc::clone(&names) as Arc<dyn EventListener>);
        ["first", "second"].into_iter().for_each(|name| listeners.keep(Event::Stall { name, wall_ns: 1 }));
        assert!(lock(&names.0).is_empty());
        listeners.deliver();
        listeners.deliver();
        assert_eq!(*lock(&names.0), ["first", "second"]);
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
