// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! For each buffer, the holders that have not been told yet that somebody waits.
//!
//! A holder is told once in a grant ([`Effect::Contended`]), and is in the lists of its buffers until then. So the
//! first lock that has to wait finds whom to tell, and the next ones find nobody: each grant is told in O(1) for each
//! of its buffers, however many locks come. Most buffers have one holder, so a list has room for one in itself. The
//! others are linked.
//!
//! [`Effect::Contended`]: crate::Effect::Contended

use crate::arena::Arena;
use crate::index::{LockIx, UntoldIx, UNTOLD};

/// The list of one buffer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct List {
    pub inside: Option<LockIx>,
    /// The first of the others.
    pub linked: Option<UntoldIx>,
}

/// Where a holder is in the list of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Inside,
    Linked(UntoldIx),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Untold {
    pub lock: LockIx,
    pub next: Option<UntoldIx>,
    before: Option<UntoldIx>,
}

/// The linked holders of all lists.
pub(crate) type Links = Arena<Untold, UNTOLD>;

/// Puts a holder into a list.
#[inline]
pub(crate) fn add(links: &mut Links, list: &mut List, lock: LockIx) -> Place {
    if list.inside.is_none() {
        list.inside = Some(lock);
        return Place::Inside;
    }
    let next = list.linked;
    let at = links.insert(Untold { lock, next, before: None });
    if let Some(next) = next {
        links[next].before = Some(at);
    }
    list.linked = Some(at);
    Place::Linked(at)
}

/// Takes a holder out of a list.
#[inline]
pub(crate) fn remove(links: &mut Links, list: &mut List, place: Place) {
    match place {
        Place::Inside => list.inside = None,
        Place::Linked(at) => unlink(links, &mut list.linked, at),
    }
}

fn unlink(links: &mut Links, first: &mut Option<UntoldIx>, at: UntoldIx) {
    let Some(Untold { next, before, .. }) = links.remove(at) else { return };
    match before {
        Some(before) => links[before].next = next,
        None => *first = next,
    }
    if let Some(next) = next {
        links[next].before = before;
    }
}
