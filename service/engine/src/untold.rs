// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! For each buffer, a linked list of the holders that have not been told yet that somebody waits.
//!
//! A holder is told once in a grant ([`Effect::Contended`]), and is in the lists of its buffers until then. So the
//! first lock that has to wait finds whom to tell, and the next ones find nobody: each grant is told in O(1) for each
//! of its buffers, however many locks come. Most buffers have one holder, so a list has no storage of its own.
//!
//! [`Effect::Contended`]: crate::Effect::Contended

use crate::arena::Arena;
use crate::index::{LockIx, UntoldIx, UNTOLD};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Untold {
    pub lock: LockIx,
    pub next: Option<UntoldIx>,
    before: Option<UntoldIx>,
}

pub(crate) type Lists = Arena<Untold, UNTOLD>;

/// Puts a holder at the beginning of a list.
#[inline]
pub(crate) fn add(lists: &mut Lists, first: &mut Option<UntoldIx>, lock: LockIx) -> UntoldIx {
    let next = *first;
    let at = lists.insert(Untold { lock, next, before: None });
    if let Some(next) = next {
        lists[next].before = Some(at);
    }
    *first = Some(at);
    at
}

/// Takes a holder out of the list that begins with `first`.
#[inline]
pub(crate) fn remove(lists: &mut Lists, first: &mut Option<UntoldIx>, at: UntoldIx) {
    let Some(Untold { next, before, .. }) = lists.remove(at) else { return };
    match before {
        Some(before) => lists[before].next = next,
        None => *first = next,
    }
    if let Some(next) = next {
        lists[next].before = before;
    }
}
