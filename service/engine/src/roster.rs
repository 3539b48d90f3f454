// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Who holds a buffer: for each buffer, the holders that have not been told yet that somebody waits, and the others.
//!
//! A holder is told once in a grant ([`Effect::Contended`]), and is among the untold ones of its buffers until then. So
//! the first lock that has to wait finds whom to tell, and the next ones find nobody: each grant is told in O(1) for
//! each of its buffers, however many locks come. A lock that has taken a buffer and is not granted yet is among the
//! others: it is told at its grant.
//!
//! Most buffers have one holder, so a list has room for one in itself. The rest is linked.
//!
//! [`Effect::Contended`]: crate::Effect::Contended

use crate::arena::Arena;
use crate::index::{HolderIx, LockIx, HOLDER};

/// The holders of one buffer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Roster {
    pub untold: List,
    pub others: List,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct List {
    inside: Option<LockIx>,
    /// The first of the rest.
    linked: Option<HolderIx>,
}

/// Where a holder is in the roster of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub untold: bool,
    /// `None`: inside the list.
    link: Option<HolderIx>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Holder {
    lock: LockIx,
    next: Option<HolderIx>,
    before: Option<HolderIx>,
}

/// The linked holders of all lists.
pub(crate) type Links = Arena<Holder, HOLDER>;

impl Roster {
    /// Adds a holder. Inlined, since most calls end at once.
    #[inline(always)]
    pub fn add(&mut self, links: &mut Links, lock: LockIx, untold: bool) -> Place {
        let list = self.list(untold);
        if list.inside.is_none() {
            list.inside = Some(lock);
            return Place { untold, link: None };
        }
        Place { untold, link: Some(list.link(links, lock)) }
    }

    /// Removes a holder.
    #[inline(always)]
    pub fn remove(&mut self, links: &mut Links, place: Place) {
        let list = self.list(place.untold);
        match place.link {
            None => list.inside = None,
            Some(at) => list.unlink(links, at),
        }
    }

    /// All holders.
    pub fn iter<'a>(&self, links: &'a Links) -> impl Iterator<Item = LockIx> + 'a {
        self.untold.iter(links).chain(self.others.iter(links)).map(|(lock, _)| lock)
    }

    #[inline(always)]
    fn list(&mut self, untold: bool) -> &mut List {
        match untold {
            true => &mut self.untold,
            false => &mut self.others,
        }
    }
}

#[cfg(feature = "check")]
impl Place {
    pub fn link(self) -> Option<HolderIx> {
        self.link
    }
}

impl List {
    /// The holders, and where each is linked.
    pub fn iter(self, links: &Links) -> impl Iterator<Item = (LockIx, Option<HolderIx>)> + '_ {
        let linked = std::iter::successors(self.linked, |at| links[*at].next);
        let linked = linked.map(|at| (links[at].lock, Some(at)));
        self.inside.map(|lock| (lock, None)).into_iter().chain(linked)
    }

    /// Takes the first holder of a copy of a list. The list itself may change meanwhile, except for what follows.
    pub fn pop(&mut self, links: &Links) -> Option<LockIx> {
        self.inside.take().or_else(|| {
            let Holder { lock, next, .. } = links[self.linked?];
            self.linked = next;
            Some(lock)
        })
    }

    #[inline(never)]
    fn link(&mut self, links: &mut Links, lock: LockIx) -> HolderIx {
        let next = self.linked;
        let at = links.insert(Holder { lock, next, before: None });
        if let Some(next) = next {
            links[next].before = Some(at);
        }
        self.linked = Some(at);
        at
    }

    #[inline(never)]
    fn unlink(&mut self, links: &mut Links, at: HolderIx) {
        let Some(Holder { next, before, .. }) = links.remove(at) else { return };
        match before {
            Some(before) => links[before].next = next,
            None => self.linked = next,
        }
        if let Some(next) = next {
            links[next].before = before;
        }
    }
}
