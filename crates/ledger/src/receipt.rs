//! The promise of an entry's number. A gate awaits it on whatever runtime it has; a command waits for
//! it on its thread. Both are woken by the ledger's writer, once the entry is synced. No runtime is
//! named here, so the ledger drags none into the programs that only verify.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::LedgerError;

/// Resolves to the entry's number once the entry is durable and signed for.
///
/// Dropping it does not take the entry back.
#[must_use = "nothing may be released before the receipt is there"]
pub struct Receipt(Arc<Slot>);

/// The other end, which the writer completes. Dropped without that, it reports a finished ledger: a
/// writer that died must never leave a gate waiting.
pub(crate) struct Completion(Option<Arc<Slot>>);

#[derive(Default)]
struct Slot {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    result: Option<Result<u64, LedgerError>>,
    waker: Option<Waker>,
}

pub(crate) fn pair() -> (Completion, Receipt) {
    let slot = Arc::new(Slot::default());
    (Completion(Some(Arc::clone(&slot))), Receipt(slot))
}

impl Receipt {
    /// Blocks until the entry is durable.
    ///
    /// # Errors
    /// When the entry could not be recorded: then nothing may be released.
    pub fn wait(self) -> Result<u64, LedgerError> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(result) = state.result.clone() {
                return result;
            }
            state = self
                .0
                .arrived
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Future for Receipt {
    type Output = Result<u64, LedgerError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &state.result {
            Some(result) => Poll::Ready(result.clone()),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Completion {
    pub(crate) fn complete(mut self, result: Result<u64, LedgerError>) {
        if let Some(slot) = self.0.take() {
            slot.set(result);
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if let Some(slot) = self.0.take() {
            slot.set(Err(LedgerError::Finished));
        }
    }
}

impl Slot {
    fn set(&self, result: Result<u64, LedgerError>) {
        let waker = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.result = Some(result);
            state.waker.take()
        };
        self.arrived.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
