// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Slows down floods of oneway calls.
//!
//! A oneway caller waits for no answer, so it can send calls faster than the service works, and the pool works on
//! nothing else. The driver delivers the next oneway call of an object when the service has freed the parcel of
//! the one before, and refuses calls while half of the process's binder memory is full of them. So a parcel of
//! a flood is kept for [`HOLD`] after its call: each object then costs some calls a second, and the rest fails at the
//! sender.
//!
//! The generated code calls [`after_call`] (build.rs). The driver tells no pid of a oneway caller. It tells none of a
//! caller in another pid namespace either: such a caller gets its answers all the same, at once.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rsbinder::Parcel;

/// How long a parcel of a flood is kept: ten calls a second for each object.
const HOLD: Duration = Duration::from_millis(100);
/// Parcels that are kept at most. Each is of another object, so this is as many as some uids have groups.
const MOST: usize = 1024;

type Gate = Box<dyn Fn(u32) -> bool + Send + Sync>;

/// Says whether a oneway call of a uid is one of a flood.
static GATE: OnceLock<Gate> = OnceLock::new();

/// The parcels that are kept, the oldest first.
static KEPT: Kept = Kept { parcels: Mutex::new(VecDeque::new()), come: Condvar::new() };

struct Kept {
    parcels: Mutex<VecDeque<(Instant, Parcel)>>,
    come: Condvar,
}

/// Sets the gate, once, and starts the thread that frees parcels. Without a gate no parcel is kept.
pub fn set_gate(gate: impl Fn(u32) -> bool + Send + Sync + 'static) -> std::io::Result<()> {
    thread::Builder::new().name("oneway".into()).spawn(|| KEPT.free())?;
    let _ = GATE.set(Box::new(gate));
    Ok(())
}

/// A call is done, but its reply is not sent. Keeps the parcel of its arguments if the call belongs to a flood.
pub fn after_call(arguments: &mut Parcel) {
    if rsbinder::get_calling_pid() != 0 {
        return;
    }
    if GATE.get().is_some_and(|gate| gate(rsbinder::get_calling_uid())) {
        KEPT.keep(std::mem::take(arguments));
    }
}

impl Kept {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(Instant, Parcel)>> {
        self.parcels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, parcel: Parcel) {
        let mut parcels = self.lock();
        // The oldest goes first if there are too many.
        let oldest = if parcels.len() == MOST { parcels.pop_front() } else { None };
        parcels.push_back((Instant::now(), parcel));
        drop(parcels);
        self.come.notify_one();
        drop(oldest);
    }

    fn free(&self) -> ! {
        loop {
            let mut parcels = self.lock();
            let Some((since, _)) = parcels.front() else {
                drop(self.come.wait(parcels).unwrap_or_else(PoisonError::into_inner));
                continue;
            };
            let left = HOLD.saturating_sub(since.elapsed());
            if left.is_zero() {
                let parcel = parcels.pop_front();
                drop(parcels);
                drop(parcel);
            } else {
                drop(parcels);
                thread::sleep(left);
            }
        }
    }
}
