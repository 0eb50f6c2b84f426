//! The queue of `Disk` commits: one caller leads, the others wait for it.
//!
//! A follower leaves a copy of its batch and sleeps on a condition of its own, so a leader wakes exactly the
//! callers it served. When it is done it first hands the lead to the oldest caller left, then wakes its group.

use std::collections::VecDeque;
use std::sync::Arc;

use kv_api::{Batch, Error, Result, SeqNo};

use crate::sync::{Condvar, Mutex};
use crate::sync::{lock, wait_while};

/// Callers that wait for a leader.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// True while a caller leads.
    led: bool,
    tickets: VecDeque<Arc<Ticket>>,
}

/// One follower.
struct Ticket {
    batch: Batch,
    answer: Mutex<Option<Answer>>,
    answered: Condvar,
}

enum Answer {
    /// The lead is yours.
    Lead,
    Outcome(Result<SeqNo>),
}

/// What a caller that joined has to do.
pub(super) enum Role {
    Leader,
    Done(Result<SeqNo>),
}

impl Queue {
    /// Takes the lead if nobody has it; else waits for an outcome, or for the lead.
    pub(super) fn join(&self, batch: &Batch) -> Role {
        let ticket = {
            let mut state = lock(&self.state);
            if !state.led {
                state.led = true;
                return Role::Leader;
            }
            let batch = batch.clone();
            let ticket = Arc::new(Ticket { batch, answer: Mutex::new(None), answered: Condvar::new() });
            state.tickets.push_back(Arc::clone(&ticket));
            ticket
        };
        let (mut answer, _) =
            wait_while(&ticket.answered, lock(&ticket.answer), None, |answer| answer.is_none());
        match answer.take() {
            Some(Answer::Outcome(outcome)) => Role::Done(outcome),
            Some(Answer::Lead) | None => Role::Leader,
        }
    }

    /// The lead that [`Queue::join`] gave; it must be finished, and is if dropped.
    pub(super) fn lead(&self) -> Lead<'_> {
        Lead { queue: self, group: Vec::new(), over: false }
    }

    /// How many callers wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        lock(&self.state).tickets.len()
    }

    fn hand_over(&self) {
        let next = {
            let mut state = lock(&self.state);
            let next = state.tickets.pop_front();
            state.led = next.is_some();
            next
        };
        if let Some(ticket) = next {
            ticket.answer(Answer::Lead);
        }
    }
}

impl Ticket {
    fn answer(&self, answer: Answer) {
        *lock(&self.answer) = Some(answer);
        self.answered.notify_one();
    }
}

/// A leader and the callers it serves.
pub(super) struct Lead<'q> {
    queue: &'q Queue,
    group: Vec<Arc<Ticket>>,
    over: bool,
}

impl Lead<'_> {
    /// Takes queued callers into the group until it has `bytes_max` bytes with the leader's `own` batch. Returns
    /// the bytes and operations of the whole group.
    pub(super) fn gather(&mut self, own: &Batch, bytes_max: usize) -> (usize, usize) {
        let mut bytes = own.encoded().len();
        let mut ops = own.len();
        for ticket in &self.group {
            bytes += ticket.batch.encoded().len();
            ops += ticket.batch.len();
        }
        let mut state = lock(&self.queue.state);
        while let Some(ticket) =
            state.tickets.pop_front_if(|ticket| bytes + ticket.batch.encoded().len() <= bytes_max)
        {
            bytes += ticket.batch.encoded().len();
            ops += ticket.batch.len();
            self.group.push(ticket);
        }
        (bytes, ops)
    }

    /// The batches of the group, without the leader's own.
    pub(super) fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.group.iter().map(|ticket| &ticket.batch)
    }

    /// How many callers the group has, without the leader.
    pub(super) fn len(&self) -> usize {
        self.group.len()
    }

    /// One failure for each of them.
    pub(super) fn fail_with(&self, error: &Error) -> Vec<Result<SeqNo>> {
        self.group.iter().map(|_| Err(error.clone())).collect()
    }

    /// Hands the lead over and tells each caller of the group its outcome.
    pub(super) fn finish(mut self, outcomes: Vec<Result<SeqNo>>) {
        self.over = true;
        self.queue.hand_over();
        for (ticket, outcome) in self.group.drain(..).zip(outcomes) {
            ticket.answer(Answer::Outcome(outcome));
        }
    }
}

impl Drop for Lead<'_> {
    /// A leader that panics must not leave its callers asleep.
    fn drop(&mut self) {
        if self.over {
            return;
        }
        self.queue.hand_over();
        for ticket in self.group.drain(..) {
            let cause = Arc::from("the caller that led this commit panicked");
            ticket.answer(Answer::Outcome(Err(Error::Poisoned { cause })));
        }
    }
}
